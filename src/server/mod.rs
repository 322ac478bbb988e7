//! The server layer: reads or generates the ID, binds the request to it, echoes it.

mod admission;
pub(crate) mod body;
pub(crate) mod generator;
pub(crate) mod layer;
#[cfg(feature = "tracing")]
mod notices;
pub(crate) mod request;
pub(crate) mod service;
mod timing;
pub(crate) mod trust;

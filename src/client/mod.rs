//! The client layer: puts the ID on outbound requests to the hosts that may see it.

mod call;
pub(crate) mod hosts;
pub(crate) mod layer;
pub(crate) mod message;
pub(crate) mod service;

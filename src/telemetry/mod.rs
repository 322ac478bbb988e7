//! Runs only when something is captured: the events of both layers, and the integration.

pub(crate) mod inbound;
pub(crate) mod integration;
pub(crate) mod outbound;
pub(crate) mod report;
pub(crate) mod trace;
pub(crate) mod urls;

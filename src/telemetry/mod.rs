//! Runs only when something is captured: renders records onto events, and reports failures.

mod breadcrumb;
pub(crate) mod call;
mod event;
pub(crate) mod inbound;
pub(crate) mod integration;
pub(crate) mod performance;
pub(crate) mod report;
pub(crate) mod request;
mod status;
pub(crate) mod trace;
pub(crate) mod urls;

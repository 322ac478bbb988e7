//! Renders records onto events, reports failures, and traces and measures requests. A record is rendered
//! only when something is captured.

mod breadcrumb;
pub(crate) mod call;
mod event;
pub(crate) mod inbound;
pub(crate) mod integration;
pub(crate) mod performance;
pub(crate) mod report;
pub(crate) mod request;
mod status;
mod subject;
pub(crate) mod trace;
pub(crate) mod urls;

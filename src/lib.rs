// Markdown takes the first definition of a link: this one, a data URL, stands for the README's
// `[chart]`, a file that the documentation does not have.
#![doc = include_str!("chart.md")]
#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "axum")]
mod axum;
mod body;
mod client;
mod failures;
mod generator;
mod header;
mod hosts;
mod hubs;
mod id;
mod inbound;
mod integration;
mod message;
mod outbound;
mod report;
mod scope;
mod server;
mod spares;
#[cfg(feature = "tower-http")]
mod tower_http;
mod trace;
mod trust;
mod urls;

#[cfg(feature = "axum")]
pub use crate::axum::MissingTransactionIdLayer;
pub use crate::body::ResponseBody;
pub use crate::client::{InjectTransactionId, InjectTransactionIdLayer};
pub use crate::failures::{BoxedErrors, Capture, CapturesErrors, ConcreteErrors, Failures};
pub use crate::hosts::{AllowedHosts, InvalidHost};
pub use crate::id::{
    InvalidTransactionId, MakeTransactionId, TAG, TransactionId, TransactionIdRule,
    X_TRANSACTION_ID,
};
pub use crate::integration::TransactionIdIntegration;
pub use crate::message::{InboundResponse, OutboundRequest};
pub use crate::scope::{InScope, TransactionIdScope};
pub use crate::server::{BindTransactionId, BindTransactionIdLayer};
#[cfg(feature = "tower-http")]
pub use crate::tower_http::MakeTransactionIdSpan;
pub use crate::trust::{RequestHead, Trust};

/// The futures of both layers, for code that has to name them.
pub mod future {
    pub use crate::client::InjectResponseFuture;
    pub use crate::server::BindResponseFuture;
}

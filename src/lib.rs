// Markdown takes the first definition of a link: this one, a data URL, stands for the README's
// `[chart]`, a file that the documentation does not have.
#![doc = include_str!("chart.md")]
#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "axum")]
mod axum;
mod client;
mod failures;
mod header;
mod id;
mod scope;
mod server;
mod telemetry;
#[cfg(feature = "tower-http")]
mod tower_http;

#[cfg(feature = "axum")]
pub use crate::axum::MissingTransactionIdLayer;
pub use crate::client::hosts::{AllowedHosts, InvalidHost};
pub use crate::client::message::{InboundResponse, OutboundRequest};
pub use crate::client::{InjectTransactionId, InjectTransactionIdLayer};
pub use crate::failures::{BoxedErrors, Capture, CapturesErrors, ConcreteErrors, Failures};
pub use crate::id::{
    InvalidTransactionId, MakeTransactionId, TAG, TransactionId, TransactionIdRule,
    X_TRANSACTION_ID,
};
pub use crate::scope::{InScope, TransactionIdScope};
pub use crate::server::body::ResponseBody;
pub use crate::server::trust::{RequestHead, Trust};
pub use crate::server::{BindTransactionId, BindTransactionIdLayer};
pub use crate::telemetry::integration::TransactionIdIntegration;
#[cfg(feature = "tower-http")]
pub use crate::tower_http::MakeTransactionIdSpan;

/// The futures of both layers, for code that has to name them.
pub mod future {
    pub use crate::client::InjectResponseFuture;
    pub use crate::server::BindResponseFuture;
}

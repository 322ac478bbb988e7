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
mod random;
#[cfg(feature = "reqwest")]
mod reqwest;
#[cfg(feature = "reqwest-middleware")]
mod reqwest_middleware;
mod scope;
#[cfg(feature = "serde")]
mod serde;
mod server;
mod telemetry;
#[cfg(feature = "tower-http")]
mod tower_http;

#[cfg(feature = "axum")]
pub use crate::axum::MissingTransactionIdLayer;
pub use crate::client::hosts::{AllowedHosts, InvalidHost};
pub use crate::client::layer::InjectTransactionIdLayer;
pub use crate::client::message::{ClientRequest, ClientResponse};
pub use crate::client::service::InjectTransactionId;
pub use crate::failures::Failures;
pub use crate::id::{InvalidTransactionId, TransactionId, TransactionIdRule, X_TRANSACTION_ID};
pub use crate::scope::TransactionIdScope;
pub use crate::scope::in_scope::InScope;
pub use crate::server::generator::MakeTransactionId;
pub use crate::server::layer::BindTransactionIdLayer;
pub use crate::server::request::RequestHead;
pub use crate::server::service::BindTransactionId;
pub use crate::server::trust::Trust;
pub use crate::telemetry::integration::TransactionIdIntegration;

/// The response body of the server layer.
pub mod body {
    pub use crate::server::body::ResponseBody;
}

/// How the layers read the errors of the services inside, for code that has to name the type of a
/// layer.
pub mod errors {
    pub use crate::failures::{OpaqueErrors, ReadErrors, ReadableErrors};
}

/// The futures of both layers, for code that has to name them.
pub mod future {
    pub use crate::client::service::InjectResponseFuture;
    pub use crate::server::service::BindResponseFuture;
}

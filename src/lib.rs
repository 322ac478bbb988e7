//! Carries one *correlation ID* through every service that handles a request, and sets it as the
//! [Sentry](https://docs.rs/sentry) tag `transaction_id` on everything that they report.
//!
//! Two [Tower](https://docs.rs/tower) layers do this: one for servers, one for clients.
//!
//! ```
//! use axum::{Router, http::StatusCode, routing::get};
//! use sentry::{Hub, Level};
//! use tower_transaction_id::{
//!     AllowedHosts, BindTransactionIdLayer, InjectTransactionId, InvalidHost, TransactionId,
//! };
//!
//! async fn order(id: TransactionId) -> (StatusCode, String) {
//!     sentry::capture_message("out of mustard", Level::Error); // has the tag
//!     (StatusCode::SERVICE_UNAVAILABLE, format!("Tell support: {id}"))
//! }
//!
//! /// Reads the header `X-Transaction-ID` or generates an ID, and echoes it.
//! fn app() -> Router {
//!     let layer = BindTransactionIdLayer::new().hub(Hub::main()); // after sentry::init
//!     Router::new().route("/order", get(order)).layer(layer) // last, so it is outermost
//! }
//!
//! /// Sends the ID of the request to one host, and to no other.
//! fn client() -> Result<InjectTransactionId<reqwest::Client>, InvalidHost> {
//!     let hosts = AllowedHosts::only(["http://kitchen.internal"])?;
//!     Ok(InjectTransactionId::new(reqwest::Client::new(), hosts))
//! }
//! ```
//!
//! The [`guide`] has a page for each thing that you may want to do, from [servers](guide::servers) to
//! [troubleshooting](guide::troubleshooting).
//!
//! # Contents
//!
//! | for | items |
//! |---|---|
//! | the ID | [`TransactionId`] and its rules, [`TransactionIdRule`] and [`InvalidTransactionId`]; the header [`X_TRANSACTION_ID`] |
//! | servers | [`BindTransactionIdLayer`] and its service, [`BindTransactionId`]; [`Trust`], [`MakeTransactionId`], [`RequestHead`] |
//! | clients | [`InjectTransactionIdLayer`] and its service, [`InjectTransactionId`]; [`AllowedHosts`] and [`InvalidHost`]; the messages [`ClientRequest`] and [`ClientResponse`] |
//! | tasks and jobs | [`InScope`] and [`TransactionIdScope`] |
//! | queues, sockets, RPC | [`messages`]: a layer for any request type, and the pairs of a message |
//! | Sentry | [`Failures`] for reports; [`TransactionIdIntegration`] for logs and metrics |
//! | types to name | [`body`], [`errors`], [`future`] |
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `tower-http` (default) | `BindTransactionIdLayer::make_request_id`, which takes tower-http's generators; the feature `tracing` |
//! | `tracing` | `make_span_with` and `with_span`, for the ID on log lines; warnings of a setup that cannot work |
//! | `axum` | `TransactionId` and `Option<TransactionId>` as extractors, with `errors::MissingTransactionIdLayer`; the matched route in Sentry |
//! | `reqwest` | the client layer on `reqwest::Client`, with `execute`; `AllowedHosts::allows_url` |
//! | `reqwest-middleware` | the client layer as a `Middleware` |
//! | `serde` | `TransactionId` as text |
//!
//! This version works with sentry 0.49, tower-http 0.7, axum 0.8, reqwest 0.13 and reqwest-middleware 0.5.
//! **With another version of sentry a service compiles and tags nothing**, unless it calls
//! [`hub(Hub::main())`](BindTransactionIdLayer::hub), which then does not compile.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "axum")]
mod axum;
mod client;
mod decision;
mod failures;
mod flags;
pub mod guide;
mod header;
mod id;
pub mod messages;
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

/// Contains the response body of the server layer.
pub mod body {
    pub use crate::server::body::ResponseBody;
}

/// Contains the error of the axum extractor, and the ways in which a layer reads errors, for code that has
/// to name them.
pub mod errors {
    #[cfg(feature = "axum")]
    pub use crate::axum::MissingTransactionIdLayer;
    pub use crate::failures::{OpaqueErrors, ReadErrors, ReadableErrors};
}

/// Contains the futures of both layers, for code that has to name them.
pub mod future {
    pub use crate::client::service::InjectResponseFuture;
    pub use crate::server::service::BindResponseFuture;
}

/// Compiles the code of the README, which is not a part of this documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// Compiles the recipes for machines.
#[cfg(doctest)]
#[doc = include_str!("../llms.txt")]
struct Recipes;

//! [`TransactionId`] as an axum extractor.

use std::convert::Infallible;
use std::fmt;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;

use crate::TransactionId;

/// Extracts the [current](TransactionId::current) ID. Take `Option<TransactionId>` where the layer may be
/// missing.
impl<S: Sync> FromRequestParts<S> for TransactionId {
    type Rejection = MissingTransactionIdLayer;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Self::current().ok_or(MissingTransactionIdLayer(()))
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for TransactionId {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(Self::current())
    }
}

/// Rejects, with status `500`, a request whose handler takes a [`TransactionId`] while no ID is current.
///
/// There are two causes:
///
/// - The route is not inside a [`BindTransactionIdLayer`](crate::BindTransactionIdLayer).
/// - A middleware between the layer and the route runs the route in a task of its own. Bind the task by
///   [`InScope::rest_of_request`](crate::InScope::rest_of_request).
#[derive(Clone)]
pub struct MissingTransactionIdLayer(());

/// Prints the sentence of `Display`, since `unwrap` prints this.
impl fmt::Debug for MissingTransactionIdLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for MissingTransactionIdLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "no transaction ID: add `BindTransactionIdLayer` to the Router, as its last layer; if \
             a middleware spawns the rest of the request, spawn `InScope::rest_of_request(rest)`",
        )
    }
}

impl std::error::Error for MissingTransactionIdLayer {}

impl IntoResponse for MissingTransactionIdLayer {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
    }
}

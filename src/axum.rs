//! [`TransactionId`] as an axum extractor.

use std::convert::Infallible;
use std::fmt;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;

use crate::TransactionId;

/// The ID of the request being handled. Take `Option<TransactionId>` where the layer may be
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

/// The rejection of the [`TransactionId`] extractor: the route is not inside a
/// [`BindTransactionIdLayer`](crate::BindTransactionIdLayer). Answers `500`.
#[derive(Clone, Copy, Debug)]
pub struct MissingTransactionIdLayer(());

impl fmt::Display for MissingTransactionIdLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "no transaction ID: add `BindTransactionIdLayer` to the Router, as its last layer",
        )
    }
}

impl std::error::Error for MissingTransactionIdLayer {}

impl IntoResponse for MissingTransactionIdLayer {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
    }
}

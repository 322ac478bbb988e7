//! A library of defaults keeps a server layer in a field. The errors that the layer reads, here those of
//! a timeout inside, are named by their type.

use std::time::Duration;

use axum::Router;
use axum::error_handling::HandleErrorLayer;
use http::StatusCode;
use tower::timeout::TimeoutLayer;
use tower::{BoxError, ServiceBuilder};
use tower_transaction_id::errors::{OpaqueErrors, ReadableErrors};
use tower_transaction_id::{BindTransactionIdLayer, Failures, Trust};

#[derive(Clone, Debug)]
pub struct Defaults {
    edge: BindTransactionIdLayer,
    inner: BindTransactionIdLayer<ReadableErrors<BoxError>>,
}

impl Default for Defaults {
    fn default() -> Self {
        let inner = BindTransactionIdLayer::new()
            .capture_failures(Failures::new())
            .read_errors(|error: &BoxError| &**error);
        Self { edge: BindTransactionIdLayer::new().trust(Trust::never()), inner }
    }
}

impl Defaults {
    pub fn edge(&self) -> BindTransactionIdLayer<OpaqueErrors> {
        self.edge.clone()
    }

    pub fn with_timeout(&self, app: Router) -> Router {
        let stack = ServiceBuilder::new()
            .layer(HandleErrorLayer::new(async |_: BoxError| StatusCode::REQUEST_TIMEOUT))
            .layer(self.inner.clone())
            .layer(TimeoutLayer::new(Duration::from_secs(1)));
        app.layer(stack)
    }
}

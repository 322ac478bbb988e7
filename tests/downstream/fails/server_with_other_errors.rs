//! `read_errors` names another type than that of the errors of the service inside, which is a timeout's.

use std::time::Duration;

use axum::Router;
use axum::error_handling::HandleErrorLayer;
use http::StatusCode;
use tower::timeout::TimeoutLayer;
use tower::{BoxError, ServiceBuilder};
use tower_transaction_id::BindTransactionIdLayer;

pub fn app(routes: Router) -> Router {
    routes.layer(
        ServiceBuilder::new()
            .layer(HandleErrorLayer::new(async |_: BoxError| StatusCode::REQUEST_TIMEOUT))
            .layer(BindTransactionIdLayer::new().read_errors(|error: &std::io::Error| error))
            .layer(TimeoutLayer::new(Duration::from_secs(1))),
    )
}

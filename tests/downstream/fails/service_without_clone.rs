//! The service inside has no `Clone`, which axum asks for.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use tower::Layer;
use tower::util::BoxService;
use tower_transaction_id::BindTransactionIdLayer;

pub fn app(service: BoxService<Request, Response<Body>, std::convert::Infallible>) -> Router {
    Router::new().route_service("/", BindTransactionIdLayer::new().layer(service))
}

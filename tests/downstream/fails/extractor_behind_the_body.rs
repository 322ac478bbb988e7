//! An extractor that takes the body stands before the ID. Where the feature `axum` is missing, rustc says
//! the same; all features are on here.

use axum::Router;
use axum::routing::post;
use tower_transaction_id::TransactionId;

async fn order(body: String, id: TransactionId) -> String {
    format!("{id}: {body}")
}

pub fn app() -> Router {
    Router::new().route("/order", post(order))
}

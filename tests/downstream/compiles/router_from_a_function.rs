//! A service builds its Router, with any state, in a function. A setting can decide whether the router has
//! the layer: by `if`, since the layer changes the type of the body.

use axum::Router;
use axum::routing::get;
use tower_transaction_id::{BindTransactionIdLayer, Failures, TransactionId};

#[derive(Clone)]
pub struct Shop;

pub fn app() -> Router {
    routes().layer(BindTransactionIdLayer::new()).with_state(Shop)
}

pub fn app_by_setting(has_ids: bool) -> Router<Shop> {
    let mut app = routes();
    if has_ids {
        app = app.layer(BindTransactionIdLayer::new().capture_failures(Failures::new()));
    }
    app
}

pub fn nested<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().nest("/shop", app()).with_state(())
}

fn routes() -> Router<Shop> {
    Router::new().route("/order", get(order)).route("/menu", get(menu))
}

async fn order(id: TransactionId) -> String {
    id.to_string()
}

async fn menu(id: Option<TransactionId>, body: String) -> String {
    format!("{id:?} {body}")
}

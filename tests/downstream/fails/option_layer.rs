//! `option_layer` has one type for both cases, and the layer changes the type of the body. See
//! `../compiles/router_from_a_function.rs`.

use axum::Router;
use tower::util::option_layer;
use tower_transaction_id::BindTransactionIdLayer;

pub fn app(routes: Router, has_ids: bool) -> Router {
    routes.layer(option_layer(has_ids.then(BindTransactionIdLayer::new)))
}

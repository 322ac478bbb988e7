//! axum: the layer is added last, so that it is outermost.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use futures_util::future::BoxFuture;
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;

use super::respond::respond;
use super::{Host, Setup};
use crate::shop::Shop;

pub(super) struct Axum;

async fn order(State(shop): State<Shop>, Path(wish): Path<String>, headers: HeaderMap) -> Response {
    respond(shop.order(&wish, Some(&headers)).await).map(Body::new)
}

impl Host for Axum {
    fn name(&self) -> &'static str {
        "axum"
    }

    fn start(&self, setup: Setup) -> BoxFuture<'static, SocketAddr> {
        Box::pin(async {
            let app = Router::new()
                .route("/{wish}", get(order))
                .with_state(setup.shop)
                .layer(CatchPanicLayer::new())
                .layer(setup.layer);
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(axum::serve(listener, app).into_future());
            address
        })
    }
}

//! warp: `warp::serve` takes no layer. `warp::service` turns the filters into a Tower service, which the layer
//! wraps, and which hyper serves.

use std::convert::Infallible;
use std::net::SocketAddr;

use futures_util::future::BoxFuture;
use tower::ServiceBuilder;
use warp::http::HeaderMap;
use warp::reply::{Reply, Response};
use warp::{Filter, reply};

use super::respond::{fallible, status};
use super::{Host, Setup, hyper};
use crate::shop::{Answer, Shop};

pub(super) struct Warp;

async fn order(shop: Shop, wish: String, headers: HeaderMap) -> Response {
    let answer = shop.order(&wish, Some(&headers)).await;
    let status = status(&answer);
    match answer {
        Answer::Streamed(chunks) => reply::stream(fallible::<Infallible>(chunks)).into_response(),
        _ => reply::with_status("", status).into_response(),
    }
}

impl Host for Warp {
    fn name(&self) -> &'static str {
        "warp"
    }

    fn start(&self, setup: Setup) -> BoxFuture<'static, SocketAddr> {
        let shop = setup.shop;
        let orders = warp::any()
            .map(move || shop.clone())
            .and(warp::path!(String))
            .and(warp::header::headers_cloned())
            .then(order);
        let service = ServiceBuilder::new().layer(setup.layer).service(warp::service(orders));
        Box::pin(hyper::serve(service))
    }
}

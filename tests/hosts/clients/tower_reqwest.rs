//! tower-reqwest: the layer is outside of `HttpClientLayer`, where requests are those of the crate `http`.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::Request;
use tower::{ServiceBuilder, ServiceExt};
use tower_reqwest::HttpClientLayer;
use tower_transaction_id::InjectTransactionIdLayer;

use super::{Client, Host};

pub(super) struct TowerReqwest;

impl Host for TowerReqwest {
    fn name(&self) -> &'static str {
        "tower-reqwest"
    }

    fn client(
        &self,
        kitchen: SocketAddr,
        layer: InjectTransactionIdLayer,
    ) -> BoxFuture<'static, Client> {
        let client = ServiceBuilder::new()
            .layer(layer)
            .layer(HttpClientLayer)
            .service(reqwest::Client::builder().no_proxy().build().unwrap());
        let order: Client = Arc::new(move |dish| {
            let client = client.clone();
            Box::pin(async move {
                let url = format!("http://{kitchen}/{dish}");
                let request = Request::get(url).body(reqwest::Body::default()).unwrap();
                let response = client.oneshot(request).await;
                response.is_ok_and(|response| response.status().is_success())
            })
        });
        Box::pin(async { order })
    }
}

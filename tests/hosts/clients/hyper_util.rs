//! hyper-util: the layer goes around its client.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::Request;
use http_body_util::Empty;
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use tower::{ServiceBuilder, ServiceExt};
use tower_transaction_id::InjectTransactionIdLayer;

use super::{Client, Host};

pub(super) struct HyperUtil;

impl Host for HyperUtil {
    fn name(&self) -> &'static str {
        "hyper-util"
    }

    fn client(
        &self,
        kitchen: SocketAddr,
        layer: InjectTransactionIdLayer,
    ) -> BoxFuture<'static, Client> {
        let client = ServiceBuilder::new()
            .layer(layer)
            .service(legacy::Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>());
        let order: Client = Arc::new(move |dish| {
            let client = client.clone();
            Box::pin(async move {
                let request = Request::get(format!("http://{kitchen}/{dish}")).body(Empty::new());
                let response = client.oneshot(request.unwrap()).await;
                response.is_ok_and(|response| response.status().is_success())
            })
        });
        Box::pin(async { order })
    }
}

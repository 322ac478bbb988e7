//! reqwest-middleware: the layer is its innermost middleware, so it is added last.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use reqwest_middleware::ClientBuilder;
use tower_transaction_id::InjectTransactionIdLayer;

use super::{Client, Host};

pub(super) struct ReqwestMiddleware;

impl Host for ReqwestMiddleware {
    fn name(&self) -> &'static str {
        "reqwest-middleware"
    }

    fn client(
        &self,
        kitchen: SocketAddr,
        layer: InjectTransactionIdLayer,
    ) -> BoxFuture<'static, Client> {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let client = ClientBuilder::new(client).with(layer).build();
        let order: Client = Arc::new(move |dish| {
            let client = client.clone();
            Box::pin(async move {
                let response = client.get(format!("http://{kitchen}/{dish}")).send().await;
                response.is_ok_and(|response| response.status().is_success())
            })
        });
        Box::pin(async { order })
    }
}

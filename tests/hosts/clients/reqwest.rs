//! reqwest: the layer goes around its client, and requests go through `execute`.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tower::Layer;
use tower_transaction_id::InjectTransactionIdLayer;

use super::{Client, Host};

pub(super) struct Reqwest;

impl Host for Reqwest {
    fn name(&self) -> &'static str {
        "reqwest"
    }

    fn client(
        &self,
        kitchen: SocketAddr,
        layer: InjectTransactionIdLayer,
    ) -> BoxFuture<'static, Client> {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let client = layer.layer(client);
        let order: Client = Arc::new(move |dish| {
            let client = client.clone();
            Box::pin(async move {
                let url = format!("http://{kitchen}/{dish}");
                let request = client.get_ref().get(url).build().unwrap();
                let response = client.execute(request).await;
                response.is_ok_and(|response| response.status().is_success())
            })
        });
        Box::pin(async { order })
    }
}

//! tonic: the layer goes around the channel. With an origin, a request has a host, and the list of hosts
//! applies.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::Layer;
use tower_transaction_id::InjectTransactionIdLayer;

use super::{Client, Host};

pub(super) struct Tonic;

impl Host for Tonic {
    fn name(&self) -> &'static str {
        "tonic"
    }

    fn client(
        &self,
        kitchen: SocketAddr,
        layer: InjectTransactionIdLayer,
    ) -> BoxFuture<'static, Client> {
        Box::pin(async move {
            let url = format!("http://{kitchen}");
            let channel = Channel::from_shared(url.clone()).unwrap().connect().await.unwrap();
            let client = HealthClient::with_origin(layer.layer(channel), url.parse().unwrap());
            let order: Client = Arc::new(move |dish| {
                let mut client = client.clone();
                Box::pin(
                    async move { client.check(HealthCheckRequest { service: dish }).await.is_ok() },
                )
            });
            order
        })
    }
}

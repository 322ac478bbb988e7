//! kube: `Client` puts its service behind a buffer, which calls the service in another task. There no ID is
//! current. So a layer outside waits with the call until the caller's task polls it.
//!
//! The outermost layer of a `ClientBuilder` is the one that is added last.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::{HeaderName, Request};
use kube::Config;
use kube::client::{Body, ClientBuilder};
use libtest_mimic::Trial;
use serde_json::Value;
use tower::buffer::BufferLayer;
use tower::layer::layer_fn;
use tower::util::{Oneshot, ServiceFn};
use tower::{Service, ServiceExt, service_fn};
use tower_transaction_id::{AllowedHosts, InjectTransactionIdLayer, TransactionIdScope};

use super::{Client, Host};
use crate::kitchen::Kitchen;
use crate::trial::trial;

pub(super) struct Kube;

/// Returns a client that sends the ID to its cluster, and to no other host.
fn client(config: Config, inject: &InjectTransactionIdLayer) -> kube::Result<kube::Client> {
    Ok(ClientBuilder::try_from(config)?
        .with_layer(&BufferLayer::new(1024)) // makes the service `Clone`
        .with_layer(inject)
        .with_layer(&layer_fn(late))
        .build())
}

/// Calls a service when the future of the call is polled, and not before.
fn late<S>(service: S) -> ServiceFn<impl Fn(Request<Body>) -> Oneshot<S, Request<Body>>>
where
    S: Service<Request<Body>> + Clone,
{
    service_fn(move |request| service.clone().oneshot(request))
}
impl Host for Kube {
    fn name(&self) -> &'static str {
        "kube"
    }

    fn lacks(&self) -> &'static [(&'static str, &'static str)] {
        &[("the_current_id_is_sent_to_a_listed_host", "the layer sees a path without a host")]
    }

    fn client(
        &self,
        kitchen: SocketAddr,
        layer: InjectTransactionIdLayer,
    ) -> BoxFuture<'static, Client> {
        Box::pin(async move {
            let config = Config::new(format!("http://{kitchen}").parse().unwrap());
            let client = client(config, &layer).unwrap();
            let order: Client = Arc::new(move |dish| {
                let client = client.clone();
                Box::pin(async move {
                    let pod = format!("/api/v1/namespaces/kitchen/pods/{dish}");
                    let request = Request::get(pod).body(Vec::new()).unwrap();
                    client.request::<Value>(request).await.is_ok()
                })
            });
            order
        })
    }
}

/// The cluster's audit log has the ID of a request in its `auditID`.
pub(super) fn audit_trial() -> Trial {
    let claim = "the_header_of_the_audit_log_carries_the_id";
    trial(&format!("clients::kube::{claim}"), claim, &[], async || {
        let kitchen = Kitchen::open().await;
        let layer = InjectTransactionIdLayer::new(AllowedHosts::any())
            .header_name(HeaderName::from_static("audit-id"));
        let client = Kube.client(kitchen.address, layer).await;
        let scope = TransactionIdScope::new("order-1".parse().unwrap());
        assert!(scope.bind(client("sausage".into())).await);
        assert_eq!(kitchen.first().await.headers["audit-id"], "order-1");
    })
}

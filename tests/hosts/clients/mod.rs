//! The hosts that call, and the claims that hold on each.

mod claims;
mod hyper_util;
mod kube;
mod reqwest;
mod reqwest_middleware;
mod tonic;
mod tower_reqwest;

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use libtest_mimic::Trial;
use tower_transaction_id::InjectTransactionIdLayer;

use crate::trial::trial;

/// A way to call the kitchen.
pub(crate) trait Host: Send + Sync {
    /// The name of the crate.
    fn name(&self) -> &'static str;

    /// The claims that make no sense on this host, each with the reason.
    fn lacks(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// Returns a client with the layer.
    fn client(
        &self,
        kitchen: SocketAddr,
        layer: InjectTransactionIdLayer,
    ) -> BoxFuture<'static, Client>;
}

/// Orders a dish, and returns whether it was served.
pub(crate) type Client = Arc<dyn Fn(String) -> BoxFuture<'static, bool> + Send + Sync>;

const HOSTS: &[&dyn Host] = &[
    &hyper_util::HyperUtil,
    &kube::Kube,
    &reqwest::Reqwest,
    &reqwest_middleware::ReqwestMiddleware,
    &tonic::Tonic,
    &tower_reqwest::TowerReqwest,
];

/// One test for each host and claim.
pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for &host in HOSTS {
        for (claim, check) in claims::ALL {
            let name = format!("clients::{}::{claim}", host.name());
            trials.push(trial(&name, claim, host.lacks(), async move || check(host).await));
        }
        for (claim, _) in host.lacks() {
            assert!(claims::ALL.iter().any(|(name, _)| name == claim), "there is no claim {claim}");
        }
    }
    trials.push(kube::audit_trial());
    trials
}

//! The hosts that serve, and the claims that hold on each.

mod aws_smithy;
mod axum;
mod claims;
mod connectrpc;
mod hyper;
mod jsonrpsee;
mod lambda;
mod lambda_platform;
mod poem;
mod respond;
mod salvo;
mod tonic;
mod warp;

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, StatusCode, Version};
use http_body_util::Full;
use libtest_mimic::Trial;
use tower_transaction_id::{BindTransactionIdLayer, Failures};

use crate::sentry::Sentry;
use crate::shop::Shop;
use crate::trial::trial;
use crate::wire::{Connection, Reply};

pub(crate) use lambda::run_function;

/// A way to serve the shop.
pub(crate) trait Host: Send + Sync {
    /// The name of the crate.
    fn name(&self) -> &'static str;

    /// The claims that make no sense on this host, each with the reason.
    fn lacks(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// Serves on a free port of loopback, until the runtime ends.
    fn start(&self, setup: Setup) -> BoxFuture<'static, SocketAddr>;

    /// The version of HTTP that a client has to use.
    fn version(&self) -> Version {
        Version::HTTP_11
    }

    /// Whether a handler sees the headers of its request.
    fn shows_headers(&self) -> bool {
        true
    }

    /// Whether the answer after a panic passes through the layer. Otherwise the host closes the connection, or
    /// answers outside of the layer.
    fn answers_after_a_panic(&self) -> bool {
        true
    }

    /// The status for an unknown path.
    fn unknown(&self) -> StatusCode {
        StatusCode::NOT_FOUND
    }

    /// The request for a wish. Its URL is the one that events show.
    fn request(&self, wish: &str) -> Request<Full<Bytes>> {
        let url = format!("http://shop.test/{wish}");
        let request = Request::get(format!("/{wish}")).header("host", "shop.test");
        request.extension(Url(url)).body(Full::default()).expect("a wish fits into a path")
    }
}

/// The URL of a request that carries no host in its own URI.
#[derive(Clone)]
pub(crate) struct Url(pub(crate) String);

/// What a host serves.
pub(crate) struct Setup {
    pub(crate) layer: BindTransactionIdLayer,
    pub(crate) shop: Shop,
    /// For a host in a process of its own.
    pub(crate) sentry: Sentry,
}

const HOSTS: &[&dyn Host] = &[
    &aws_smithy::AwsSmithy,
    &axum::Axum,
    &connectrpc::ConnectRpc,
    &hyper::Hyper,
    &jsonrpsee::Jsonrpsee,
    &lambda::Lambda,
    &poem::Poem,
    &salvo::Salvo,
    &tonic::Tonic,
    &warp::Warp,
];

/// A host that serves, and what it sends to Sentry.
#[derive(Clone)]
pub(crate) struct Visit {
    host: &'static dyn Host,
    address: SocketAddr,
    sentry: Sentry,
}

impl Visit {
    async fn start(host: &'static dyn Host) -> Self {
        let sentry = Sentry::new();
        let layer = layer(&sentry.hub);
        let setup = Setup { layer, shop: Shop::new(), sentry: sentry.clone() };
        Self { host, address: host.start(setup).await, sentry }
    }

    /// Makes a wish on a connection of its own.
    async fn wish(&self, wish: &str, ids: &[&str]) -> Reply {
        self.try_wish(wish, ids).await.expect("the host answers")
    }

    async fn try_wish(&self, wish: &str, ids: &[&str]) -> ::hyper::Result<Reply> {
        self.connect().await.send(self.host.request(wish), ids).await
    }

    async fn connect(&self) -> Connection {
        Connection::open(self.address, self.host.version()).await
    }
}

/// The layer that all hosts add.
fn layer(hub: &std::sync::Arc<::sentry::Hub>) -> BindTransactionIdLayer {
    BindTransactionIdLayer::new().hub(hub).capture_failures(Failures::new())
}

/// One test for each host and claim.
pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for &host in HOSTS {
        for (claim, check) in claims::ALL {
            let name = format!("servers::{}::{claim}", host.name());
            trials.push(trial(&name, claim, host.lacks(), async move || {
                check(Visit::start(host).await).await;
            }));
        }
        for (claim, _) in host.lacks() {
            assert!(claims::ALL.iter().any(|(name, _)| name == claim), "there is no claim {claim}");
        }
    }
    trials.push(lambda::flush_trial());
    trials.push(salvo::compat_trial());
    trials
}

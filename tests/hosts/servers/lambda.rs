//! AWS Lambda: the layer goes around the handler. The events are flushed before the function asks for its next
//! invocation, because Lambda freezes the process then.
//!
//! The function runs in a process of its own, with Sentry's real transport. The platform is
//! [`lambda_platform`](super::lambda_platform).

use std::convert::Infallible;
use std::env;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::Request;
use http_body_util::Full;
use lambda_http::lambda_runtime::LambdaInvocation;
use lambda_http::{Error, service_fn};
use libtest_mimic::Trial;
use sentry::Hub;
use tokio::process::Command;
use tower::util::MapFutureLayer;
use tower::{Layer, Service, ServiceBuilder};

use super::lambda_platform::Platform;
use super::respond::respond;
use super::{Host, Setup, Url, layer};
use crate::sentry::Sentry;
use crate::shop::Shop;
use crate::trial::trial;
use crate::wire::Connection;

pub(super) struct Lambda;

/// Names the variable that holds the DSN of the function, and that makes this program the function.
const DSN: &str = "HOSTS_LAMBDA_DSN";

/// Waits until Sentry has the events of the invocation, for two seconds at most.
fn flush<S>() -> impl Layer<S, Service: Service<LambdaInvocation, Response = (), Error = Error>>
where
    S: Service<LambdaInvocation, Response = (), Error = Error>,
{
    MapFutureLayer::new(|invocation: S::Future| async {
        let result = invocation.await;
        if let Some(client) = Hub::main().client() {
            let wait = move || client.flush(Some(Duration::from_secs(2)));
            tokio::task::spawn_blocking(wait).await?;
        }
        result
    })
}
/// Runs this process as the function, if the platform started it. Returns whether it did.
pub(crate) fn run_function() -> bool {
    let Ok(dsn) = env::var(DSN) else { return false };
    let _sentry = sentry::init(dsn);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let shop = Shop::new();
    let order = service_fn(move |request: lambda_http::Request| {
        let shop = shop.clone();
        async move {
            let wish = request.uri().path().trim_start_matches('/');
            Ok::<_, Infallible>(respond(shop.order(wish, Some(request.headers())).await))
        }
    });
    let service = ServiceBuilder::new().layer(layer(&Hub::main())).service(order);
    // A layer of the runtime is around the whole invocation, so that it flushes after the response was sent.
    let function = lambda_http::runtime(service).layer(flush());
    runtime.block_on(function.run()).expect("the platform answers");
    true
}

impl Host for Lambda {
    fn name(&self) -> &'static str {
        "lambda_http"
    }

    fn lacks(&self) -> &'static [(&'static str, &'static str)] {
        const STAYS: &str = "a function does not notice that the client leaves";
        &[
            ("a_handler_is_dropped_under_its_id_when_the_client_leaves", STAYS),
            ("a_body_is_dropped_under_its_id_when_the_client_leaves", STAYS),
            (
                "requests_at_the_same_time_keep_their_ids_apart",
                "a function handles one request at a time",
            ),
        ]
    }

    fn start(&self, setup: Setup) -> BoxFuture<'static, SocketAddr> {
        Box::pin(async move { start(&setup.sentry).await.gateway })
    }

    fn answers_after_a_panic(&self) -> bool {
        false
    }

    fn request(&self, wish: &str) -> Request<Full<Bytes>> {
        let url = Url(format!("https://shop.test/{wish}"));
        let request = Request::get(format!("/{wish}")).header("host", "shop.test");
        request.extension(url).body(Full::default()).expect("a wish fits into a path")
    }
}

/// Starts the platform, and the function on it.
async fn start(sentry: &Sentry) -> Platform {
    let platform = Platform::start(sentry).await;
    let mut function = Command::new(env::current_exe().unwrap())
        .env(DSN, format!("http://public@{}/1", platform.inside))
        .env("AWS_LAMBDA_RUNTIME_API", platform.inside.to_string())
        .env("AWS_LAMBDA_FUNCTION_NAME", "shop")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
        .env("AWS_LAMBDA_LOG_GROUP_NAME", "shop")
        .env("AWS_LAMBDA_LOG_STREAM_NAME", "shop")
        // Its panics are expected.
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    tokio::spawn(async move { function.wait().await });
    platform
}

/// The freeze exists on this host only, so this claim stands here.
pub(super) fn flush_trial() -> Trial {
    let claim = "events_arrive_before_the_function_asks_for_its_next_invocation";
    trial(&format!("servers::lambda_http::{claim}"), claim, &[], async || {
        let sentry = Sentry::new();
        let platform = start(&sentry).await;
        for invocation in 1..=2 {
            let mut connection = Connection::open(platform.gateway, Lambda.version()).await;
            connection.send(Lambda.request("complain"), &[]).await.unwrap();
            platform.frozen_before(invocation + 1).await;
            assert_eq!(sentry.events().len(), invocation);
        }
    })
}

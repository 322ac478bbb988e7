//! The client layer on real clients: reqwest, tower-reqwest, hyper-util.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode, header};
use http_body_util::Empty;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::rt::TokioExecutor;
use sentry::protocol::Context;
use sentry::{ClientOptions, Hub, SentryFutureExt};
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_http::follow_redirect::FollowRedirectLayer;
use tower_reqwest::HttpClientLayer;
use tower_transaction_id::{
    AllowedHosts, BindTransactionIdLayer, InjectTransactionIdLayer, TransactionId,
    TransactionIdIntegration, TransactionIdScope,
};

use crate::support::{Never, capture, serve, story, story_with, tag};

/// The IDs that a server saw, `-` where a request had none.
type Seen = Arc<Mutex<Vec<String>>>;

async fn note(State(seen): State<Seen>, headers: HeaderMap) {
    let lines = headers.get_all("x-transaction-id").iter();
    let lines: Vec<_> = lines.map(|line| line.to_str().unwrap()).collect();
    seen.lock().unwrap().push(if lines.is_empty() { "-".into() } else { lines.join("|") });
}

/// A server that stores the IDs that it receives, and the IDs so far.
async fn server() -> (SocketAddr, Seen) {
    let seen = Seen::default();
    (serve(Router::new().fallback(note).with_state(seen.clone())).await, seen)
}

/// A server that stores the ID and redirects to `target`.
async fn redirecting(target: String) -> (SocketAddr, Seen) {
    let seen = Seen::default();
    let lead = async move |state: State<Seen>, headers: HeaderMap| {
        note(state, headers).await;
        (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, target.clone())])
    };
    let app = Router::new().route("/", get(lead)).with_state(seen.clone());
    (serve(app).await, seen)
}

fn take(seen: &Seen) -> Vec<String> {
    std::mem::take(&mut seen.lock().unwrap())
}

fn scope(id: &str) -> TransactionIdScope {
    TransactionIdScope::new(id.parse().unwrap())
}

/// Hosts differ by name: every server here listens on the same address.
fn only_localhost() -> AllowedHosts {
    AllowedHosts::only(["localhost"]).unwrap()
}

#[test]
fn each_client_carries_the_id_to_the_allowed_host_alone() {
    story(|_| async {
        let (address, seen) = server().await;
        let (port, layer) = (address.port(), InjectTransactionIdLayer::new(only_localhost()));
        let allowed = format!("http://localhost:{port}/");
        let other = format!("http://127.0.0.1:{port}/");

        let mut direct = ServiceBuilder::new().layer(layer.clone()).service(reqwest_client());
        let mut wrapped = ServiceBuilder::new()
            .layer(layer.clone())
            .layer(HttpClientLayer)
            .service(reqwest_client());
        let mut hyper = ServiceBuilder::new()
            .layer(layer)
            .service(HyperClient::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>());

        for (url, expected) in [(&allowed, "mine"), (&other, "-")] {
            scope("mine")
                .bind(async {
                    let request = reqwest::Request::new(http::Method::GET, url.parse().unwrap());
                    direct.ready().await.unwrap().call(request).await.unwrap();
                    let request = Request::get(url).body(reqwest::Body::default()).unwrap();
                    wrapped.ready().await.unwrap().call(request).await.unwrap();
                    let request = Request::get(url).body(Empty::new()).unwrap();
                    hyper.ready().await.unwrap().call(request).await.unwrap();
                })
                .await;
            assert_eq!(take(&seen), [expected; 3], "{url}");
        }

        // A shared client by reference, and another header name.
        let client = reqwest_client();
        let layer = InjectTransactionIdLayer::new(AllowedHosts::any())
            .header_name(HeaderName::from_static("x-correlation-id"));
        let by_reference = ServiceBuilder::new().layer(layer).service(&client);
        let request = client.get(&allowed).build().unwrap();
        scope("mine").bind(by_reference.oneshot(request)).await.unwrap();
        assert_eq!(take(&seen), ["-"]);
    });
}

fn reqwest_client() -> reqwest::Client {
    // Ignores the proxy settings of the machine that runs the tests.
    reqwest::Client::builder().no_proxy().build().unwrap()
}

#[test]
fn where_the_id_comes_from() {
    story(|sentry| async move {
        let (address, seen) = server().await;
        let url = format!("http://{address}/");
        let client = ServiceBuilder::new()
            .layer(InjectTransactionIdLayer::new(AllowedHosts::any()))
            .service(reqwest_client());
        let call = || client.clone().oneshot(reqwest_client().get(&url).build().unwrap());

        // The ID of the scope comes before the hub's tag, and the hub's tag before a generated ID.
        let hub = Arc::new(Hub::new_from_top(&sentry.hub));
        hub.configure_scope(|scope| scope.set_tag("transaction_id", "by-hand"));
        scope("scoped").bind(call().bind_hub(hub.clone())).await.unwrap();
        call().bind_hub(hub).await.unwrap();
        assert_eq!(take(&seen), ["scoped", "by-hand"]);

        // A task that has only the hub of its request.
        let task = async {
            let hub = Arc::new(Hub::new_from_top(Hub::current()));
            tokio::spawn(call().bind_hub(hub)).await.unwrap().unwrap();
        };
        scope("spawned").bind(task).await;
        assert_eq!(take(&seen), ["spawned"]);
    });
}

#[test]
fn across_a_hop_to_another_task_the_layer_belongs_outside() {
    story(|_| async {
        let (address, seen) = server().await;
        let layer = InjectTransactionIdLayer::new(only_localhost());
        let outside =
            ServiceBuilder::new().layer(layer.clone()).buffer(1).service(reqwest_client());
        let inside = ServiceBuilder::new().buffer(1).layer(layer).service(reqwest_client());
        let request = |host: &str| {
            let url = format!("http://{host}:{}/", address.port());
            let mut request = reqwest_client().get(url).build().unwrap();
            if host == "127.0.0.1" {
                // A handler that forwards its headers to a stranger.
                request.headers_mut().insert("x-transaction-id", "mine".parse().unwrap());
            }
            request
        };
        for host in ["localhost", "127.0.0.1"] {
            scope("mine").bind(outside.clone().oneshot(request(host))).await.unwrap();
        }
        assert_eq!(take(&seen), ["mine", "-"]);
        // In the task of `Buffer` no ID is current, as the docs warn: the layer generates an ID for one
        // call, and leaves the copied ID on the other one.
        for host in ["localhost", "127.0.0.1"] {
            scope("mine").bind(inside.clone().oneshot(request(host))).await.unwrap();
        }
        let seen = take(&seen);
        assert_eq!((seen[0].len(), seen[1].as_str()), (32, "mine"));
    });
}

#[test]
fn outside_any_request_the_call_starts_the_work_in_a_scope_of_its_own() {
    story(|sentry| async move {
        let (address, seen) = server().await;
        // An event that the inner client captures has the ID of the call.
        let inner = tower::service_fn(async |request: reqwest::Request| {
            capture("inner");
            reqwest_client().execute(request).await
        });
        let client = ServiceBuilder::new()
            .layer(InjectTransactionIdLayer::new(AllowedHosts::any()))
            .service(inner);
        let request = reqwest_client().get(format!("http://{address}/")).build().unwrap();
        let response = client.clone().oneshot(request).await.unwrap();
        let id = response.extensions().get::<TransactionId>().unwrap().to_string();
        assert_eq!(take(&seen), std::slice::from_ref(&id));
        assert_eq!(sentry.take(), [("inner".to_owned(), Some(id))]);
        assert_eq!(TransactionId::current(), None);

        // The extensions hold an ID only if the layer generated it.
        let request = reqwest_client().get(format!("http://{address}/")).build().unwrap();
        let response = scope("known").bind(client.oneshot(request)).await.unwrap();
        assert!(response.extensions().get::<TransactionId>().is_none());

        // For a host that is not on the list, the layer generates no ID.
        let (address, seen) = server().await;
        let client = ServiceBuilder::new()
            .layer(InjectTransactionIdLayer::new(only_localhost()))
            .service(reqwest_client());
        let request = reqwest_client().get(format!("http://{address}/")).build().unwrap();
        let response = client.oneshot(request).await.unwrap();
        assert!(response.extensions().get::<TransactionId>().is_none());
        assert_eq!(take(&seen), ["-"]);
    });
}

#[test]
fn on_reqwest_a_port_on_the_list_is_the_port_of_the_url() {
    story(|_| async {
        let (address, seen) = server().await;
        let url = format!("http://localhost:{}/", address.port());
        for (host, expected) in
            [(format!("localhost:{}", address.port()), "mine"), ("localhost:1".to_owned(), "-")]
        {
            let layer = InjectTransactionIdLayer::new(AllowedHosts::only([&host]).unwrap());
            let client = ServiceBuilder::new().layer(layer).service(reqwest_client());
            let request = reqwest_client().get(&url).build().unwrap();
            scope("mine").bind(client.oneshot(request)).await.unwrap();
            assert_eq!(take(&seen), [expected], "{host}");
        }
    });
}

#[test]
fn a_call_without_an_id_and_a_server_in_the_same_process_share_one_scope() {
    let options = ClientOptions::new().add_integration(TransactionIdIntegration::new());
    story_with(options, |sentry| async move {
        let server = ServiceBuilder::new().layer(BindTransactionIdLayer::new()).service_fn(
            async |_: Request<()>| {
                sentry::configure_scope(|scope| scope.set_tag("dish", "hot dog"));
                Ok::<_, Never>(Response::new(()))
            },
        );
        let inner = tower::service_fn(move |request: Request<()>| {
            let answer = server.clone().oneshot(request);
            async {
                let response = answer.await;
                capture("answered");
                response
            }
        });
        let layer = InjectTransactionIdLayer::new(AllowedHosts::any());
        let client = ServiceBuilder::new().layer(layer).service(inner);
        let response = client.oneshot(Request::new(())).await.unwrap();
        let id = response.extensions().get::<TransactionId>().unwrap().to_string();
        let event = &sentry.take_events()[0];
        assert_eq!(tag(event, "transaction_id"), Some(id));
        assert_eq!(tag(event, "dish").as_deref(), Some("hot dog"));
        let Context::Other(origin) = &event.contexts["transaction_id"] else { panic!("{event:?}") };
        assert_eq!(origin["source"], "generated");
    });
}

#[test]
fn reqwest_forwards_the_header_on_a_redirect_unless_its_policy_stops() {
    story(|_| async {
        let (other, other_saw) = server().await;
        let (first, first_saw) = redirecting(format!("http://127.0.0.1:{}/", other.port())).await;
        let url = format!("http://localhost:{}/", first.port());
        let get = async |policy: reqwest::redirect::Policy| {
            let inner = reqwest::Client::builder().no_proxy().redirect(policy).build().unwrap();
            let request = inner.get(&url).build().unwrap();
            let client = ServiceBuilder::new()
                .layer(InjectTransactionIdLayer::new(only_localhost()))
                .service(inner);
            let response = scope("mine").bind(client.oneshot(request)).await.unwrap();
            assert_eq!(take(&first_saw), ["mine"]);
            (response.status().as_u16(), take(&other_saw))
        };
        // reqwest's default policy sends the ID to every host that a redirect names: hence the warning.
        assert_eq!(get(reqwest::redirect::Policy::default()).await, (200, vec!["mine".to_owned()]));
        assert_eq!(get(reqwest::redirect::Policy::none()).await, (307, vec![]));
        let hosts = only_localhost();
        let stops = reqwest::redirect::Policy::custom(move |attempt| {
            if hosts.allows_url(attempt.url()) { attempt.follow() } else { attempt.stop() }
        });
        assert_eq!(get(stops).await, (307, vec![]));
    });
}

#[test]
fn follow_redirect_outside_the_layer_has_each_hop_decided_anew() {
    story(|_| async {
        let (last, last_saw) = server().await;
        let last_url = format!("http://localhost:{}/", last.port());
        let (other, other_saw) = redirecting(last_url).await;
        let (first, first_saw) = redirecting(format!("http://127.0.0.1:{}/", other.port())).await;
        let url = format!("http://localhost:{}/", first.port());

        let layer = ServiceBuilder::new()
            .layer(FollowRedirectLayer::new())
            .layer(InjectTransactionIdLayer::new(only_localhost()));
        let no_redirects = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        let tower_reqwest = layer.clone().layer(HttpClientLayer).service(no_redirects);
        let hyper =
            layer.service(HyperClient::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>());

        let request = Request::get(&url).body(reqwest::Body::default()).unwrap();
        let response = scope("mine").bind(tower_reqwest.oneshot(request)).await.unwrap();
        assert_eq!(response.status(), 200);
        let request = Request::get(&url).body(Empty::new()).unwrap();
        let response = scope("mine").bind(hyper.oneshot(request)).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(take(&first_saw), ["mine", "mine"]);
        assert_eq!(take(&other_saw), ["-", "-"]);
        assert_eq!(take(&last_saw), ["mine", "mine"]);
    });
}

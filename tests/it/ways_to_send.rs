//! All ways to send a request of reqwest through the client layer have the same result.

#![allow(clippy::needless_pass_by_value)] // as the clients take them

use std::sync::{Arc, Mutex};

use axum::Router;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use http::{HeaderMap, Method, StatusCode, Uri};
use reqwest::{Request, Response};
use reqwest_middleware::ClientBuilder;
use sentry::Level;
use sentry::protocol::Event;
use tokio::sync::Notify;
use tower::{Layer, Service, ServiceExt};
use tower_transaction_id::errors::ReadErrors;
use tower_transaction_id::{
    AllowedHosts, Failures, InjectTransactionIdLayer, TransactionId, TransactionIdScope,
};

use crate::support::{Sentry, capture, serve, story, tag, text};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Execute,
    Call,
    Oneshot,
    Middleware,
}

const WAYS: [Way; 4] = [Way::Execute, Way::Call, Way::Oneshot, Way::Middleware];

type Sent = BoxFuture<'static, Result<Response, String>>;

impl Way {
    /// Sends `request` through a layer that reports failures and, with `reads_errors`, reads errors.
    fn send(self, reads_errors: bool, request: Request) -> Sent {
        let layer = InjectTransactionIdLayer::new(AllowedHosts::only(["localhost"]).unwrap())
            .capture_failures(Failures::new());
        match (self, reads_errors) {
            (Self::Middleware, false) => by_middleware(layer, request),
            (Self::Middleware, true) => {
                by_middleware(layer.read_errors(|error: &reqwest_middleware::Error| error), request)
            }
            (_, false) => self.by_tower(layer, request),
            (_, true) => self.by_tower(layer.read_errors(|error: &reqwest::Error| error), request),
        }
    }

    fn by_tower<R>(self, layer: InjectTransactionIdLayer<R>, request: Request) -> Sent
    where
        R: ReadErrors<reqwest::Error> + Send + 'static,
    {
        let mut client = layer.layer(client());
        let sent = async move {
            match self {
                Self::Execute => client.execute(request).await,
                Self::Call => client.ready().await?.call(request).await,
                Self::Oneshot | Self::Middleware => client.oneshot(request).await,
            }
        };
        sent.map(|result| result.map_err(|error| error.to_string())).boxed()
    }
}

fn by_middleware<R>(layer: InjectTransactionIdLayer<R>, request: Request) -> Sent
where
    R: ReadErrors<reqwest_middleware::Error> + Send + Sync + 'static,
{
    let client = ClientBuilder::new(client()).with(layer).build();
    // As users write it: they use reqwest-middleware for its builder of requests.
    let sent = client
        .request(request.method().clone(), request.url().clone())
        .headers(request.headers().clone())
        .send();
    sent.map(|result| result.map_err(|error| error.to_string())).boxed()
}

fn client() -> reqwest::Client {
    // Ignores the proxy settings of the machine that runs the tests.
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// A server that notes the IDs of its requests and answers with the status that the path names.
struct Server {
    port: u16,
    seen: Arc<Mutex<Vec<String>>>,
    /// Notified when a request came that gets no response.
    waits: Arc<Notify>,
}

impl Server {
    async fn start() -> Self {
        let (seen, waits) = (Arc::<Mutex<Vec<_>>>::default(), Arc::new(Notify::new()));
        let (note, waiting) = (seen.clone(), waits.clone());
        let handler = async move |uri: Uri, headers: HeaderMap| {
            let lines = headers.get_all("x-transaction-id").iter();
            let lines: Vec<_> = lines.map(|line| line.to_str().unwrap()).collect();
            note.lock().unwrap().push(lines.join("|"));
            if uri.path() == "/wait" {
                waiting.notify_one();
                std::future::pending::<()>().await;
            }
            let status = uri.path()[1..].parse().unwrap();
            (StatusCode::from_u16(status).unwrap(), [("x-transaction-id", "peer")])
        };
        let port = serve(Router::new().fallback(handler)).await.port();
        Self { port, seen, waits }
    }

    fn request(&self, host: &str, path: &str, id: Option<&str>) -> Request {
        let url = format!("http://user:secret@{host}:{}{path}?secret", self.port);
        let mut request = Request::new(Method::POST, url.parse().unwrap());
        if let Some(id) = id {
            request.headers_mut().insert("x-transaction-id", id.parse().unwrap());
        }
        request
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

fn scope() -> TransactionIdScope {
    TransactionIdScope::new("mine".parse().unwrap())
}

#[test]
fn each_way_sends_the_same_id() {
    /// The host and the header of a request; the ID that arrives if it is sent in a scope `mine`.
    const TABLE: [(&str, Option<&str>, &str); 7] = [
        ("localhost", None, "mine"),
        ("localhost", Some("theirs"), "theirs"),
        ("localhost", Some("not valid"), "mine"),
        ("localhost", Some("undefined"), "mine"),
        ("127.0.0.1", None, ""),
        ("127.0.0.1", Some("mine"), ""),
        ("127.0.0.1", Some("theirs"), "theirs"),
    ];
    story(|sentry| async move {
        let server = Server::start().await;
        for way in WAYS {
            for (host, id, arrives) in TABLE {
                let sent = async { way.send(false, server.request(host, "/200", id)).await };
                let response = scope().bind(sent).await.unwrap();
                assert_eq!(server.take(), [arrives], "{way:?} {host} {id:?}");
                assert!(response.extensions().get::<TransactionId>().is_none(), "{way:?}");
            }

            // Outside any scope, the layer generates an ID, and the response has it in its extensions.
            let response = way.send(false, server.request("localhost", "/200", None)).await;
            let response = response.unwrap();
            let id = response.extensions().get::<TransactionId>().unwrap();
            assert_eq!((server.take(), id.as_str().len()), (vec![id.to_string()], 32), "{way:?}");
            let response = way.send(false, server.request("127.0.0.1", "/200", None)).await;
            let response = response.unwrap();
            assert!(response.extensions().get::<TransactionId>().is_none(), "{way:?}");
            assert_eq!(server.take(), [""], "{way:?}");
            assert_eq!(TransactionId::current(), None, "{way:?}");
        }
        assert!(sentry.take().is_empty());
    });
}

/// Takes the only event. Fails if there is another, or if it contains a secret of the URL.
#[track_caller]
fn only_event(sentry: &Sentry) -> Event<'static> {
    let mut events = sentry.take_events();
    assert_eq!(events.len(), 1, "{events:#?}");
    assert!(!format!("{events:?}").contains("secret"), "{events:#?}");
    events.remove(0)
}

#[test]
fn each_way_reports_the_same_failures() {
    story(|sentry| async move {
        let server = Server::start().await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gone = Server { port: listener.local_addr().unwrap().port(), ..Server::start().await };
        drop(listener);
        for way in WAYS {
            let failing = async {
                way.send(false, server.request("localhost", "/404", None)).await.unwrap();
                way.send(false, server.request("localhost", "/503", None)).await.unwrap();
            };
            scope().bind(failing).await;
            let event = only_event(&sentry);
            assert_eq!(text(&event), "POST localhost: 503 Service Unavailable", "{way:?}");
            assert_eq!(tag(&event, "transaction_id").as_deref(), Some("mine"), "{way:?}");
            assert_eq!(tag(&event, "peer_transaction_id").as_deref(), Some("peer"), "{way:?}");

            // Outside any scope, the report has the generated ID.
            server.take();
            way.send(false, server.request("localhost", "/503", None)).await.unwrap();
            let tag_of_call = tag(&only_event(&sentry), "transaction_id");
            assert_eq!(tag_of_call, server.take().pop(), "{way:?}");

            let of_error = if way == Way::Middleware {
                "reqwest_middleware::error::Error"
            } else {
                "reqwest::error::Error"
            };
            for reads_errors in [false, true] {
                let sent =
                    async { way.send(reads_errors, gone.request("localhost", "/200", None)).await };
                let error = scope().bind(sent).await.unwrap_err();
                assert!(error.contains("secret"), "the caller's error is as it was: {error}");
                let event = only_event(&sentry);
                assert_eq!(tag(&event, "transaction_id").as_deref(), Some("mine"), "{way:?}");
                let (root, title) = (event.exception.first(), event.exception.last().unwrap());
                assert_eq!(title.ty, "POST localhost", "{way:?}");
                if reads_errors {
                    let root = root.and_then(|root| root.value.as_deref()).unwrap();
                    assert!(root.contains("refused"), "{way:?}: {event:#?}");
                    let of_url = format!("http://localhost:{}/200", gone.port);
                    assert!(title.value.as_ref().unwrap().contains(&of_url), "{way:?}: {title:?}");
                } else {
                    assert_eq!(event.exception.len(), 1, "{way:?}: {event:#?}");
                    assert_eq!(title.value.as_deref(), Some(of_error), "{way:?}");
                }
            }
        }
    });
}

#[test]
fn each_way_leaves_the_same_breadcrumbs() {
    story(|sentry| async move {
        let server = Server::start().await;
        for way in WAYS {
            let calls = async {
                way.send(false, server.request("localhost", "/200", None)).await.unwrap();
                way.send(false, server.request("127.0.0.1", "/404", None)).await.unwrap();
                let call = way.send(false, server.request("localhost", "/wait", None));
                let has_come = server.waits.notified();
                futures_util::future::select(call, Box::pin(has_come)).await;
                capture("after");
            };
            scope().bind(calls).await;
            // A cancelled call is not a failure.
            let event = only_event(&sentry);
            assert_eq!(text(&event), "after", "{way:?}");
            let port = server.port;
            let crumbs: Vec<_> = event
                .breadcrumbs
                .iter()
                .map(|crumb| {
                    let url = crumb.data["url"].as_str().unwrap();
                    let end = crumb.data.get("status_code").or_else(|| crumb.data.get("reason"));
                    (crumb.level, url, end.unwrap().to_string())
                })
                .collect();
            assert_eq!(
                crumbs,
                [
                    (Level::Info, &*format!("http://localhost:{port}/200"), "200".to_owned()),
                    (Level::Warning, &format!("http://127.0.0.1:{port}/404"), "404".to_owned()),
                    (
                        Level::Warning,
                        &format!("http://localhost:{port}/wait"),
                        "\"cancelled\"".to_owned()
                    ),
                ],
                "{way:?}"
            );
            server.take();
        }
    });
}

#[test]
fn one_client_executes_many_requests_at_once() {
    story(|_| async {
        let server = Server::start().await;
        let client = InjectTransactionIdLayer::new(AllowedHosts::any()).layer(client());
        let request = || server.request("localhost", "/200", None);
        // Two calls at once by shared reference, and a call that outlives the client.
        let at_once =
            async { join_all([client.execute(request()), client.execute(request())]).await };
        for result in scope().bind(at_once).await {
            result.unwrap();
        }
        let call = scope().run(|| client.execute(request()));
        drop(client);
        tokio::spawn(call).await.unwrap().unwrap();
        assert_eq!(server.take(), ["mine"; 3]);
    });
}

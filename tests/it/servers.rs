//! The server layer on real servers: events of a request have its ID, wherever they are captured.

use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::middleware::{Next, from_fn};
use axum::routing::get;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderName, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use sentry::{ClientOptions, Hub};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_transaction_id::errors::MissingTransactionIdLayer;
use tower_transaction_id::{
    BindTransactionId, BindTransactionIdLayer, InScope, TransactionId, TransactionIdScope, Trust,
};

use crate::support::{
    CaptureOnDrop, Never, Sentry, capture, echo, echoed, get_with_ids, header_lines, printed, raw,
    serve, story, tag,
};

fn events(texts: &[&str], id: &str) -> Vec<(String, Option<String>)> {
    texts.iter().map(|text| ((*text).to_owned(), Some(id.to_owned()))).collect()
}

#[test]
fn a_streaming_body_captures_under_its_request() {
    async fn handler() -> Body {
        capture("handler");
        let frames = stream::iter(0..3).then(|n| async move {
            tokio::task::yield_now().await;
            capture(&format!("frame {n}"));
            Ok::<_, Never>("x")
        });
        Body::from_stream(frames)
    }
    story(|sentry| async move {
        let app = Router::new().route("/", get(handler)).layer(BindTransactionIdLayer::new());
        let address = serve(app).await;
        let response = get_with_ids(address, &[b"streamed"]).await;
        assert_eq!(echo(&response), "streamed");
        assert_eq!(
            sentry.take(),
            events(&["handler", "frame 0", "frame 1", "frame 2"], "streamed")
        );
        assert_eq!(TransactionId::current(), None);
    });
}

#[test]
fn a_request_that_is_cancelled_and_a_body_that_is_cut_off_are_dropped_inside() {
    async fn waits() {
        let _guard = CaptureOnDrop("request dropped");
        std::future::pending::<()>().await;
    }
    async fn streams_on() -> Body {
        let guard = CaptureOnDrop("body dropped");
        let frames = stream::repeat(Bytes::from_static(&[b'x'; 512])).map(move |frame| {
            let _ = &guard;
            Ok::<_, Never>(frame)
        });
        Body::from_stream(frames)
    }
    story(|sentry| async move {
        let app = Router::new()
            .route("/waits", get(waits))
            .route("/streams", get(streams_on))
            .layer(BindTransactionIdLayer::new());
        let address = serve(app).await;
        for (path, event) in [("/waits", "request dropped"), ("/streams", "body dropped")] {
            let mut client = TcpStream::connect(address).await.unwrap();
            let head =
                format!("GET {path} HTTP/1.1\r\nhost: a\r\nx-transaction-id: cut{path}\r\n\r\n");
            client.write_all(head.as_bytes()).await.unwrap();
            // Long enough for the request to arrive. The event comes with the drop, however late.
            let _ = tokio::time::timeout(Duration::from_millis(50), client.read_u8()).await;
            drop(client);
            assert_eq!(sentry.wait_for(1).await, events(&[event], &format!("cut{path}")));
        }
    });
}

#[test]
fn a_future_that_is_ready_is_dropped_inside_too() {
    struct Answer(Option<CaptureOnDrop>);
    impl Future for Answer {
        type Output = Result<Response<()>, Never>;
        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
            assert!(self.0.is_some());
            Poll::Ready(Ok(Response::new(())))
        }
    }
    story(|sentry| async move {
        let answer = |_: Request<()>| Answer(Some(CaptureOnDrop("dropped")));
        let mut service = BindTransactionId::new(service_fn(answer));
        let mut request = Request::new(());
        request.headers_mut().insert("x-transaction-id", "mine".parse().unwrap());
        let mut response = pin!(service.ready().await.unwrap().call(request));
        response.as_mut().await.unwrap();
        // The inner future is dropped, although the future of the layer is still there.
        assert_eq!(sentry.take(), events(&["dropped"], "mine"));
    });
}

#[test]
fn a_middleware_that_moves_requests_to_another_task_takes_the_scope_along() {
    async fn handler(id: TransactionId) -> String {
        capture("handled");
        id.to_string()
    }
    story(|sentry| async move {
        let spawns = from_fn(async |request: Request<Body>, next: Next| {
            tokio::spawn(InScope::rest_of_request(next.run(request))).await.unwrap()
        });
        let forgets = from_fn(async |request: Request<Body>, next: Next| {
            tokio::spawn(next.run(request)).await.unwrap()
        });
        let route = || Router::new().route("/", get(handler));
        let spawns = serve(route().layer(spawns).layer(BindTransactionIdLayer::new())).await;
        assert!(get_with_ids(spawns, &[b"mine"]).await.ends_with("\r\n\r\nmine"));
        assert_eq!(sentry.take(), events(&["handled"], "mine"));
        // If the middleware does not, the response of the extractor names the fix.
        let forgets = serve(route().layer(forgets).layer(BindTransactionIdLayer::new())).await;
        let response = get_with_ids(forgets, &[b"mine"]).await;
        assert!(response.starts_with("HTTP/1.1 500"), "{response}");
        assert!(response.contains("`InScope::rest_of_request(rest)`"), "{response}");
        assert_eq!(echo(&response), "mine");
    });
}

#[test]
fn keep_alive_leaves_nothing_behind() {
    async fn handler(id: Option<TransactionId>) -> String {
        sentry::configure_scope(|scope| scope.set_tag("left", "behind"));
        format!("{id:?}")
    }
    async fn outside(id: Option<TransactionId>) -> String {
        capture("outside");
        format!("{id:?}")
    }
    story(|sentry| async move {
        let app = Router::new()
            .route("/", get(handler))
            .layer(BindTransactionIdLayer::new())
            .route("/outside", get(outside))
            .route("/required", get(|_: TransactionId| async {}));
        let address = serve(app).await;
        // Three requests on one connection.
        let response = raw(
            address,
            b"GET / HTTP/1.1\r\nhost: a\r\nx-transaction-id: one\r\n\r\n\
              GET /outside HTTP/1.1\r\nhost: a\r\nx-transaction-id: two\r\n\r\n\
              GET /required HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        )
        .await;
        assert!(response.contains(r#"Some(TransactionId("one"))"#), "{response}");
        assert!(response.contains("None"), "{response}");
        let missing = response.rsplit("\r\n\r\n").next().unwrap();
        assert!(response.contains("HTTP/1.1 500"), "{response}");
        assert!(missing.contains("BindTransactionIdLayer"), "{missing}");

        let outside = sentry.take_events();
        assert_eq!(outside.len(), 1);
        assert_eq!(tag(&outside[0], "transaction_id"), None);
        assert_eq!(tag(&outside[0], "left"), None);
        assert!(Arc::ptr_eq(&Hub::current(), &sentry.hub));
    });
}

static_assertions::assert_impl_all!(MissingTransactionIdLayer: std::error::Error, Send, Sync);

/// Serves a Tower stack through hyper-util, HTTP/1 and HTTP/2 on one port.
async fn serve_hyper(base: Option<Arc<Hub>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut layer = BindTransactionIdLayer::new();
    if let Some(base) = base {
        layer = layer.hub(base);
    }
    let service = ServiceBuilder::new().layer(layer).service_fn(
        async |request: Request<hyper::body::Incoming>| {
            let path = request.uri().path().to_owned();
            capture(&path);
            tokio::time::sleep(Duration::from_millis(5)).await;
            capture(&path);
            Ok::<_, Never>(Response::new(http_body_util::Full::new(Bytes::from(path))))
        },
    );
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let builder = auto::Builder::new(TokioExecutor::new());
                builder.serve_connection(TokioIo::new(stream), service).await
            });
        }
    });
    address
}

#[test]
fn a_hundred_http2_streams_on_many_threads_keep_their_own_ids() {
    let sentry = Sentry::new();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let address = serve_hyper(Some(sentry.hub.clone())).await;
        let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
        let requests = (0..100).map(|n| {
            let request = client
                .get(format!("http://{address}/{n}"))
                .header("x-transaction-id", format!("stream-{n}"));
            async move {
                let response = request.send().await.unwrap();
                assert_eq!(response.version(), http::Version::HTTP_2);
                assert_eq!(echoed(response.headers()), format!("stream-{n}"));
            }
        });
        futures_util::future::join_all(requests).await;
    });
    let mut seen = sentry.take();
    seen.sort();
    let mut expected: Vec<_> = (0..100)
        .flat_map(|n| [0, 1].map(|_| (format!("/{n}"), Some(format!("stream-{n}")))))
        .collect();
    expected.sort();
    assert_eq!(seen, expected);
}

#[test]
fn hyper_serves_http1_and_http2_alike() {
    story(|sentry| async move {
        let address = serve_hyper(None).await;
        let http1 = reqwest::Client::new();
        let http2 = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
        for (client, version) in [(http1, http::Version::HTTP_11), (http2, http::Version::HTTP_2)] {
            for path in ["/a", "/b"] {
                let url = format!("http://{address}{path}");
                let response = client.get(url).send().await.unwrap();
                assert_eq!(response.version(), version);
                let id = echoed(response.headers());
                assert_eq!(response.text().await.unwrap(), path);
                assert_eq!(sentry.take(), events(&[path, path], &id));
            }
        }
    });
}

#[test]
fn a_fork_keeps_the_upstream_id_of_its_request() {
    story(|sentry| async move {
        let handler = async || InScope::fork(async { capture("forked") }).await;
        let layer = BindTransactionIdLayer::new().trust(Trust::never());
        let app = Router::new().route("/", get(handler)).layer(layer);
        get_with_ids(serve(app).await, &[b"theirs"]).await;
        let event = &sentry.take_events()[0];
        assert_eq!(tag(event, "upstream_transaction_id").as_deref(), Some("theirs"));
    });
}

#[test]
fn trust_decides_whose_id_is_kept() {
    async fn handler() {
        capture("handled");
    }
    story(|sentry| async move {
        let by_peer = Trust::when(|request| {
            let is_inside = request.headers().contains_key("x-inside");
            assert_eq!(request.method().as_str(), if is_inside { "POST" } else { "GET" });
            assert_eq!(request.uri().path(), "/");
            let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
            let peer = peer.expect("the server set it");
            peer.0.ip().is_loopback() && is_inside
        });
        assert_eq!(format!("{by_peer:?}"), "Trust::when(..)");
        let app = |trust| {
            let layer = BindTransactionIdLayer::new().trust(trust);
            Router::new().route("/", get(handler).post(handler)).layer(layer)
        };
        let never = serve(app(Trust::never())).await;
        let by_peer = serve(app(by_peer)).await;

        let response = get_with_ids(never, &[b"theirs"]).await;
        let id = echo(&response).to_owned();
        assert_ne!(id, "theirs");
        let event = sentry.take_events().pop().unwrap();
        assert_eq!(tag(&event, "transaction_id"), Some(id));
        assert_eq!(tag(&event, "upstream_transaction_id").as_deref(), Some("theirs"));

        // An invalid value was no ID, so there is no upstream ID.
        get_with_ids(never, &[b"<theirs>"]).await;
        assert_eq!(tag(&sentry.take_events()[0], "upstream_transaction_id"), None);

        // Without an ID and a trace there is nothing to trust.
        let asked_in_vain = app(Trust::when(|_| panic!("there is nothing to trust")));
        assert!(get_with_ids(serve(asked_in_vain).await, &[]).await.starts_with("HTTP/1.1 200"));

        let inside = b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-inside: 1\r\n\
            x-transaction-id: theirs\r\n\r\n";
        assert_eq!(echo(&raw(by_peer, inside).await), "theirs");
        assert_ne!(echo(&get_with_ids(by_peer, &[b"theirs"]).await), "theirs");
    });
}

#[test]
fn a_base_hub_is_what_it_was_when_it_was_given() {
    async fn handler() {
        capture("handled");
    }
    story(|worker| async move {
        let base = Sentry::with_options(ClientOptions::new());
        base.hub.configure_scope(|scope| scope.set_tag("shop", "hot dogs"));
        let layer = BindTransactionIdLayer::new().hub(&base.hub);
        let address = serve(Router::new().route("/", get(handler)).layer(layer)).await;

        // The layer sees no change of the worker's hub, and no later change of the base.
        worker.hub.configure_scope(|scope| scope.set_tag("leak", "from the worker"));
        base.hub.configure_scope(|scope| scope.set_tag("later", "change"));
        let client = base.hub.client().unwrap();
        let newer = Sentry::new();
        base.hub.bind_client(newer.hub.client());

        assert_eq!(echo(&get_with_ids(address, &[b"based"]).await), "based");
        let events = base.take_events();
        assert_eq!(events.len(), 1);
        let tags: Vec<_> =
            events[0].tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(
            tags.iter().map(String::as_str).collect::<std::collections::BTreeSet<_>>(),
            ["shop=hot dogs", "transaction_id=based"].into()
        );
        assert!(worker.take().is_empty() && newer.take().is_empty());

        // Once the client of the base is closed, the layer behaves as without a base.
        client.close(None);
        assert_eq!(echo(&get_with_ids(address, &[b"closed"]).await), "closed");
        assert_eq!(worker.take(), events_of("handled", "closed"));

        // A base without a client counts as none. The layer warns, and forks the current hub.
        let empty = Arc::new(Hub::new(None, Arc::default()));
        let layer = BindTransactionIdLayer::new().hub(empty);
        let warnings = || printed().matches("the base hub has no Sentry client").count();
        assert_eq!(warnings(), 1);
        assert!(format!("{layer:?}").contains("has_base_hub: false"), "{layer:?}");
        // A base without a DSN counts as none, too. That is a choice, so the layer does not warn.
        let silent =
            Arc::new(Hub::new(Some(Arc::new(ClientOptions::new().into())), Arc::default()));
        let silent = BindTransactionIdLayer::new().hub(silent);
        assert!(format!("{silent:?}").contains("has_base_hub: false"), "{silent:?}");
        assert_eq!(warnings(), 1);
        let address = serve(Router::new().route("/", get(handler)).layer(layer)).await;
        get_with_ids(address, &[b"default"]).await;
        assert_eq!(worker.take(), events_of("handled", "default"));
    });
}

fn events_of(text: &str, id: &str) -> Vec<(String, Option<String>)> {
    events(&[text], id)
}

#[test]
fn by_default_a_request_starts_from_the_current_hub_as_it_is_then() {
    async fn handler() {
        capture("handled");
    }
    story(|sentry| async move {
        let app = Router::new().route("/", get(handler)).layer(BindTransactionIdLayer::new());
        let address = serve(app).await;
        sentry.hub.configure_scope(|scope| scope.set_tag("release-train", "42"));
        get_with_ids(address, &[b"first"]).await;
        let event = sentry.take_events().pop().unwrap();
        assert_eq!(tag(&event, "release-train").as_deref(), Some("42"));

        // A client that is bound later takes over. Without a client, the layer touches no hub, and the
        // echo still works.
        let newer = Sentry::new();
        sentry.hub.bind_client(newer.hub.client());
        get_with_ids(address, &[b"second"]).await;
        assert_eq!(newer.take(), events_of("handled", "second"));
        sentry.hub.bind_client(None);
        assert_eq!(echo(&get_with_ids(address, &[b"third"]).await), "third");
    });
}

#[test]
fn the_response_has_one_header_whatever_the_inner_service_set_and_whatever_the_status() {
    async fn answers(request: Request<Body>) -> Response<Body> {
        let status = request.uri().path().trim_start_matches('/').parse().unwrap_or(404);
        Response::builder()
            .status(status)
            .header("x-transaction-id", "of-an-inner-proxy")
            .header("x-transaction-id", "and another")
            .body(Body::empty())
            .unwrap()
    }
    story(|_| async {
        let layer = BindTransactionIdLayer::new();
        let address = serve(Router::new().fallback(answers).layer(layer)).await;
        for status in ["200", "204", "301", "304", "404", "500", "599"] {
            let head = format!(
                "GET /{status} HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-transaction-id: mine\r\n\r\n"
            );
            let response = raw(address, head.as_bytes()).await;
            assert!(response.starts_with(&format!("HTTP/1.1 {status}")), "{response}");
            assert_eq!(echo(&response), "mine", "on {status}");
        }
    });
}

#[test]
fn an_upgrade_is_echoed_and_its_task_is_bound_by_hand() {
    async fn upgrade(socket: axum::extract::WebSocketUpgrade) -> Response<Body> {
        let scope = TransactionIdScope::fork_current().expect("inside a request");
        socket.on_upgrade(|mut socket| {
            scope.bind(async move {
                while let Some(Ok(message)) = socket.recv().await {
                    capture(message.to_text().unwrap());
                    let id = TransactionId::current().unwrap().to_string();
                    socket.send(id.into()).await.unwrap();
                }
            })
        })
    }
    story(|sentry| async move {
        let app = Router::new().route("/", get(upgrade)).layer(BindTransactionIdLayer::new());
        let address = serve(app).await;
        let mut request =
            tokio_tungstenite::tungstenite::client::IntoClientRequest::into_client_request(
                format!("ws://{address}/"),
            )
            .unwrap();
        request.headers_mut().insert("x-transaction-id", "socket".parse().unwrap());
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut socket, response) =
            tokio_tungstenite::client_async(request, stream).await.unwrap();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(echoed(response.headers()), "socket");
        futures_util::SinkExt::send(&mut socket, "hello".into()).await.unwrap();
        let answer = socket.next().await.unwrap().unwrap();
        assert_eq!(answer.to_text().unwrap(), "socket");
        assert_eq!(sentry.take(), events_of("hello", "socket"));
    });
}

#[test]
fn a_header_name_of_ones_own_is_read_and_echoed_alone() {
    story(|_| async {
        let name = HeaderName::from_static("x-correlation-id");
        let layer = BindTransactionIdLayer::new().header_name(name);
        let app = Router::new().route("/", get(|id: TransactionId| async move { id.to_string() }));
        let address = serve(app.layer(layer)).await;
        let head =
            b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-correlation-id: theirs\r\n\
            x-transaction-id: other\r\n\r\n";
        let response = raw(address, head).await;
        assert_eq!(header_lines(&response, "x-correlation-id"), ["theirs"]);
        assert!(header_lines(&response, "x-transaction-id").is_empty());
        assert!(response.ends_with("theirs"), "{response}");
    });
}

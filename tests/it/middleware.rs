//! The layers of this crate beside other layers: order, bounds and readiness.

use std::sync::Mutex;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use sentry::ClientOptions;
use static_assertions::{assert_impl_all, assert_not_impl_any};
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::cors::CorsLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;
use tower_test::mock;
use tower_transaction_id::body::ResponseBody;
use tower_transaction_id::future::{BindResponseFuture, InjectResponseFuture};
use tower_transaction_id::messages::{BindMessageLayer, MessageContext};
use tower_transaction_id::{
    AllowedHosts, BindTransactionId, BindTransactionIdLayer, InScope, InjectTransactionId,
    InjectTransactionIdLayer, TransactionId, TransactionIdScope, X_TRANSACTION_ID,
};

use crate::support::{
    Never, capture, echo, echoed, get_with_ids, have_lines_as_breadcrumbs, logged, printed, raw,
    serve, story, story_with, tag, text,
};

type Unsync = http_body_util::combinators::UnsyncBoxBody<Bytes, Never>;

assert_impl_all!(TransactionId: Send, Sync, Unpin, Clone, std::hash::Hash, Ord);
assert_impl_all!(TransactionIdScope: Send, Sync, Unpin);
// Clones of a scope would share a hub, and two tasks on one hub disturb each other.
assert_not_impl_any!(TransactionIdScope: Clone);
assert_impl_all!(BindTransactionIdLayer: Send, Sync, Unpin, Clone, Default);
assert_impl_all!(BindTransactionId<Router>: Send, Sync, Clone, Unpin);
assert_impl_all!(InjectTransactionIdLayer: Send, Sync, Unpin, Clone);
assert_impl_all!(InjectTransactionId<reqwest::Client>: Send, Sync, Clone, Unpin);
assert_impl_all!(InScope<Full<Bytes>>: Send, Sync, Unpin, Default);
assert_impl_all!(ResponseBody<Full<Bytes>>: Send, Sync, Unpin, Default);
assert_impl_all!(ResponseBody<Unsync>: Send, Unpin);
assert_not_impl_any!(ResponseBody<Unsync>: Sync);
assert_impl_all!(BindResponseFuture<std::future::Ready<()>>: Send, Sync, Unpin);
assert_impl_all!(InjectResponseFuture<std::future::Ready<()>>: Send, Sync, Unpin);
assert_not_impl_any!(InScope<std::marker::PhantomPinned>: Unpin);
assert_not_impl_any!(BindTransactionId<std::rc::Rc<()>>: Send);

#[test]
fn under_trace_layer_what_tracing_reports_carries_the_id() {
    async fn handler() -> &'static str {
        tracing::error!("grill on fire");
        "put out"
    }
    story(|sentry| async move {
        let app = Router::new()
            .route("/", get(handler))
            .layer(TraceLayer::new_for_http())
            .layer(logged(BindTransactionIdLayer::new()));
        let address = serve(app).await;
        // Two requests on one thread, one after the other: if the span kept the hub of the first
        // request, the second event would have the first ID.
        for id in ["first", "second"] {
            get_with_ids(address, &[id.as_bytes()]).await;
            let event = sentry.take_events().pop().unwrap();
            assert_eq!(text(&event), "grill on fire");
            assert_eq!(tag(&event, "transaction_id").as_deref(), Some(id));
        }
        // The same without axum. A span keeps the hub that is current in `call`, and axum calls its
        // layers only when they are polled.
        let service = ServiceBuilder::new()
            .layer(logged(BindTransactionIdLayer::new()))
            .layer(TraceLayer::new_for_http())
            .service_fn(async |_: Request<Body>| {
                tracing::error!("in a span");
                Ok::<_, Never>(Response::new(Body::empty()))
            });
        let request = Request::builder().header("x-transaction-id", "third").body(Body::empty());
        service.oneshot(request.unwrap()).await.unwrap();
        assert_eq!(sentry.take(), [("in a span".to_owned(), Some("third".to_owned()))]);

        let printed = printed();
        let mut lines = printed.lines().filter(|line| line.contains("grill on fire"));
        for id in ["first", "second"] {
            let line = lines.next().unwrap();
            assert!(line.contains(&format!("transaction_id={id}")), "{line}");
            assert!(line.contains("path=\"/\""), "{line}");
        }
    });
}

#[test]
fn a_refused_id_is_said_at_debug_level_without_its_value() {
    story(|_| async {
        let app = Router::new().route("/", get(async || "")).layer(BindTransactionIdLayer::new());
        get_with_ids(serve(app).await, &[b"<secret>"]).await;
    });
    let printed = printed();
    let line = printed.lines().find(|line| line.contains("transaction ID refused")).unwrap();
    assert!(line.contains("DEBUG") && line.contains("len=8"), "{line}");
    assert!(!printed.contains("secret"), "{printed}");
}

#[test]
fn a_refused_id_is_said_in_the_scope_of_the_id_that_replaces_it() {
    static SAID_UNDER: Mutex<Vec<Option<TransactionId>>> = Mutex::new(Vec::new());
    let options = ClientOptions::new().before_breadcrumb(|crumb| {
        SAID_UNDER.lock().unwrap().push(TransactionId::current());
        Some(crumb)
    });
    story_with(options, |sentry| async move {
        have_lines_as_breadcrumbs();
        let layer = BindTransactionIdLayer::new();
        for layer in [layer.clone(), layer.hub(&sentry.hub)] {
            let app = Router::new().fallback(async || capture("handled")).layer(layer);
            let address = serve(app).await;
            let response = get_with_ids(address, &[b"<secret>"]).await;
            get_with_ids(address, &[b"next"]).await;

            let events = sentry.take_events();
            let crumbs: Vec<Vec<_>> = events
                .iter()
                .map(|event| event.breadcrumbs.iter().map(|crumb| &crumb.message).collect())
                .collect();
            let refused = Some("transaction ID refused".to_owned());
            assert_eq!(crumbs, [vec![&refused], vec![]]);
            assert_eq!(events[0].breadcrumbs[0].data["len"], 8);
            assert!(!format!("{events:?}").contains("secret"), "{events:?}");
            let said_under = std::mem::take(&mut *SAID_UNDER.lock().unwrap());
            assert_eq!(said_under, [Some(echo(&response).parse().unwrap())]);
        }
    });
}

#[test]
fn a_panic_is_reported_under_the_id_and_echoed_where_it_is_caught_inside() {
    async fn handler() {
        panic!("out of mustard");
    }
    let reports_panics = ClientOptions::new()
        .add_integration(sentry::integrations::panic::PanicIntegration::default());
    story_with(reports_panics, |sentry| async move {
        let panicked = ("out of mustard".to_owned(), Some("caught".to_owned()));
        // CatchPanic logs this line, and the tests' subscriber sends it to Sentry.
        let logged = |id: Option<&str>| {
            ("Service panicked: out of mustard".to_owned(), id.map(str::to_owned))
        };
        let app = Router::new().route("/", get(handler));
        let inside = app.clone().layer(CatchPanicLayer::new()).layer(BindTransactionIdLayer::new());
        let response = get_with_ids(serve(inside).await, &[b"caught"]).await;
        assert!(response.starts_with("HTTP/1.1 500"), "{response}");
        assert_eq!(echo(&response), "caught");
        assert_eq!(sentry.take(), [panicked.clone(), logged(Some("caught"))]);

        // If CatchPanic is outside, its response does not pass the layer. Nothing of the request
        // stays on the thread.
        let outside = app.layer(BindTransactionIdLayer::new()).layer(CatchPanicLayer::new());
        let response = get_with_ids(serve(outside).await, &[b"caught"]).await;
        assert!(response.starts_with("HTTP/1.1 500"), "{response}");
        assert_eq!(sentry.take(), [panicked, logged(None)]);
        assert_eq!(TransactionId::current(), None);
        capture("after");
        assert_eq!(sentry.take(), [("after".to_owned(), None)]);
    });
}

/// These layers wrap the layer's body directly, so the body has to meet their bounds.
#[test]
fn compression_panics_timeout_and_cors_stand_directly_outside() {
    async fn handler(request: Request<Body>) -> Response<Body> {
        if request.uri().path() == "/slow" {
            std::future::pending::<()>().await;
        }
        Response::new(Body::from("sausage ".repeat(1000)))
    }
    story(|_| async {
        let cors = CorsLayer::new()
            .allow_origin("https://shop.test".parse::<http::HeaderValue>().unwrap())
            .allow_methods([Method::GET])
            .allow_headers([X_TRANSACTION_ID])
            .expose_headers([X_TRANSACTION_ID]);
        let timeout =
            TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, Duration::from_millis(50));
        let stack = ServiceBuilder::new()
            .layer(cors)
            .layer(timeout)
            .layer(CatchPanicLayer::new())
            .layer(CompressionLayer::new())
            .layer(BindTransactionIdLayer::new());
        let address = serve(Router::new().fallback(handler).layer(stack)).await;

        let get = |path: &str| {
            format!(
                "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\naccept-encoding: gzip\r\n\
                 origin: https://shop.test\r\nx-transaction-id: mine\r\n\r\n"
            )
        };
        let response = raw(address, get("/").as_bytes()).await;
        assert_eq!(echo(&response), "mine");
        assert!(response.contains("content-encoding: gzip"), "{response}");
        assert!(response.contains("access-control-expose-headers: x-transaction-id"), "{response}");

        // A layer outside that responds by itself has no ID to echo. So the docs say "outermost".
        let response = raw(address, get("/slow").as_bytes()).await;
        assert!(response.starts_with("HTTP/1.1 504"), "{response}");
        assert!(!response.contains("x-transaction-id: mine"), "{response}");
        let preflight = "OPTIONS / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
            origin: https://shop.test\r\naccess-control-request-method: GET\r\n\
            access-control-request-headers: x-transaction-id\r\n\r\n";
        let response = raw(address, preflight.as_bytes()).await;
        assert!(response.contains("access-control-allow-headers: x-transaction-id"), "{response}");
    });
}

#[test]
fn a_route_layer_misses_what_matches_no_route() {
    story(|_| async {
        let route = Router::new().route("/known", get(async || ""));
        let app = route.clone().route_layer(BindTransactionIdLayer::new());
        let response = get_with_ids(serve(app).await, &[b"mine"]).await;
        assert!(response.starts_with("HTTP/1.1 404") && !response.contains("mine"), "{response}");
        let response =
            get_with_ids(serve(route.layer(BindTransactionIdLayer::new())).await, &[b"mine"]).await;
        assert!(response.starts_with("HTTP/1.1 404"), "{response}");
        assert_eq!(echo(&response), "mine");
    });
}

#[tokio::test]
async fn readiness_is_the_inner_service_s() {
    let bind = BindTransactionIdLayer::new();
    let (service, mut handle) = mock::pair::<Request<Body>, Response<Body>>();
    let mut service = mock::Spawn::new(ServiceBuilder::new().layer(bind).service(service));
    handle.allow(0);
    assert!(service.poll_ready().is_pending());
    handle.allow(1);
    assert!(service.is_woken());
    assert!(service.poll_ready().is_ready());
    handle.send_error("closed");
    assert!(matches!(service.poll_ready(), std::task::Poll::Ready(Err(_))));

    // With one permit, the second caller waits for the first to be done.
    let layer = ServiceBuilder::new().layer(BindTransactionIdLayer::new()).concurrency_limit(1);
    let (service, mut handle) = mock::pair::<Request<Body>, Response<Body>>();
    let mut first = mock::Spawn::new(layer.service(service));
    let mut second = mock::Spawn::new(first.get_ref().clone());
    assert!(first.poll_ready().is_ready());
    let mut call = Box::pin(first.call(Request::new(Body::empty())));
    assert!(second.poll_ready().is_pending());
    let (request, respond) = handle.next_request().await.unwrap();
    let id = echoed(request.headers());
    respond.send_response(Response::new(Body::empty()));
    let response = (&mut call).await.unwrap();
    assert_eq!(echoed(response.headers()), id);
    drop((call, response));
    assert!(second.is_woken());
    assert!(second.poll_ready().is_ready());

    let bind = BindMessageLayer::new("orders", |id: &&str| MessageContext::of_id(Some(*id)));
    let (service, mut handle) = mock::pair::<&str, ()>();
    let mut worker = mock::Spawn::new(ServiceBuilder::new().layer(bind).service(service));
    handle.allow(0);
    assert!(worker.poll_ready().is_pending());
}

#[tokio::test]
async fn an_error_of_the_inner_service_passes_untouched_on_both_sides() {
    #[derive(Debug, PartialEq)]
    struct Mine(u8);
    let fails = tower::service_fn(async |_: Request<Body>| Err::<Response<Body>, _>(Mine(7)));
    let server = ServiceBuilder::new().layer(BindTransactionIdLayer::new()).service(fails);
    assert_eq!(server.oneshot(Request::new(Body::empty())).await.unwrap_err(), Mine(7));

    let client = InjectTransactionIdLayer::new(AllowedHosts::any());
    let mut client = ServiceBuilder::new().layer(client).service(fails);
    let error = client.ready().await.unwrap().call(Request::new(Body::empty())).await;
    assert_eq!(error.unwrap_err(), Mine(7));

    let (service, mut handle) = mock::pair::<Request<&'static str>, Response<()>>();
    let client = InjectTransactionIdLayer::new(AllowedHosts::any());
    let mut client = mock::Spawn::new(ServiceBuilder::new().layer(client).service(service));
    handle.allow(0);
    assert!(client.poll_ready().is_pending());
}

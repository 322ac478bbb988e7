//! The events, breadcrumbs and spans that outbound calls leave in Sentry.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Empty;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::rt::TokioExecutor;
use sentry::protocol::{Breadcrumb, Context, EnvelopeItem, Event, SpanStatus, Transaction};
use sentry::{ClientOptions, Hub, Level, TransactionContext};
use tower::{ServiceBuilder, ServiceExt};
use tower_transaction_id::{
    AllowedHosts, Failures, InjectTransactionId, InjectTransactionIdLayer, TransactionIdScope,
};

use crate::support::{Never, Sentry, capture, serve, story, story_with, tag, text};

fn scope(id: &str) -> TransactionIdScope {
    TransactionIdScope::new(id.parse().unwrap())
}

fn client<C: Clone>(layer: InjectTransactionIdLayer<C>) -> InjectTransactionId<reqwest::Client, C> {
    let inner = reqwest::Client::builder().no_proxy().build().unwrap();
    ServiceBuilder::new().layer(layer).service(inner)
}

fn layer() -> InjectTransactionIdLayer {
    InjectTransactionIdLayer::new(AllowedHosts::any())
}

fn request(url: &str) -> reqwest::Request {
    reqwest::Request::new(http::Method::GET, url.parse().unwrap())
}

/// Answers with the status that the path names, under an ID of its own.
async fn server() -> String {
    let handler = async |uri: http::Uri| {
        let status = uri.path().trim_start_matches('/').parse().unwrap_or(404);
        (StatusCode::from_u16(status).unwrap(), [("x-transaction-id", "theirs")])
    };
    let address = serve(Router::new().fallback(handler)).await;
    format!("http://user:secret@{address}")
}

#[test]
fn a_failing_status_is_an_event_in_the_shape_of_sentry_s_own() {
    story(|sentry| async move {
        let server = server().await;
        let client = client(layer().capture_failures(Failures::new()));
        let url = format!("{server}/503?token=secret#secret");
        let call = async |path: &str| {
            client.clone().oneshot(request(&format!("{server}{path}"))).await.unwrap().status()
        };
        scope("ours").bind(client.clone().oneshot(request(&url))).await.unwrap();
        let event = sentry.take_events().pop().unwrap();
        assert_eq!(text(&event), "GET 127.0.0.1: 503 Service Unavailable");
        assert_eq!(event.level, Level::Error);
        assert_eq!(tag(&event, "transaction_id").as_deref(), Some("ours"));
        assert_eq!(tag(&event, "peer_transaction_id").as_deref(), Some("theirs"));
        let exception = event.exception.last().unwrap();
        // Sentry shows the type and the value as the title of an event.
        assert_eq!(exception.ty, "GET 127.0.0.1");
        assert_eq!(exception.value.as_deref(), Some("503 Service Unavailable"));
        let mechanism = exception.mechanism.as_ref().unwrap();
        assert_eq!(
            (mechanism.ty.as_str(), mechanism.handled),
            ("auto.http.client.tower", Some(true))
        );
        let of = event.request.as_ref().unwrap();
        assert_eq!(of.method.as_deref(), Some("GET"));
        let plain = server.replace("user:secret@", "");
        assert_eq!(of.url.as_ref().unwrap().as_str(), format!("{plain}/503"));
        let Context::Response(response) = &event.contexts["response"] else { panic!("{event:?}") };
        assert_eq!(response.status_code, Some(503));
        assert_eq!(
            event.fingerprint[..],
            ["http.client", "GET 127.0.0.1", "503 Service Unavailable"]
        );
        assert!(!format!("{event:?}").contains("secret"), "{event:?}");

        // The layer keeps a fingerprint that the caller set.
        let by_hand = async {
            sentry::configure_scope(|scope| scope.set_fingerprint(Some(&["by hand"])));
            call("/503").await
        };
        scope("ours").bind(by_hand).await;
        assert_eq!(sentry.take_events()[0].fingerprint[..], ["by hand"]);

        // Other statuses are the caller's choice; outside any scope the generated ID is the tag.
        assert_eq!(scope("ours").bind(call("/404")).await, 404);
        assert!(sentry.take().is_empty());
        call("/500").await;
        assert_eq!(sentry.take()[0].1.as_ref().unwrap().len(), 32);
        // A call under an ID that the caller set by hand still belongs to the caller.
        let mut by_hand = request(&format!("{server}/500"));
        by_hand.headers_mut().insert("x-transaction-id", "by-hand".parse().unwrap());
        scope("ours").bind(client.clone().oneshot(by_hand)).await.unwrap();
        let event = sentry.take_events().pop().unwrap();
        assert_eq!(tag(&event, "transaction_id").as_deref(), Some("ours"));
        assert_eq!(tag(&event, "peer_transaction_id").as_deref(), Some("theirs"));

        let picky = crate::client_failures::client(
            layer().capture_failures(Failures::new().statuses([404..=404])),
        );
        for path in ["/404", "/500"] {
            let request = request(&format!("{server}{path}"));
            scope("ours").bind(picky.clone().oneshot(request)).await.unwrap();
        }
        assert_eq!(sentry.take().len(), 1);
    });
}

#[test]
fn a_transport_error_is_an_event_with_its_sources_and_without_secrets() {
    /// The address of a port that nobody listens on.
    async fn nobody() -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().to_string()
    }
    fn check(sentry: &Sentry, url: &str) {
        let event = sentry.take_events().pop().unwrap();
        assert_eq!(tag(&event, "transaction_id").as_deref(), Some("ours"));
        assert!(event.exception.len() > 1, "no sources in {event:?}");
        let root = event.exception.first().unwrap();
        assert!(root.value.as_ref().unwrap().contains("refused"), "{root:?}");
        assert_eq!(event.request.as_ref().unwrap().url.as_ref().unwrap().as_str(), url);
        assert!(!format!("{event:?}").contains("secret"), "{event:?}");
    }
    story(|sentry| async move {
        let nobody = nobody().await;
        let url = format!("http://user:secret@{nobody}/cook?secret");
        let plain = format!("http://{nobody}/cook");
        let capturing = layer().capture_failures(Failures::new());
        let reading = capturing.clone().read_errors(|error: &reqwest::Error| error);
        let error = scope("ours").bind(client(reading).oneshot(request(&url))).await;
        assert!(error.unwrap_err().to_string().contains("secret"), "passed on as it was");
        check(&sentry, &plain);

        // Without `read_errors`, the report shows the type of the error.
        scope("ours").bind(client(capturing.clone()).oneshot(request(&url))).await.unwrap_err();
        let event = sentry.take_events().pop().unwrap();
        let [exception] = &event.exception[..] else { panic!("{event:?}") };
        assert_eq!(exception.ty, "GET 127.0.0.1");
        assert_eq!(exception.value.as_deref(), Some("reqwest::error::Error"));
        assert_eq!(event.fingerprint[2], "reqwest::error::Error");
        assert_eq!(event.breadcrumbs.last().unwrap().data["reason"], "error");

        let hyper = HyperClient::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
        let reading = capturing.read_errors(|error: &hyper_util::client::legacy::Error| error);
        let hyper = ServiceBuilder::new().layer(reading).service(hyper);
        let to_hyper = Request::get(format!("http://{nobody}/cook?secret")).body(Empty::new());
        scope("ours").bind(hyper.oneshot(to_hyper.unwrap())).await.unwrap_err();
        check(&sentry, &plain);

        // tower's timeout boxes the errors of the service inside.
        let boxed = ServiceBuilder::new()
            .layer(
                layer()
                    .capture_failures(Failures::new())
                    .read_errors(|error: &tower::BoxError| &**error),
            )
            .timeout(Duration::from_secs(5))
            .service(reqwest::Client::builder().no_proxy().build().unwrap());
        scope("ours").bind(boxed.oneshot(request(&url))).await.unwrap_err();
        check(&sentry, &plain);
    });
}

#[test]
fn a_grpc_failure_in_the_headers_is_an_event() {
    story(|sentry| async move {
        let trailers_only = tower::service_fn(async |_: Request<()>| {
            let response = Response::builder()
                .header("content-type", "application/grpc")
                .header("grpc-status", "14");
            Ok::<_, Never>(response.body(()).unwrap())
        });
        let client = ServiceBuilder::new()
            .layer(layer().capture_failures(Failures::new()))
            .service(trailers_only);
        let call = async {
            client.oneshot(Request::get("/a.B/C").body(()).unwrap()).await.unwrap();
        };
        scope("ours").bind(call).await;
        let event = sentry.take_events().pop().unwrap();
        assert_eq!(text(&event), "GET: gRPC 14");
        let crumb = &crumbs(&event)[0];
        assert_eq!((crumb.level, &crumb.data["grpc_status"]), (Level::Error, &14.into()));
    });
}

fn crumbs(event: &Event<'_>) -> Vec<Breadcrumb> {
    event.breadcrumbs.values.clone()
}

#[test]
fn each_call_in_a_scope_leaves_a_breadcrumb_and_none_leaks_out() {
    story(|sentry| async move {
        let server = server().await;
        let plain = server.replace("user:secret@", "");
        let client = client(layer());
        let work = async {
            for path in ["/200?secret", "/404", "/503"] {
                client.clone().oneshot(request(&format!("{server}{path}"))).await.unwrap();
            }
            let refused = request("http://127.0.0.1:1/");
            client.clone().oneshot(refused).await.unwrap_err();
            let hanging = ServiceBuilder::new().layer(layer()).service_fn(async |_: Request<()>| {
                std::future::pending::<Result<Response<()>, Never>>().await
            });
            let cancelled = hanging.oneshot(Request::get("http://slow.test/").body(()).unwrap());
            tokio::time::timeout(Duration::from_millis(10), cancelled).await.unwrap_err();
            capture("after");
        };
        scope("ours").bind(work).await;
        let event = sentry.take_events().pop().unwrap();
        let crumbs = crumbs(&event);
        let shown: Vec<_> = crumbs
            .iter()
            .map(|crumb| {
                assert_eq!((crumb.ty.as_str(), crumb.category.as_deref()), ("http", Some("http")));
                assert_eq!(crumb.data["method"], "GET");
                assert!(crumb.data["duration_ms"].is_u64());
                let end = crumb.data.get("status_code").or_else(|| crumb.data.get("reason"));
                (crumb.level, crumb.data["url"].as_str().unwrap(), end.unwrap().to_string())
            })
            .collect();
        let of = |path: &str| format!("{plain}{path}");
        assert_eq!(
            shown,
            [
                (Level::Info, of("/200").as_str(), "200".to_owned()),
                (Level::Warning, &of("/404"), "404".to_owned()),
                (Level::Error, &of("/503"), "503".to_owned()),
                (Level::Error, "http://127.0.0.1:1/", "\"error\"".to_owned()),
                (Level::Warning, "http://slow.test/", "\"cancelled\"".to_owned()),
            ]
        );

        // The hub outside has no breadcrumb of any call, and `breadcrumbs(false)` leaves none.
        client.clone().oneshot(request(&server)).await.unwrap();
        let mut by_hand = request(&server);
        by_hand.headers_mut().insert("x-transaction-id", "by-hand".parse().unwrap());
        client.clone().oneshot(by_hand).await.unwrap();
        capture("outside");
        let quiet = crate::client_failures::client(layer().breadcrumbs(false));
        scope("ours")
            .bind(async {
                quiet.oneshot(request(&server)).await.unwrap();
                capture("quiet");
            })
            .await;
        for event in sentry.take_events() {
            assert!(event.breadcrumbs.is_empty(), "{event:?}");
        }
    });
}

#[test]
fn a_breadcrumb_is_there_after_a_call_that_waited_inside_a_span() {
    use tower_http::trace::TraceLayer;
    use tower_transaction_id::BindTransactionIdLayer;
    story(|sentry| async move {
        let server = server().await;
        let url = format!("{server}/404");
        let handler = async move || {
            client(layer()).oneshot(request(&url)).await.unwrap();
            capture("in the same poll");
            tokio::task::yield_now().await;
            capture("in a later one");
        };
        let app = Router::new()
            .fallback(handler)
            .layer(
                TraceLayer::new_for_http()
                    .make_span_with(|_: &http::Request<_>| tracing::info_span!("request")),
            )
            .layer(BindTransactionIdLayer::new());
        crate::support::get_with_ids(serve(app).await, &[b"mine"]).await;
        let events = sentry.take_events();
        assert_eq!(events.len(), 2);
        for event in events {
            let codes: Vec<_> =
                crumbs(&event).iter().map(|c| c.data["status_code"].clone()).collect();
            assert_eq!(codes, [404], "{}", text(&event));
        }
    });
}

/// A server that stores the headers of its requests.
async fn tracing_server() -> (String, Arc<Mutex<Vec<HeaderMap>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = seen.clone();
    let handler = async move |headers: HeaderMap| note.lock().unwrap().push(headers);
    let address = serve(Router::new().route("/", get(handler))).await;
    (format!("localhost:{}", address.port()), seen)
}

fn transactions(sentry: &Sentry) -> Vec<Transaction<'static>> {
    let envelopes = sentry.transport.fetch_and_clear_envelopes();
    let items = envelopes.iter().flat_map(sentry::Envelope::items);
    let transactions = items.filter_map(|item| match item {
        EnvelopeItem::Transaction(transaction) => Some((**transaction).clone()),
        _ => None,
    });
    transactions.collect()
}

#[test]
fn an_active_span_is_continued_on_allowed_hosts_and_gets_a_child() {
    let options = || ClientOptions::new().traces_sample_rate(1.0);
    story_with(options(), |sentry| async move {
        let (server, seen) = tracing_server().await;
        let allowed = format!("http://user:secret@{server}/?secret");
        let other = allowed.replace("localhost", "127.0.0.1");
        let layer = InjectTransactionIdLayer::new(AllowedHosts::only(["localhost"]).unwrap());
        let client = client(layer.propagate_trace(true));
        let call = async |request: reqwest::Request| {
            let result = client.clone().oneshot(request).await;
            (result.is_ok(), seen.lock().unwrap().pop())
        };
        let sentry_trace = |headers: &HeaderMap| {
            headers.get("sentry-trace").map(|value| value.to_str().unwrap().to_owned())
        };

        // Without an active span, the layer sends the trace of the scope, not the one of the process,
        // and no sampling decision.
        let of_process = Hub::new_from_top(&sentry.hub).configure_scope(|scope| {
            scope.iter_trace_propagation_headers().next().map(|(_, value)| value)
        });
        let of_process = of_process.unwrap().split_once('-').unwrap().0.to_owned();
        let (_, headers) = scope("ours").bind(call(request(&allowed))).await;
        let header = sentry_trace(&headers.unwrap()).unwrap();
        assert_eq!(header.split('-').count(), 2, "{header}");
        assert!(!header.starts_with(&of_process), "{header}");

        let work = async {
            let transaction = sentry::start_transaction(TransactionContext::new("order", "task"));
            sentry::configure_scope(|scope| scope.set_span(Some(transaction.clone().into())));
            let (_, headers) = call(request(&allowed)).await;
            let header = sentry_trace(&headers.unwrap()).unwrap();

            let (_, headers) = call(request(&other)).await;
            assert_eq!(sentry_trace(&headers.unwrap()), None);

            for own in ["sentry-trace", "traceparent"] {
                let mut request = request(&allowed);
                request.headers_mut().insert(own, "own".parse().unwrap());
                let (_, headers) = call(request).await;
                let headers = headers.unwrap();
                assert_eq!(headers[own], "own");
                assert_eq!(sentry_trace(&headers).is_some(), own == "sentry-trace");
            }
            let (is_ok, _) = call(request("http://127.0.0.1:1/")).await;
            assert!(!is_ok);
            let hanging = ServiceBuilder::new()
                .layer(InjectTransactionIdLayer::new(AllowedHosts::any()).propagate_trace(true))
                .service_fn(async |_: Request<()>| {
                    std::future::pending::<Result<Response<()>, Never>>().await
                });
            let cancelled = hanging.oneshot(Request::get("http://slow.test/").body(()).unwrap());
            tokio::time::timeout(Duration::from_millis(10), cancelled).await.unwrap_err();
            transaction.finish();
            header
        };
        let header = scope("ours").bind(work).await;
        let transaction = transactions(&sentry).pop().unwrap();
        assert_eq!(transaction.tags["transaction_id"], "ours");
        let Context::Trace(trace) = &transaction.contexts["trace"] else { panic!() };
        let child = &transaction.spans[0];
        assert_eq!(header, format!("{}-{}-1", trace.trace_id, child.span_id));

        let plain = format!("http://{server}/");
        assert_eq!(child.op.as_deref(), Some("http.client"));
        assert_eq!(child.description, Some(format!("GET {plain}")));
        assert_eq!(child.data["http.request.method"], "GET");
        assert_eq!(child.data["server.address"], "localhost");
        assert_eq!(child.data["url.full"], plain.as_str());
        assert_eq!(child.data["http.response.status_code"], 200);
        let ends: Vec<_> = transaction.spans.iter().map(|span| span.status).collect();
        let ok = Some(SpanStatus::Ok);
        let (failed, cancelled) = (Some(SpanStatus::UnknownError), Some(SpanStatus::Cancelled));
        assert_eq!(ends, [ok, ok, ok, ok, failed, cancelled]);
        assert!(transaction.spans.iter().all(|span| span.timestamp.is_some()));
        assert!(!format!("{transaction:?}").contains("secret"));
    });

    // The sampling decision is the transaction's.
    story_with(options().traces_sample_rate(0.0), |_| async {
        let (server, seen) = tracing_server().await;
        let transaction = sentry::start_transaction(TransactionContext::new("order", "task"));
        sentry::configure_scope(|scope| scope.set_span(Some(transaction.clone().into())));
        let client = client(layer().propagate_trace(true));
        client.oneshot(request(&format!("http://{server}/"))).await.unwrap();
        let headers = seen.lock().unwrap().pop().unwrap();
        assert!(headers["sentry-trace"].to_str().unwrap().ends_with("-0"));
        Hub::current().configure_scope(|scope| scope.set_span(None));
    });
}

#[test]
fn a_grpc_call_to_a_path_alone_is_a_span_with_its_code() {
    story_with(ClientOptions::new().traces_sample_rate(1.0), |sentry| async move {
        let transaction = sentry.hub.start_transaction(TransactionContext::new("order", "task"));
        sentry.hub.configure_scope(|scope| scope.set_span(Some(transaction.clone().into())));
        let answers = async |_: Request<()>| {
            let response = Response::builder()
                .header("content-type", "application/grpc")
                .header("grpc-status", "5");
            Ok::<_, Never>(response.body(()).unwrap())
        };
        let layer = layer().propagate_trace(true);
        let client = ServiceBuilder::new().layer(layer).service_fn(answers);
        let call = client.oneshot(Request::post("/kitchen.Grill/Cook").body(()).unwrap());
        scope("mine").bind(call).await.unwrap();
        transaction.finish();
        let envelope = sentry.transport.fetch_and_clear_envelopes().pop().unwrap();
        let Some(EnvelopeItem::Transaction(sent)) = envelope.items().next() else { panic!() };
        let [span] = &sent.spans[..] else { panic!("{sent:?}") };
        assert_eq!(span.description.as_deref(), Some("POST /kitchen.Grill/Cook"));
        assert_eq!(span.status, Some(SpanStatus::NotFound));
        assert_eq!(span.data["rpc.grpc.status_code"], 5);
        assert!(!span.data.contains_key("server.address"), "{span:?}");
    });
}

#[test]
fn outside_any_scope_the_failure_of_a_call_without_an_id_has_no_tag() {
    story(|sentry| async move {
        let hosts = AllowedHosts::only(["kitchen.test"]).unwrap();
        let layer = InjectTransactionIdLayer::new(hosts).capture_failures(Failures::new());
        let client = ServiceBuilder::new().layer(layer).service_fn(async |_: Request<()>| {
            let response = Response::builder().status(StatusCode::BAD_GATEWAY);
            Ok::<_, Never>(response.body(()).unwrap())
        });
        client.oneshot(Request::get("http://other.test/").body(()).unwrap()).await.unwrap();
        let [event] = &sentry.take_events()[..] else { panic!() };
        assert_eq!(text(event), "GET other.test: 502 Bad Gateway");
        assert_eq!(tag(event, "transaction_id"), None);
    });
}

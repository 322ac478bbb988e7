//! `capture_failures`: each failure is one event, and never two.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::middleware::{Next, from_fn};
use axum::routing::{get, post};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use sentry::integrations::panic::PanicIntegration;
use sentry::protocol::{Context, EnvelopeItem, Event, TraceContext};
use sentry::{ClientOptions, Hub, Level};
use sentry_tower::SentryHttpLayer;
use tower::{ServiceBuilder, ServiceExt};
use tower_http::catch_panic::CatchPanicLayer;
use tower_transaction_id::{
    AllowedHosts, BindTransactionIdLayer, Failures, InjectTransactionIdLayer,
    TransactionIdIntegration,
};

use crate::support::{
    Never, capture, echo, get_with_ids, raw, serve, story, story_with, tag, text,
};

type Pairs = &'static [(&'static str, &'static str)];

const FAILED: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;

async fn call(app: Router, method: &str, path: &str) -> String {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: user:secret@shop.test:80\r\nconnection: close\r\n\
         x-transaction-id: mine\r\n\r\n"
    );
    raw(serve(app).await, head.as_bytes()).await
}

fn captures() -> BindTransactionIdLayer {
    BindTransactionIdLayer::new().capture_failures(Failures::new())
}

async fn panics() {
    panic!("by a panic");
}

fn outcome(event: &Event<'_>) -> (String, String, Vec<String>) {
    let fingerprint = event.fingerprint.iter().map(ToString::to_string).collect();
    (text(event), tag(event, "transaction_id").unwrap_or_default(), fingerprint)
}

#[test]
fn a_failing_status_is_one_event_by_route_and_status() {
    story(|sentry| async move {
        let app = Router::new()
            .route("/orders/{id}", post(async || FAILED))
            .route("/teapot", get(async || StatusCode::IM_A_TEAPOT))
            .layer(captures());
        let response = call(app.clone(), "POST", "/orders/17?token=secret").await;
        assert!(response.starts_with("HTTP/1.1 500"), "{response}");
        let events = sentry.take_events();
        assert_eq!(events.len(), 1);
        let event = &events[0];
        let message = "POST /orders/{id} answered 500 Internal Server Error";
        let fingerprint =
            ["http.server", "POST /orders/{id}", "500 Internal Server Error"].map(str::to_owned);
        assert_eq!(outcome(event), (message.into(), "mine".into(), fingerprint.into()));
        assert_eq!(event.level, Level::Error);
        assert_eq!(event.transaction.as_deref(), Some("POST /orders/{id}"));
        let request = event.request.as_ref().unwrap();
        assert_eq!(request.method.as_deref(), Some("POST"));
        assert_eq!(request.url.as_ref().unwrap().as_str(), "http://shop.test/orders/17");
        let Context::Response(response) = &event.contexts["response"] else { panic!("{event:?}") };
        assert_eq!(response.status_code, Some(500));
        assert!(!format!("{event:?}").contains("secret"), "{event:?}");

        // A 418 is no failure by default. An event of level info does not count as the report.
        assert!(call(app, "GET", "/teapot").await.starts_with("HTTP/1.1 418"));
        assert!(sentry.take().is_empty());
        let teapots = Failures::new().statuses([418..=418]);
        let handler = async || {
            sentry::capture_message("short and stout", Level::Info);
            StatusCode::IM_A_TEAPOT
        };
        let app = Router::new()
            .route("/teapot", get(handler))
            .route("/failed", get(async || FAILED))
            .layer(BindTransactionIdLayer::new().capture_failures(teapots));
        call(app.clone(), "GET", "/failed").await;
        assert!(sentry.take().is_empty());
        call(app, "GET", "/teapot").await;
        let texts: Vec<_> = sentry.take().into_iter().map(|(text, _)| text).collect();
        assert_eq!(texts, ["short and stout", "GET /teapot answered 418 I'm a teapot"]);
    });
}

#[test]
fn what_was_captured_by_other_means_is_not_reported_again() {
    let options = ClientOptions::new()
        .add_integration(PanicIntegration::default())
        .add_integration(TransactionIdIntegration::new());
    story_with(options, |sentry| async move {
        let elsewhere = Hub::new_from_top(&sentry.hub);
        let elsewhere = std::sync::Arc::new(elsewhere);
        let app = Router::new()
            .route(
                "/captures",
                get(async || {
                    capture("by hand");
                    FAILED
                }),
            )
            .route(
                "/logs",
                get(async || {
                    tracing::error!("by tracing");
                    FAILED
                }),
            )
            .route("/panics", get(panics))
            .route(
                "/forks",
                get(async || {
                    let fork = Hub::new_from_top(Hub::current());
                    Hub::run(fork.into(), || capture("by a fork"));
                    FAILED
                }),
            )
            .route(
                "/elsewhere",
                get(async move || {
                    elsewhere.capture_message("by another hub", Level::Fatal);
                    FAILED
                }),
            )
            .layer(CatchPanicLayer::new())
            .layer(captures());
        for (path, texts) in [
            ("/captures", &["by hand"][..]),
            ("/logs", &["by tracing"]),
            // CatchPanic logs the panic once more.
            ("/panics", &["by a panic", "Service panicked: by a panic"]),
            ("/forks", &["by a fork"]),
            ("/elsewhere", &["by another hub"]),
        ] {
            assert!(call(app.clone(), "GET", path).await.starts_with("HTTP/1.1 500"), "{path}");
            let seen = sentry.take();
            let expected: Vec<_> =
                texts.iter().map(|text| ((*text).to_owned(), Some("mine".to_owned()))).collect();
            assert_eq!(seen, expected, "{path}");
        }
    });
}

#[test]
fn a_client_that_is_built_inside_a_request_reports_nothing_of_it() {
    let options = || ClientOptions::new().add_integration(TransactionIdIntegration::new());
    story_with(options(), |sentry| async move {
        // Building a Sentry client sends a made-up event of level error through its integrations.
        let handler = async move || {
            drop(sentry::Client::from(options()));
            FAILED
        };
        let app = Router::new().fallback(handler).layer(captures());
        get_with_ids(serve(app).await, &[b"mine"]).await;
        assert_eq!(sentry.take()[0].0, "GET / answered 500 Internal Server Error");
    });
}

#[test]
fn what_the_client_layer_reports_does_not_stand_for_the_request() {
    story(|sentry| async move {
        let failing = serve(Router::new().fallback(async || FAILED)).await;
        let url = format!("http://{failing}/");
        let handler = async move || {
            let layer = InjectTransactionIdLayer::new(AllowedHosts::any())
                .capture_failures(Failures::new());
            let inner = reqwest::Client::builder().no_proxy().build().unwrap();
            let request = inner.get(&url).build().unwrap();
            let client = ServiceBuilder::new().layer(layer).service(inner);
            client.oneshot(request).await.unwrap();
            FAILED
        };
        let app = Router::new().route("/", get(handler)).layer(captures());
        get_with_ids(serve(app).await, &[b"mine"]).await;
        let mine = Some("mine".to_owned());
        let server = "GET / answered 500 Internal Server Error".to_owned();
        let client = "GET 127.0.0.1: 500 Internal Server Error".to_owned();
        assert_eq!(sentry.take(), [(client, mine.clone()), (server, mine)]);
    });
}

#[test]
fn nested_layers_report_once_and_each_request_for_itself() {
    story(|sentry| async move {
        let app = Router::new().fallback(async || FAILED).layer(captures()).layer(captures());
        let address = serve(app).await;
        for id in ["first", "second"] {
            get_with_ids(address, &[id.as_bytes()]).await;
            let seen = sentry.take();
            assert_eq!(seen.len(), 1, "{seen:?}");
            assert_eq!(seen[0].1.as_deref(), Some(id));
        }
    });
}

#[test]
fn an_error_under_another_id_does_not_stand_for_the_request() {
    use tower_transaction_id::{TransactionId, TransactionIdScope};
    async fn job() -> StatusCode {
        TransactionIdScope::new("a-job".parse().unwrap()).run(|| capture("of the job"));
        FAILED
    }
    async fn by_hand() -> StatusCode {
        let hub = Hub::new_from_top(Hub::current());
        hub.configure_scope(|scope| scope.set_tag("transaction_id", "other"));
        hub.capture_message("of another hub", Level::Error);
        FAILED
    }
    async fn sub_request() -> StatusCode {
        let inner = Router::new()
            .fallback(async || {
                capture("of the sub-request");
                FAILED
            })
            .layer(BindTransactionIdLayer::new());
        let request = Request::get("/inner").header("x-transaction-id", "inner");
        inner.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(TransactionId::current().unwrap(), "mine");
        FAILED
    }
    // The integration sees events that the layer's own hub does not.
    let options = ClientOptions::new().add_integration(TransactionIdIntegration::new());
    story_with(options, |sentry| async move {
        let app = Router::new()
            .route("/job", get(job))
            .route("/by-hand", get(by_hand))
            .route("/sub-request", get(sub_request))
            .layer(captures());
        for (path, inner, id) in [
            ("/job", "of the job", "a-job"),
            ("/by-hand", "of another hub", "other"),
            ("/sub-request", "of the sub-request", "inner"),
        ] {
            call(app.clone(), "GET", path).await;
            let mine = format!("GET {path} answered 500 Internal Server Error");
            let of = |text: &str, id: &str| (text.to_owned(), Some(id.to_owned()));
            let events = sentry.take_events();
            let seen: Vec<_> =
                events.iter().map(|event| (text(event), tag(event, "transaction_id"))).collect();
            assert_eq!(seen, [of(inner, id), of(&mine, "mine")], "{path}");
            // Only the ID of the request has an origin.
            let has_origin = |event: &Event<'_>| event.contexts.contains_key("transaction_id");
            assert_eq!(has_origin(&events[0]), path == "/sub-request", "{path}");
            assert!(has_origin(&events[1]), "{path}");
        }
    });
}

#[test]
fn a_report_leaves_alone_what_the_handler_set_but_for_the_id() {
    async fn handler() -> StatusCode {
        sentry::configure_scope(|scope| {
            scope.set_transaction(Some("GET /cook"));
            scope.set_fingerprint(Some(&["by hand"]));
            // Payment services use the same name for their own IDs.
            scope.set_tag("transaction_id", "psp-4711");
            scope.add_event_processor(|mut event| {
                let method = Some("BREW".to_owned());
                event.request = Some(sentry::protocol::Request { method, ..Default::default() });
                Some(event)
            });
        });
        sentry::capture_message("paid", Level::Info);
        FAILED
    }
    story(|sentry| async move {
        call(Router::new().route("/", get(handler)).layer(captures()), "GET", "/").await;
        let events = sentry.take_events();
        assert_eq!(tag(&events[0], "transaction_id").as_deref(), Some("psp-4711"));
        assert_eq!(events[1].transaction.as_deref(), Some("GET /cook"));
        assert_eq!(events[1].fingerprint[..], ["by hand"]);
        assert_eq!(events[1].request.as_ref().unwrap().method.as_deref(), Some("BREW"));
        assert_eq!(events[1].logger.as_deref(), Some("tower_transaction_id"));
        assert_eq!(tag(&events[1], "transaction_id").as_deref(), Some("mine"));
    });
}

#[test]
fn a_report_is_in_the_trace_of_its_request() {
    const TRACE: &str = "09e04486820349518ac7b5d2adbf6ba5";
    const PARENT: &str = "9438b6a1d9b86aa4";
    async fn handler() -> StatusCode {
        sentry::capture_message("noted", Level::Info);
        // A handler that responds with 500 has usually waited for something.
        tokio::task::yield_now().await;
        FAILED
    }
    fn trace(contexts: &sentry::protocol::Map<String, Context>) -> TraceContext {
        let Context::Trace(trace) = &contexts["trace"] else { panic!("{contexts:?}") };
        (**trace).clone()
    }
    /// Leaves its span on the scope and does not wait, so the layer sees the span first at the end.
    async fn in_a_span_of_its_own() -> StatusCode {
        let span = sentry::start_transaction(sentry::TransactionContext::new("own", "task"));
        sentry::configure_scope(|scope| scope.set_span(Some(span.into())));
        sentry::capture_message("noted", Level::Info);
        FAILED
    }
    let options = ClientOptions::new().traces_sample_rate(1.0).org_id("42".parse().unwrap());
    story_with(options, |sentry| async move {
        let route = || Router::new().route("/cook", get(handler));
        let plain = serve(route().layer(captures())).await;
        let tower = route().layer(SentryHttpLayer::new().enable_transaction());
        // The middleware waits before there is a span.
        let waits = from_fn(async |request: Request<Body>, next: Next| {
            tokio::task::yield_now().await;
            next.run(request).await
        });
        let tower = serve(tower.layer(waits).layer(captures())).await;
        let spans = serve(route().layer(captures().measure_performance(true))).await;
        let theirs = format!(
            "sentry-trace: {TRACE}-{PARENT}-1\r\nbaggage: other=1\r\nbaggage: a=b, sentry-org_id="
        );
        let own = Router::new().route("/cook", get(in_a_span_of_its_own));
        let own = serve(own.layer(captures())).await;
        for (address, is_traced) in [(plain, false), (tower, true), (spans, true), (own, false)] {
            for (lines, continues) in [
                (String::new(), false),
                (format!("{theirs}42\r\n"), true),
                // A trace of another organisation, which the client does not continue.
                (format!("{theirs}43\r\n"), false),
            ] {
                let head =
                    format!("GET /cook HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{lines}\r\n");
                raw(address, head.as_bytes()).await;
                let (mut events, mut transactions) = (Vec::new(), Vec::new());
                for envelope in sentry.transport.fetch_and_clear_envelopes() {
                    for item in envelope.items() {
                        match item {
                            EnvelopeItem::Event(event) => events.push(trace(&event.contexts)),
                            EnvelopeItem::Transaction(transaction) => {
                                assert_eq!(transaction.name.as_deref(), Some("GET /cook"));
                                transactions.push(trace(&transaction.contexts));
                            }
                            _ => {}
                        }
                    }
                }
                let [noted, report] = &events[..] else { panic!("{events:?}") };
                assert_eq!(transactions.len(), usize::from(is_traced));
                for transaction in &transactions {
                    assert_eq!(transaction.op.as_deref(), Some("http.server"));
                    assert_eq!(report.trace_id, transaction.trace_id);
                    assert_eq!(report.span_id, transaction.span_id);
                    assert_eq!(report.op, transaction.op);
                }
                // An event that the handler captured is in the trace of the report, except where a caller's
                // trace is continued without a span.
                if is_traced || !continues || address == own {
                    assert_eq!(report.trace_id, noted.trace_id);
                }
                let continues = continues && address != own;
                assert_eq!(report.trace_id.to_string() == TRACE, continues, "{lines}");
                if continues {
                    assert_eq!(report.parent_span_id.unwrap().to_string(), PARENT);
                }
            }
        }
    });
}

#[test]
fn a_report_is_in_the_first_span_that_was_active_while_the_request_waited() {
    let options = ClientOptions::new().traces_sample_rate(1.0);
    story_with(options, |sentry| async move {
        let takes_turns = async |_: Request<()>| {
            let [first, second] = ["first", "second"].map(|name| {
                sentry::start_transaction(sentry::TransactionContext::new(name, "task"))
            });
            let wanted = first.get_trace_context().span_id;
            for span in [Some(first), Some(second), None] {
                sentry::configure_scope(|scope| scope.set_span(span.map(Into::into)));
                tokio::task::yield_now().await;
            }
            Ok::<_, Never>(Response::builder().status(FAILED).body(wanted.to_string()).unwrap())
        };
        let service = ServiceBuilder::new().layer(captures()).service_fn(takes_turns);
        let response = service.oneshot(Request::new(())).await.unwrap();
        let event = sentry.take_events().pop().unwrap();
        let Context::Trace(trace) = &event.contexts["trace"] else { panic!("{event:?}") };
        assert_eq!(&trace.span_id.to_string(), response.body().get_ref());
    });
}

#[test]
fn the_id_that_an_inner_proxy_brought_back_is_told() {
    story(|sentry| async move {
        let handler = async || (FAILED, [("x-transaction-id", "theirs")]);
        let app = Router::new().fallback(handler).layer(captures());
        let response = get_with_ids(serve(app).await, &[b"ours"]).await;
        assert_eq!(echo(&response), "ours");
        let event = sentry.take_events().pop().unwrap();
        assert_eq!(tag(&event, "transaction_id").as_deref(), Some("ours"));
        assert_eq!(tag(&event, "peer_transaction_id").as_deref(), Some("theirs"));
    });
}

#[test]
fn errors_of_the_inner_service_are_reported_with_their_sources() {
    #[derive(Debug)]
    struct OutOfMustard;
    impl std::fmt::Display for OutOfMustard {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("out of mustard")
        }
    }
    impl std::error::Error for OutOfMustard {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            static SOURCE: std::fmt::Error = std::fmt::Error;
            Some(&SOURCE)
        }
    }

    let request = || Request::get("/cook?secret").body(Body::empty()).unwrap();
    let fails = async |_: Request<Body>| Err::<Response<Body>, _>(OutOfMustard);
    story(|sentry| async move {
        let opaque = ServiceBuilder::new().layer(captures()).service_fn(fails);
        opaque.oneshot(request()).await.unwrap_err();
        let event = sentry.take_events().pop().unwrap();
        let [exception] = &event.exception[..] else { panic!("{event:?}") };
        assert!(exception.ty.ends_with("::OutOfMustard"), "{exception:?}");
        assert_eq!(event.fingerprint[2], exception.ty);

        let layer = captures().read_errors(|error: &OutOfMustard| error);
        let service = ServiceBuilder::new().layer(layer).service_fn(fails);
        service.oneshot(request()).await.unwrap_err();
        let event = sentry.take_events().pop().unwrap();
        let kinds: Vec<_> = event.exception.iter().map(|e| e.ty.as_str()).collect();
        assert_eq!(kinds, ["Error", "OutOfMustard"]);
        let mechanism = event.exception.last().unwrap().mechanism.as_ref().unwrap();
        assert_eq!((mechanism.ty.as_str(), mechanism.handled), ("auto.http.tower", Some(true)));
        assert_eq!(event.transaction.as_deref(), Some("GET /cook"));
        // The fingerprint has no path: a path may hold an order's number, or be made up by the client.
        assert_eq!(event.fingerprint[..], ["http.server", "GET", "Error"]);
        assert!(event.tags.contains_key("transaction_id"));

        // tower's timeout boxes the errors of the service inside.
        let layer = captures().read_errors(|error: &tower::BoxError| &**error);
        let service = ServiceBuilder::new()
            .layer(layer)
            .timeout(Duration::from_millis(10))
            .service_fn(async |_: Request<Body>| {
                std::future::pending::<()>().await;
                fails(request()).await
            });
        service.oneshot(request()).await.unwrap_err();
        assert_eq!(sentry.take()[0].0, "request timed out");
    });
}

fn grpc(headers: Pairs, trailers: Option<Pairs>) -> Response<Body> {
    let map = |pairs: Pairs| {
        let pairs = pairs.iter().map(|(key, value)| {
            (key.parse::<http::HeaderName>().unwrap(), value.parse::<http::HeaderValue>().unwrap())
        });
        pairs.collect::<HeaderMap>()
    };
    let mut frames = vec![Ok::<_, Never>(http_body::Frame::data(Bytes::from_static(b"data")))];
    frames.extend(trailers.map(|pairs| Ok(http_body::Frame::trailers(map(pairs)))));
    let mut response =
        Response::new(Body::new(StreamBody::new(futures_util::stream::iter(frames))));
    *response.headers_mut() = map(headers);
    response.headers_mut().insert("content-type", "application/grpc+proto".parse().unwrap());
    response
}

#[test]
fn grpc_failures_are_found_in_headers_and_in_trailers() {
    let table: &[(Pairs, Option<Pairs>, Option<&str>)] = &[
        (&[("grpc-status", "14")], None, Some("gRPC 14")),
        (&[("grpc-status", "5")], None, None),
        (&[("grpc-status", "x")], Some(&[("grpc-status", "13")]), None),
        (&[("grpc-status", "½")], None, None),
        (&[], Some(&[("grpc-status", "13")]), Some("gRPC 13")),
        (&[], Some(&[("grpc-status", "0")]), None),
        (&[], Some(&[("grpc-status", "7")]), None),
        (&[], None, None),
    ];
    story(|sentry| async move {
        for (headers, trailers, expected) in table {
            let service = ServiceBuilder::new()
                .layer(captures())
                .service_fn(async |_: Request<Body>| Ok::<_, Never>(grpc(headers, *trailers)));
            let request = Request::post("/shop.Kitchen/Cook").body(Body::empty()).unwrap();
            let response = service.oneshot(request).await.unwrap();
            let at_the_head = sentry.take();
            let collected = response.into_body().collect().await.unwrap();
            assert_eq!(collected.trailers().is_some(), trailers.is_some());
            let at_the_end = sentry.take();
            let seen: Vec<_> = at_the_head.iter().chain(&at_the_end).map(|e| &e.0).collect();
            let message = expected.map(|code| format!("POST /shop.Kitchen/Cook answered {code}"));
            assert_eq!(seen, message.iter().collect::<Vec<_>>(), "{headers:?} {trailers:?}");
            assert!(at_the_head.is_empty() || trailers.is_none());
        }

        // A stream that the client drops is not a failure.
        let service =
            ServiceBuilder::new().layer(captures()).service_fn(async |_: Request<Body>| {
                Ok::<_, Never>(grpc(&[], Some(&[("grpc-status", "13")])))
            });
        let response = service.oneshot(Request::new(Body::empty())).await.unwrap();
        let mut body = response.into_body();
        body.frame().await.unwrap().unwrap();
        drop(body);
        assert!(sentry.take().is_empty());

        // Nor is a stream that breaks off: its trailers would have named the outcome.
        let service =
            ServiceBuilder::new().layer(captures()).service_fn(async |_: Request<Body>| {
                let mut response = grpc(&[], None);
                *response.body_mut() = Body::from_stream(futures_util::stream::iter([
                    Ok("data"),
                    Err(std::io::Error::other("broken off")),
                ]));
                Ok::<_, Never>(response)
            });
        let mut body = service.oneshot(Request::new(Body::empty())).await.unwrap().into_body();
        body.frame().await.unwrap().unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap_err().to_string(), "broken off");
        assert!(body.frame().await.is_none());
        assert!(sentry.take().is_empty());

        // The codes that the operator chose.
        let layer = BindTransactionIdLayer::new().capture_failures(Failures::new().grpc_codes([5]));
        let service = ServiceBuilder::new().layer(layer).service_fn(async |_: Request<Body>| {
            Ok::<_, Never>(grpc(&[("grpc-status", "5")], None))
        });
        service.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(sentry.take().len(), 1);
    });
}

#[test]
fn a_request_may_be_polled_as_often_as_it_likes() {
    story_with(ClientOptions::new().traces_sample_rate(1.0), |sentry| async move {
        // The layer looks for the span of an inner layer at some of these polls.
        let waits = async |_: Request<()>| {
            for _ in 0..300 {
                tokio::task::yield_now().await;
            }
            let response = Response::builder().status(FAILED);
            Ok::<_, Never>(response.body(String::new()).unwrap())
        };
        let service = ServiceBuilder::new().layer(captures()).service_fn(waits);
        service.oneshot(Request::new(())).await.unwrap();
        assert_eq!(sentry.take().len(), 1);
    });
}

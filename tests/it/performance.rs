//! `measure_performance`: each request is one performance transaction of Sentry's, from the call to the
//! end of the response's body.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use sentry::protocol::{SpanStatus, Value};
use sentry::{Client, ClientOptions, Hub};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Server};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::trace::TraceLayer;
use tower_transaction_id::messages::{BindMessageLayer, MessageContext};
use tower_transaction_id::{
    AllowedHosts, BindTransactionIdLayer, Failures, InScope, InjectTransactionIdLayer, Trust,
};

use crate::support::{
    CaptureOnDrop, Never, capture, echo, echoed, get_with_ids, logged, raw, serve, story_with,
    trace,
};

const TRACE: &str = "09e04486820349518ac7b5d2adbf6ba5";
const PARENT: &str = "9438b6a1d9b86aa4";
const STATUS_CODE: &str = "http.response.status_code";
const GRPC_CODE: &str = "rpc.grpc.status_code";

fn traced(rate: f32) -> ClientOptions {
    ClientOptions::new().traces_sample_rate(rate)
}

fn measures() -> BindTransactionIdLayer {
    BindTransactionIdLayer::new().measure_performance(true)
}

const HTTP: [Http; 2] = [Http::One, Http::Two];

#[derive(Clone, Copy, Debug)]
enum Http {
    One,
    Two,
}

impl Http {
    fn client(self) -> reqwest::Client {
        let builder =
            reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let builder = match self {
            Self::One => builder.http1_only(),
            Self::Two => builder.http2_prior_knowledge(),
        };
        builder.build().unwrap()
    }
}

/// Serves any service, HTTP/1 and HTTP/2 on one port.
async fn serve_service<S>(service: S) -> SocketAddr
where
    S: Service<Request<Body>> + Clone + Send + 'static,
    S::Response: IntoResponse,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service
                .clone()
                .map_request(|request: Request<_>| request.map(Body::new))
                .map_response(IntoResponse::into_response);
            let service = TowerToHyperService::new(service);
            tokio::spawn(async move {
                let builder = auto::Builder::new(TokioExecutor::new());
                builder.serve_connection(TokioIo::new(stream), service).await.map_err(drop)
            });
        }
    });
    address
}

#[test]
fn a_request_is_one_transaction_by_method_and_route() {
    async fn order() -> &'static str {
        capture("handled");
        "ok"
    }
    let rows = [
        ("GET", "/orders/17?token=secret", "GET /orders/{id}", 200, SpanStatus::Ok),
        ("POST", "/orders/17", "POST /orders/{id}", 201, SpanStatus::Ok),
        ("DELETE", "/orders/17", "DELETE /orders/{id}", 405, SpanStatus::InvalidArgument),
        ("BREW", "/orders/17", "_OTHER /orders/{id}", 405, SpanStatus::InvalidArgument),
        ("GET", "/nowhere/17", "GET /nowhere/17", 404, SpanStatus::NotFound),
        ("GET", "/closed", "GET /closed", 503, SpanStatus::Unavailable),
    ];
    for has_base in [false, true] {
        story_with(traced(1.0), |sentry| async move {
            let layer = measures();
            let layer = if has_base { layer.hub(&sentry.hub) } else { layer };
            let app = Router::new()
                .route("/orders/{id}", get(order).post(async || StatusCode::CREATED))
                .route("/closed", get(async || StatusCode::SERVICE_UNAVAILABLE))
                .layer(layer);
            let address = serve(app).await;
            for http in HTTP {
                // One connection for all requests.
                let client = http.client();
                for (method, path, name, code, status) in rows {
                    let shown = format!("{method} {path}, {http:?}, base: {has_base}");
                    let method: Method = method.parse().unwrap();
                    let request = client.request(method.clone(), format!("http://{address}{path}"));
                    let response = request.header("user-agent", "hungry").send().await.unwrap();
                    assert_eq!(response.status(), code, "{shown}");
                    let id = echoed(response.headers());
                    response.bytes().await.unwrap();

                    let (sent, transaction) = sentry.wait_for_transaction().await;
                    assert_eq!(transaction.name.as_deref(), Some(name), "{shown}");
                    assert_eq!(transaction.tags["transaction_id"], id, "{shown}");
                    assert!(transaction.timestamp.unwrap() >= transaction.start_timestamp);
                    let measured = trace(&transaction.contexts);
                    assert_eq!(measured.op.as_deref(), Some("http.server"), "{shown}");
                    assert_eq!(measured.origin.as_deref(), Some("auto.http.tower"), "{shown}");
                    assert_eq!(measured.status, Some(status), "{shown}");
                    assert_eq!(measured.data[STATUS_CODE], code, "{shown}");
                    assert_eq!(measured.parent_span_id, None, "{shown}");

                    let request = transaction.request.as_ref().unwrap();
                    let path = path.split('?').next().unwrap();
                    let url = format!("http://{address}{path}");
                    assert_eq!(request.url.as_ref().unwrap().as_str(), url, "{shown}");
                    assert_eq!(request.method.as_deref(), Some(method.as_str()), "{shown}");
                    assert_eq!(request.headers["user-agent"], "hungry", "{shown}");
                    assert!(!format!("{transaction:?}").contains("secret"), "{transaction:?}");

                    assert_eq!(sent.events.len(), usize::from(name == "GET /orders/{id}"));
                    for event in &sent.events {
                        let of_event = trace(&event.contexts);
                        assert_eq!(of_event.trace_id, measured.trace_id, "{shown}");
                        assert_eq!(of_event.span_id, measured.span_id, "{shown}");
                    }
                }
            }
        });
    }
}

#[test]
fn a_trusted_caller_s_trace_and_decision_are_continued() {
    // The rate, the trust and the caller's decision; whether the transaction is sent.
    let rows = [
        (1.0, Trust::always(), "", true),
        (1.0, Trust::always(), "-1", true),
        (1.0, Trust::always(), "-0", false),
        (0.0, Trust::always(), "", false),
        (0.0, Trust::always(), "-1", true),
        (0.0, Trust::always(), "-0", false),
        (1.0, Trust::never(), "", true),
        (1.0, Trust::never(), "-0", true),
        (0.0, Trust::never(), "-1", false),
    ];
    for (rate, trust, decision, is_sent) in rows {
        story_with(traced(rate), |sentry| async move {
            let shown = format!("{rate}, {trust:?}, {decision:?}");
            let passed_on = Arc::<Mutex<Option<HeaderMap>>>::default();
            let seen = passed_on.clone();
            let handler = async move || {
                capture("handled");
                let keep = move |request: Request<()>| {
                    *seen.lock().unwrap() = Some(request.headers().clone());
                    std::future::ready(Ok::<_, Never>(Response::new(())))
                };
                let layer =
                    InjectTransactionIdLayer::new(AllowedHosts::any()).propagate_trace(true);
                let client = ServiceBuilder::new().layer(layer).service_fn(keep);
                client
                    .oneshot(Request::get("http://kitchen.test/").body(()).unwrap())
                    .await
                    .unwrap();
            };
            let continues = format!("{trust:?}") == "Trust::always()";
            let app = Router::new().route("/", get(handler)).layer(measures().trust(trust));
            let request = Request::get("/")
                .header("sentry-trace", format!("{TRACE}-{PARENT}{decision}"))
                .header("baggage", "other=1,sentry-trace_id=theirs");
            let response = app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
            response.into_body().collect().await.unwrap();

            let sent = sentry.take_sent();
            assert_eq!(sent.transactions.len(), usize::from(is_sent), "{shown}");
            let of_event = trace(&sent.event("handled").contexts);
            assert_eq!(of_event.trace_id.to_string() == TRACE, continues, "{shown}");
            let parent = of_event.parent_span_id.map(|parent| parent.to_string());
            assert_eq!(parent.as_deref() == Some(PARENT), continues, "{shown}");

            let passed_on = passed_on.lock().unwrap().take().unwrap();
            let header = passed_on["sentry-trace"].to_str().unwrap();
            assert!(header.starts_with(&of_event.trace_id.to_string()), "{shown}: {header}");
            assert_eq!(header.ends_with("-1"), is_sent, "{shown}: {header}");
            assert_eq!(header.ends_with("-0"), !is_sent, "{shown}: {header}");
            let baggage = passed_on["baggage"].to_str().unwrap();
            assert_eq!(baggage == "sentry-trace_id=theirs", continues, "{shown}: {baggage}");

            for transaction in &sent.transactions {
                let measured = trace(&transaction.contexts);
                assert_eq!(measured.trace_id, of_event.trace_id, "{shown}");
                assert_eq!(measured.span_id, of_event.span_id, "{shown}");
                let call = &transaction.spans[0];
                assert_eq!(call.op.as_deref(), Some("http.client"), "{shown}");
                assert_eq!(call.parent_span_id, Some(measured.span_id), "{shown}");
                assert!(header.contains(&call.span_id.to_string()), "{shown}: {header}");
            }
        });
    }
}

#[test]
fn where_the_client_makes_no_transactions_nothing_is_measured() {
    story_with(ClientOptions::new(), |sentry| async move {
        let app = Router::new().route("/", get(async || capture("handled"))).layer(measures());
        get_with_ids(serve(app).await, &[]).await;
        let sent = sentry.take_sent();
        assert_eq!(sent.transactions, []);
        assert_eq!(trace(&sent.event("handled").contexts).op, None);
    });
}

#[test]
fn a_transaction_ends_with_the_last_frame_and_its_span_with_the_last_drop() {
    async fn handler() -> Body {
        capture("head");
        let guard = CaptureOnDrop("dropped");
        let frames = stream::iter(0..2).then(move |n| {
            let _ = &guard;
            async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                capture(&format!("frame {n}"));
                Ok::<_, Never>("frame")
            }
        });
        Body::from_stream(frames)
    }
    for rate in [0.0, 1.0] {
        story_with(traced(rate), |sentry| async move {
            let app = Router::new().route("/", get(handler)).layer(measures());
            let address = serve(app).await;
            for http in HTTP {
                let response =
                    http.client().get(format!("http://{address}/")).send().await.unwrap();
                assert_eq!(response.text().await.unwrap(), "frameframe");
                let sent = if rate > 0.0 {
                    let (sent, transaction) = sentry.wait_for_transaction().await;
                    let (head, last) = (sent.event("head"), sent.event("frame 1"));
                    assert!(transaction.start_timestamp <= head.timestamp, "{http:?}");
                    assert!(transaction.timestamp.unwrap() >= last.timestamp, "{http:?}");
                    let measured = trace(&transaction.contexts);
                    assert_eq!(measured.status, Some(SpanStatus::Ok), "{http:?}");
                    assert_eq!(measured.span_id, trace(&head.contexts).span_id, "{http:?}");
                    sent
                } else {
                    sentry.take_sent()
                };
                let spans = sent.events.iter().map(|event| trace(&event.contexts).span_id);
                assert_eq!(spans.collect::<HashSet<_>>().len(), 1, "{http:?}");
                let texts: Vec<_> = sent.events.iter().map(crate::support::text).collect();
                assert_eq!(texts, ["head", "frame 0", "frame 1", "dropped"], "{http:?}");
            }
        });
    }
}

/// Responses that end in different ways.
async fn answer(request: Request<Body>) -> Response<Body> {
    let frames = |count: usize| {
        let frames = stream::iter(0..count).then(async |_| {
            tokio::task::yield_now().await;
            Ok::<_, BoxError>(Bytes::from_static(b"12345"))
        });
        frames.boxed()
    };
    let mut response = Response::new(Body::empty());
    match request.uri().path() {
        "/full" => *response.body_mut() = "12345".into(),
        "/empty" => {}
        "/no-content" => *response.status_mut() = StatusCode::NO_CONTENT,
        "/not-modified" => *response.status_mut() = StatusCode::NOT_MODIFIED,
        "/not-modified-with-a-body" => {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = "12345".into();
        }
        "/redirect" => *response.status_mut() = StatusCode::SEE_OTHER,
        "/stream" => *response.body_mut() = Body::from_stream(frames(3)),
        // A file is such a stream.
        "/stream-of-known-length" => {
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("15"));
            *response.body_mut() = Body::from_stream(frames(3));
        }
        "/trailers" => {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-checksum", HeaderValue::from_static("7"));
            let frames = frames(1).map(|data| data.map(Frame::data));
            let frames = frames.chain(stream::iter([Ok(Frame::trailers(trailers))]));
            *response.body_mut() = Body::new(StreamBody::new(frames));
        }
        "/breaks-off" => {
            let breaks_off = stream::iter([Err::<Bytes, BoxError>("no more mustard".into())]);
            *response.body_mut() = Body::from_stream(frames(1).chain(breaks_off));
        }
        path => unreachable!("{path}"),
    }
    response
}

#[test]
fn a_response_that_was_sent_in_full_was_not_cancelled() {
    let paths = [
        "/full",
        "/empty",
        "/no-content",
        "/not-modified",
        "/not-modified-with-a-body",
        "/redirect",
        "/stream",
        "/stream-of-known-length",
        "/trailers",
        "/breaks-off",
    ];
    story_with(traced(1.0), |sentry| async move {
        // A router of axum removes the body of a response to HEAD outside the router's own layers,
        let in_router = serve(Router::new().fallback(answer).layer(measures())).await;
        // and inside the layers around the router.
        let router =
            ServiceBuilder::new().layer(measures()).service(Router::new().fallback(answer));
        let around_router = serve_service(router).await;
        // Without a router, hyper removes the body.
        let service = service_fn(async |request| Ok::<_, Never>(answer(request).await));
        let alone = serve_service(ServiceBuilder::new().layer(measures()).service(service)).await;

        let mut wrong = Vec::new();
        for (stack, address) in
            [("in a router", in_router), ("around a router", around_router), ("alone", alone)]
        {
            for http in HTTP {
                for method in [Method::GET, Method::HEAD] {
                    for path in paths {
                        let url = format!("http://{address}{path}");
                        if let (Http::Two, Method::HEAD, "alone") = (http, method.clone(), stack) {
                            // Over HTTP/2, hyper leaves the body of a response to HEAD to the service.
                            continue;
                        }
                        let response = http.client().request(method.clone(), url).send().await;
                        let response = response.unwrap();
                        let code = response.status().as_u16();
                        let body = response.bytes().await;
                        let breaks_off = path == "/breaks-off" && method == Method::GET;
                        assert_eq!(body.is_err(), breaks_off, "{method} {path}, {http:?}");

                        let (_, transaction) = sentry.wait_for_transaction().await;
                        let measured = trace(&transaction.contexts);
                        assert_eq!(measured.data[STATUS_CODE], code);
                        let expected =
                            if breaks_off { SpanStatus::UnknownError } else { SpanStatus::Ok };
                        if measured.status != Some(expected) {
                            let status = measured.status;
                            wrong.push(format!("{method} {path}, {http:?}, {stack}: {status:?}"));
                        }
                    }
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    });
}

#[test]
fn a_request_whose_client_left_is_cancelled() {
    async fn waits() {
        let _guard = CaptureOnDrop("dropped");
        std::future::pending::<()>().await;
    }
    async fn streams_on() -> Body {
        let guard = CaptureOnDrop("dropped");
        let frames = stream::repeat(Bytes::from_static(&[b'x'; 512])).map(move |frame| {
            let _ = &guard;
            Ok::<_, Never>(frame)
        });
        Body::from_stream(frames)
    }
    story_with(traced(1.0), |sentry| async move {
        let app = Router::new()
            .route("/waits", get(waits))
            .route("/streams", get(streams_on))
            .layer(measures());
        let address = serve(app).await;
        for http in HTTP {
            for path in ["/waits", "/streams"] {
                let shown = format!("{path}, {http:?}");
                match http {
                    Http::One => {
                        let mut client = TcpStream::connect(address).await.unwrap();
                        let head = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
                        client.write_all(head.as_bytes()).await.unwrap();
                        // Long enough for the request to arrive.
                        let wait = Duration::from_millis(50);
                        let _ = tokio::time::timeout(wait, client.read_u8()).await;
                        drop(client);
                    }
                    Http::Two => {
                        let client = http.client();
                        let request = client.get(format!("http://{address}{path}")).send();
                        let _ = tokio::time::timeout(Duration::from_millis(50), request).await;
                    }
                }
                let (sent, transaction) = sentry.wait_for_transaction().await;
                assert_eq!(transaction.name, Some(format!("GET {path}")));
                let measured = trace(&transaction.contexts);
                assert_eq!(measured.status, Some(SpanStatus::Cancelled), "{shown}");
                let code = measured.data.get(STATUS_CODE);
                assert_eq!(code, (path == "/streams").then_some(&Value::from(200)), "{shown}");
                let dropped = trace(&sent.event("dropped").contexts);
                assert_eq!(dropped.span_id, measured.span_id, "{shown}");
            }
        }
    });
}

#[test]
fn a_grpc_status_counts_in_the_headers_and_in_the_trailers() {
    const CHECK: &str = "POST /grpc.health.v1.Health/Check";
    const WATCH: &str = "POST /grpc.health.v1.Health/Watch";
    story_with(traced(1.0), |sentry| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let (reporter, health) = tonic_health::server::health_reporter();
        reporter.set_service_status("kitchen", ServingStatus::Serving).await;
        let server = Server::builder().layer(measures()).add_service(health);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let channel = Channel::from_shared(origin).unwrap().connect().await.unwrap();
        let mut client = HealthClient::new(channel);
        let request = |service: &str| HealthCheckRequest { service: service.into() };
        let next = async || {
            let (_, transaction) = sentry.wait_for_transaction().await;
            let measured = trace(&transaction.contexts).clone();
            assert_eq!(measured.data[STATUS_CODE], 200);
            let code = measured.data.get(GRPC_CODE).and_then(Value::as_i64);
            (transaction.name.unwrap(), measured.status.unwrap(), code)
        };
        client.check(request("kitchen")).await.unwrap();
        assert_eq!(next().await, (CHECK.into(), SpanStatus::Ok, Some(0)));
        client.check(request("unknown")).await.unwrap_err();
        assert_eq!(next().await, (CHECK.into(), SpanStatus::NotFound, Some(5)));
        // A stream that the client leaves.
        let mut stream = client.watch(request("kitchen")).await.unwrap().into_inner();
        assert!(stream.message().await.unwrap().is_some());
        drop(stream);
        assert_eq!(next().await, (WATCH.into(), SpanStatus::Cancelled, None));

        // A failure after a message.
        let fails = async || {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("13"));
            let frames =
                [Frame::data(Bytes::from_static(b"\0\0\0\0\0")), Frame::trailers(trailers)];
            let frames = stream::iter(frames.map(Ok::<_, Never>));
            let grpc = HeaderValue::from_static("application/grpc");
            ([(header::CONTENT_TYPE, grpc)], Body::new(StreamBody::new(frames)))
        };
        let app = Router::new().route("/Fails", post(fails)).layer(measures());
        let address = serve(app).await;
        let response = Http::Two.client().post(format!("http://{address}/Fails")).send().await;
        response.unwrap().bytes().await.unwrap();
        assert_eq!(next().await, ("POST /Fails".into(), SpanStatus::InternalError, Some(13)));
    });
}

#[test]
fn each_grpc_code_has_its_status_and_in_a_response_that_is_not_grpc_none() {
    const STATUSES: [SpanStatus; 18] = [
        SpanStatus::Ok,
        SpanStatus::Cancelled,
        SpanStatus::UnknownError,
        SpanStatus::InvalidArgument,
        SpanStatus::DeadlineExceeded,
        SpanStatus::NotFound,
        SpanStatus::AlreadyExists,
        SpanStatus::PermissionDenied,
        SpanStatus::ResourceExhausted,
        SpanStatus::FailedPrecondition,
        SpanStatus::Aborted,
        SpanStatus::OutOfRange,
        SpanStatus::Unimplemented,
        SpanStatus::InternalError,
        SpanStatus::Unavailable,
        SpanStatus::DataLoss,
        SpanStatus::Unauthenticated,
        // No code of gRPC's.
        SpanStatus::UnknownError,
    ];
    story_with(traced(1.0), |sentry| async move {
        for (content_type, is_grpc) in
            [("application/grpc", true), ("application/grpc+proto", true), ("text/plain", false)]
        {
            for (code, status) in STATUSES.into_iter().enumerate() {
                let answers = async |_: Request<()>| {
                    let response = Response::builder()
                        .header(header::CONTENT_TYPE, content_type)
                        .header("grpc-status", code.to_string());
                    Ok::<_, Never>(response.body(Empty::<Bytes>::new()).unwrap())
                };
                let layer = measures().capture_failures(Failures::new());
                let service = ServiceBuilder::new().layer(layer).service_fn(answers);
                let response = service.oneshot(Request::new(())).await.unwrap();
                response.into_body().collect().await.unwrap();
                let sent = sentry.take_sent();
                let measured = trace(&sent.transactions[0].contexts);
                let expected = if is_grpc { status } else { SpanStatus::Ok };
                assert_eq!(measured.status, Some(expected), "{content_type} {code}");
                assert_eq!(measured.data.contains_key(GRPC_CODE), is_grpc, "{content_type} {code}");
                let is_failure = is_grpc && [2, 4, 12, 13, 14, 15].contains(&code);
                assert_eq!(sent.events.len(), usize::from(is_failure), "{content_type} {code}");
            }
        }
    });
}

#[test]
fn a_request_that_is_not_recorded_is_measured_and_one_that_is_not_sampled_is_not_sent() {
    for rate in [1.0, 0.0] {
        story_with(traced(rate), |sentry| async move {
            let layer = measures().record_request(false);
            let answers = async |request: Request<()>| {
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static("5"));
                let frames = stream::iter([Ok::<_, BoxError>(Frame::<Bytes>::trailers(trailers))]);
                let response = Response::builder().header(header::CONTENT_TYPE, "application/grpc");
                match request.uri().path() {
                    "/fails" => Err::<_, BoxError>("out of mustard".into()),
                    _ => Ok(response.body(StreamBody::new(frames)).unwrap()),
                }
            };
            let service = ServiceBuilder::new().layer(layer).service_fn(answers);
            let request = |path| Request::get(path).body(()).unwrap();
            service.clone().oneshot(request("/fails")).await.err().unwrap();
            let body = service.oneshot(request("/cook")).await.unwrap().into_body();
            body.collect().await.unwrap();
            let messages = BindMessageLayer::new("orders", MessageContext::clone);
            let worker =
                messages.measure_performance(true).layer(service_fn(async |_| Ok::<_, Never>(())));
            worker.oneshot(MessageContext::default()).await.unwrap();

            let transactions = sentry.take_sent().transactions;
            let sent: Vec<_> = transactions
                .iter()
                .map(|sent| (sent.name.as_deref().unwrap(), trace(&sent.contexts).status.unwrap()))
                .collect();
            let expected = [
                ("GET /fails", SpanStatus::UnknownError),
                ("GET /cook", SpanStatus::NotFound),
                ("orders", SpanStatus::Ok),
            ];
            assert_eq!(sent, if rate > 0.0 { &expected[..] } else { &[] }, "{rate}");
        });
    }
}

#[test]
fn the_last_byte_of_a_known_length_ends_the_request() {
    story_with(traced(1.0), |sentry| async move {
        // A server polls no further once it has sent as many bytes as the header announces.
        for (taken, status) in [(1, SpanStatus::Cancelled), (2, SpanStatus::Ok)] {
            let answers = async |_: Request<()>| {
                let frames =
                    ["one", "two"].map(|data| Ok::<_, Never>(Frame::data(data.as_bytes())));
                let body = StreamBody::new(stream::iter(frames));
                let response = Response::builder().header(header::CONTENT_LENGTH, 6);
                Ok::<_, Never>(response.body(body).unwrap())
            };
            let service = ServiceBuilder::new().layer(measures()).service_fn(answers);
            let mut body = service.oneshot(Request::new(())).await.unwrap().into_body();
            for _ in 0..taken {
                body.frame().await.unwrap().unwrap();
            }
            drop(body);
            let sent = sentry.take_sent();
            let measured = trace(&sent.transactions[0].contexts);
            assert_eq!(measured.status, Some(status), "{taken} of 2 frames");
        }
    });
}

#[test]
fn an_error_of_the_inner_service_and_a_panic_are_no_cancellation() {
    async fn panics() {
        panic!("out of mustard");
    }
    story_with(traced(1.0), |sentry| async move {
        let fails = async |_: Request<()>| Err::<Response<()>, BoxError>("out of mustard".into());
        let service = ServiceBuilder::new().layer(measures()).service_fn(fails);
        service.oneshot(Request::new(())).await.unwrap_err();
        let sent = sentry.take_sent();
        let measured = trace(&sent.transactions[0].contexts);
        assert_eq!(measured.status, Some(SpanStatus::UnknownError));
        assert!(!measured.data.contains_key(STATUS_CODE));

        let panics = || Router::new().route("/", get(panics));
        for (app, code) in [
            (panics().layer(CatchPanicLayer::new()).layer(measures()), Some(500)),
            (panics().layer(measures()), None),
        ] {
            let response = get_with_ids(serve(app).await, &[]).await;
            assert_eq!(response.starts_with("HTTP/1.1 500"), code.is_some(), "{response}");
            let (_, transaction) = sentry.wait_for_transaction().await;
            let measured = trace(&transaction.contexts);
            assert_eq!(measured.status, Some(SpanStatus::InternalError), "caught: {code:?}");
            let recorded = measured.data.get(STATUS_CODE).and_then(Value::as_i64);
            assert_eq!(recorded, code);
        }
    });
}

#[test]
fn what_a_handler_sets_on_its_transaction_is_kept() {
    async fn handler() -> StatusCode {
        sentry::configure_scope(|scope| {
            scope.set_transaction(Some("a better name"));
            let span = scope.get_span().expect("the span of the request is active");
            span.set_status(SpanStatus::DataLoss);
            span.set_data("sauce", "mustard".into());
            span.set_tag("stand", "7");
        });
        // The handler may set tags on a later poll.
        tokio::task::yield_now().await;
        sentry::configure_scope(|scope| scope.set_tag("late", "yes"));
        StatusCode::INTERNAL_SERVER_ERROR
    }
    story_with(traced(1.0), |sentry| async move {
        let app = Router::new().route("/", get(handler)).layer(measures().hub(&sentry.hub));
        let response = get_with_ids(serve(app).await, &[b"mine"]).await;
        assert_eq!(echo(&response), "mine");
        let (_, transaction) = sentry.wait_for_transaction().await;
        assert_eq!(transaction.name.as_deref(), Some("a better name"));
        let measured = trace(&transaction.contexts);
        assert_eq!(measured.status, Some(SpanStatus::DataLoss));
        assert_eq!(measured.data["sauce"], "mustard");
        assert_eq!(measured.data[STATUS_CODE], 500);
        let tags = ["late", "stand", "transaction_id"].map(|tag| transaction.tags[tag].as_str());
        assert_eq!(tags, ["yes", "7", "mine"]);
    });
}

#[test]
fn the_spans_of_tracing_hang_below_the_transaction() {
    async fn handler() {
        capture("handled");
        tokio::task::yield_now().await;
    }
    story_with(traced(1.0), |sentry| async move {
        let route = || Router::new().route("/", get(handler));
        let span = |_: &Request<Body>| tracing::info_span!("request");
        let inside = route().layer(TraceLayer::new_for_http().make_span_with(span));
        let inside = serve(inside.layer(measures())).await;
        let same = serve(route().layer(logged(measures()))).await;
        for (address, id) in [(inside, "first"), (inside, "second"), (same, "third")] {
            get_with_ids(address, &[id.as_bytes()]).await;
            let (sent, transaction) = sentry.wait_for_transaction().await;
            assert_eq!(transaction.name.as_deref(), Some("GET /"));
            assert_eq!(transaction.tags["transaction_id"], id);
            let measured = trace(&transaction.contexts);
            assert_eq!(transaction.spans.len(), 1, "{id}");
            assert_eq!(transaction.spans[0].description.as_deref(), Some("request"));
            assert_eq!(transaction.spans[0].parent_span_id, Some(measured.span_id));
            let of_event = trace(&sent.event("handled").contexts);
            assert_eq!(of_event.trace_id, measured.trace_id);
            assert_eq!(of_event.span_id, transaction.spans[0].span_id);
        }
    });
}

#[test]
fn nested_layers_and_the_rest_in_another_task_make_one() {
    use axum::middleware::{Next, from_fn};
    story_with(traced(1.0), |sentry| async move {
        let app = Router::new()
            .route("/", get(async || capture("handled")))
            .layer(measures())
            .layer(from_fn(async |request: Request<Body>, next: Next| {
                let rest = tokio::spawn(InScope::rest_of_request(next.run(request)));
                rest.await.unwrap()
            }))
            .layer(measures());
        let response = get_with_ids(serve(app).await, &[]).await;
        assert!(response.starts_with("HTTP/1.1 200"), "{response}");
        let (sent, transaction) = sentry.wait_for_transaction().await;
        let measured = trace(&transaction.contexts);
        assert_eq!(measured.status, Some(SpanStatus::Ok));
        assert_eq!(trace(&sent.event("handled").contexts).span_id, measured.span_id);
        assert_eq!(sentry.take_sent().transactions, []);
    });
}

/// Later requests use the memory of a request again, and the scope that the base hub lent to it.
#[test]
fn no_span_outlives_its_request() {
    async fn handler() {
        capture("handled");
    }
    for rate in [0.0, 1.0] {
        story_with(traced(rate), |sentry| async move {
            let base = BindTransactionIdLayer::new().hub(&sentry.hub);
            let route = || Router::new().route("/{n}", get(handler));
            let measuring = route().layer(base.clone().measure_performance(true));
            let plain = route().layer(base);
            let ask = async |app: &Router, n: usize| {
                let request = Request::get(format!("/{n}")).header("x-transaction-id", n);
                let request = request.body(Body::empty()).unwrap();
                let response = app.clone().oneshot(request).await.unwrap();
                response.into_body().collect().await.unwrap();
                sentry.take_sent()
            };
            let (mut traces, mut spans) = (HashSet::new(), HashSet::new());
            for n in 1..=50 {
                let sent = ask(&measuring, n).await;
                let of_event = trace(&sent.event("handled").contexts);
                assert_eq!(of_event.op.as_deref(), Some("http.server"));
                assert!(traces.insert(of_event.trace_id), "{n}");
                assert!(spans.insert(of_event.span_id), "{n}");
                assert_eq!(sent.transactions.len(), usize::from(rate > 0.0));
                for transaction in &sent.transactions {
                    assert_eq!(transaction.tags["transaction_id"], n.to_string());
                    assert_eq!(trace(&transaction.contexts).span_id, of_event.span_id);
                }
                let sent = ask(&plain, n).await;
                assert_eq!(sent.transactions, []);
                let of_event = trace(&sent.event("handled").contexts);
                assert_eq!(of_event.op, None);
                assert!(traces.insert(of_event.trace_id), "{n}");
                assert!(spans.insert(of_event.span_id), "{n}");
            }
            let span = Hub::current().configure_scope(|scope| scope.get_span());
            assert!(span.is_none(), "{span:?}");
        });
    }
}

#[test]
fn a_tracker_that_rejects_transactions_changes_no_response() {
    let trackers = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let answers = [
        (StatusCode::TOO_MANY_REQUESTS, "60:transaction:organization:quota"),
        (StatusCode::BAD_REQUEST, ""),
        (StatusCode::PAYLOAD_TOO_LARGE, ""),
        (StatusCode::INTERNAL_SERVER_ERROR, ""),
    ];
    let mut addresses = Vec::new();
    let rejected = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    for (status, limits) in answers {
        let rejected = rejected.clone();
        let reject = async move || {
            rejected.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            (status, [("x-sentry-rate-limits", limits)])
        };
        let tracker = Router::new().fallback(reject);
        addresses.push(trackers.block_on(async move { serve(tracker).await }));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let respond = async |layer: BindTransactionIdLayer| {
            let service = service_fn(async |request| Ok::<_, Never>(answer(request).await));
            let address = serve_service(ServiceBuilder::new().layer(layer).service(service)).await;
            let mut responses = Vec::new();
            for path in ["/full", "/empty", "/stream", "/breaks-off", "/full", "/stream"] {
                let head = format!(
                    "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-transaction-id: a\r\n\r\n"
                );
                let response = raw(address, head.as_bytes()).await;
                let lines = response.lines().filter(|line| !line.starts_with("date: "));
                responses.push(lines.map(str::to_owned).collect::<Vec<_>>());
            }
            responses
        };
        let unmeasured = respond(BindTransactionIdLayer::new()).await;
        for tracker in addresses {
            let options = traced(1.0).dsn(format!("http://key@{tracker}/1").as_str());
            let client = Arc::new(Client::from(sentry::apply_defaults(options)));
            let hub = Arc::new(Hub::new(Some(client.clone()), Arc::default()));
            assert_eq!(respond(measures().hub(&hub)).await, unmeasured);
            assert!(client.flush(Some(Duration::from_secs(5))));
        }
        assert!(rejected.load(std::sync::atomic::Ordering::Relaxed) >= answers.len());
    });
}

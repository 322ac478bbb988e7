//! Sends the same requests through sentry-tower's layers, through ours, and through theirs inside ours,
//! and compares the data that Sentry receives, field by field. Each difference is listed with its reason.

use std::collections::{BTreeMap, BTreeSet};

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::routing::{any, get};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use sentry::protocol::{SpanStatus, Value};
use sentry::{ClientOptions, Hub};
use sentry_tower::{NewSentryLayer, SentryHttpLayer};
use tower::util::BoxCloneService;
use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
use tower_transaction_id::BindTransactionIdLayer;

use crate::support::{Never, Sent, Sentry, capture, story_with, text, trace};

const TRACE: &str = "09e04486820349518ac7b5d2adbf6ba5";
const PARENT: &str = "9438b6a1d9b86aa4";

type Service = BoxCloneService<Request<Body>, Response<Body>, BoxError>;

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Peer,
    Ours,
    /// sentry-tower's layers inside ours.
    PeerInside,
    /// The same, with `record_request(false)`.
    PeerAloneRecords,
}

fn routes() -> Router {
    async fn status(Path(code): Path<u16>) -> StatusCode {
        StatusCode::from_u16(code).unwrap()
    }
    async fn order() -> &'static str {
        capture("handled");
        "ok"
    }
    async fn streams() -> Body {
        let frames = stream::iter(0..2).then(async |n| {
            tokio::task::yield_now().await;
            capture(if n == 0 { "first frame" } else { "last frame" });
            Ok::<_, Never>(Bytes::from_static(b"frame"))
        });
        Body::from_stream(frames.boxed())
    }
    async fn breaks_off() -> Body {
        Body::from_stream(stream::iter([Err::<Bytes, BoxError>("no more mustard".into())]))
    }
    async fn waits() {
        capture("handled");
        std::future::pending::<()>().await;
    }
    async fn names() -> StatusCode {
        sentry::configure_scope(|scope| {
            scope.set_transaction(Some("a better name"));
            scope.set_tag("stand", "7");
            if let Some(span) = scope.get_span() {
                span.set_status(SpanStatus::DataLoss);
                span.set_data("http.response.status_code", 599.into());
            }
        });
        capture("handled");
        StatusCode::INTERNAL_SERVER_ERROR
    }
    async fn names_and_waits() {
        names().await;
        std::future::pending::<()>().await;
    }
    Router::new()
        .route("/orders/{id}", any(order))
        .route("/status/{code}", get(status))
        .route("/streams", get(streams))
        .route("/breaks-off", get(breaks_off))
        .route("/waits", get(waits))
        .route("/names", get(names))
        .route("/names-and-waits", get(names_and_waits))
}

/// The routes in the layers of one side. An error of the inner service passes through the layers.
fn stack(side: Side, sentry: &Sentry, with_pii: bool) -> Service {
    let tower = SentryHttpLayer::new().enable_transaction();
    let tower = if with_pii { tower.enable_pii() } else { tower };
    let hub = NewSentryLayer::<Request<Body>>::new_from_top;
    let ours = BindTransactionIdLayer::new()
        .hub(&sentry.hub)
        .measure_performance(side == Side::Ours)
        .record_request(side != Side::PeerAloneRecords);
    let routes = match side {
        Side::Peer => routes().layer(tower.clone()).layer(hub()),
        Side::Ours => routes().layer(ours.clone()),
        Side::PeerInside | Side::PeerAloneRecords => {
            routes().layer(tower.clone()).layer(hub()).layer(ours.clone())
        }
    };
    let fails = service_fn(async |_: Request<Body>| {
        capture("handled");
        Err::<Response<Body>, BoxError>("out of mustard".into())
    });
    let into_body = |response: Response<_>| response.map(Body::new);
    let fails: Service = match side {
        Side::Peer => ServiceBuilder::new().layer(hub()).layer(tower).service(fails).boxed_clone(),
        Side::Ours => {
            ServiceBuilder::new().map_response(into_body).layer(ours).service(fails).boxed_clone()
        }
        Side::PeerInside | Side::PeerAloneRecords => ServiceBuilder::new()
            .map_response(into_body)
            .layer(ours)
            .layer(hub())
            .layer(tower)
            .service(fails)
            .boxed_clone(),
    };
    let both = service_fn(move |request: Request<Body>| {
        let (routes, fails) = (routes.clone(), fails.clone());
        async move {
            if request.uri().path() == "/fails" {
                fails.oneshot(request).await
            } else {
                Ok(routes.oneshot(request).await?)
            }
        }
    });
    both.boxed_clone()
}

/// The part of the response that the client reads.
#[derive(Clone, Copy)]
enum End {
    Read,
    /// The client leaves before the head.
    NoHead,
    /// The client leaves after the first frame.
    OneFrame,
}

struct Case {
    name: &'static str,
    method: &'static str,
    uri: &'static str,
    headers: &'static [(&'static str, &'static [u8])],
    end: End,
}

const CASES: &[Case] = &[
    Case::get("a route", "/orders/17?token=secret").with(&[
        ("user-agent", b"hungry"),
        ("content-type", b"text/plain"),
        ("content-length", b"0"),
        ("accept", b"*/*"),
        ("authorization", b"secret"),
        ("cookie", b"secret"),
    ]),
    Case::get("the method POST", "/orders/17").by("POST"),
    Case::get("the method HEAD", "/orders/17").by("HEAD"),
    Case::get("the method OPTIONS", "/orders/17").by("OPTIONS"),
    Case::get("an invented method", "/orders/17").by("BREW"),
    Case::get("no route", "/nowhere/17"),
    Case::get("another method than the route's", "/streams").by("POST"),
    Case::get("HTTP/2", "https://shop.test/orders/17?token=secret"),
    Case::get("a host with a user", "/orders/17").with(&[("host", b"user:secret@shop.test:8080")]),
    Case::get("a host that is none", "/orders/17").with(&[("host", b"a b")]),
    Case::get("several lines of a header", "/orders/17").with(&[
        ("content-type", b"text/plain"),
        ("content-type", b"text/html"),
        ("x-tenant", b"first"),
        ("x-tenant", b"second"),
    ]),
    Case::get("bytes that are no text", "/orders/17")
        .with(&[("user-agent", b"\xfcber"), ("x-tenant", b"\xfcber")]),
    Case::get("a caller's trace", "/orders/17").with(&[("sentry-trace", SAMPLED)]),
    Case::get("a caller's trace, with baggage", "/orders/17")
        .with(&[("sentry-trace", SAMPLED), ("baggage", b"sentry-org_id=1,sentry-release=theirs")]),
    Case::get("a caller's trace that is not sampled", "/orders/17")
        .with(&[("sentry-trace", b"09e04486820349518ac7b5d2adbf6ba5-9438b6a1d9b86aa4-0")]),
    Case::get("a caller's trace without a decision", "/orders/17")
        .with(&[("sentry-trace", b"09e04486820349518ac7b5d2adbf6ba5-9438b6a1d9b86aa4")]),
    Case::get("a malformed trace", "/orders/17").with(&[("sentry-trace", b"neither-a-trace")]),
    Case::get("status 204", "/status/204"),
    Case::get("status 304", "/status/304"),
    Case::get("status 303", "/status/303"),
    Case::get("status 400", "/status/400"),
    Case::get("status 401", "/status/401"),
    Case::get("status 403", "/status/403"),
    Case::get("status 404", "/status/404"),
    Case::get("status 409", "/status/409"),
    Case::get("status 418", "/status/418"),
    Case::get("status 429", "/status/429"),
    Case::get("status 499", "/status/499"),
    Case::get("status 500", "/status/500"),
    Case::get("status 501", "/status/501"),
    Case::get("status 502", "/status/502"),
    Case::get("status 503", "/status/503"),
    Case::get("status 504", "/status/504"),
    Case::get("status 599", "/status/599"),
    Case::get("a stream", "/streams"),
    Case::get("a stream that the client leaves", "/streams").until(End::OneFrame),
    Case::get("a body that breaks off", "/breaks-off"),
    Case::get("a client that leaves", "/waits").until(End::NoHead),
    Case::get("an error of the inner service", "/fails"),
    Case::get("a name and a status by the handler", "/names"),
    Case::get("a name and a status, and a client that leaves", "/names-and-waits")
        .until(End::NoHead),
];

const SAMPLED: &[u8] = b"09e04486820349518ac7b5d2adbf6ba5-9438b6a1d9b86aa4-1";

impl Case {
    const fn get(name: &'static str, uri: &'static str) -> Self {
        Self { name, method: "GET", uri, headers: &[], end: End::Read }
    }

    const fn by(self, method: &'static str) -> Self {
        Self { method, ..self }
    }

    const fn with(self, headers: &'static [(&'static str, &'static [u8])]) -> Self {
        Self { headers, ..self }
    }

    const fn until(self, end: End) -> Self {
        Self { end, ..self }
    }
}

fn request(case: &Case) -> Request<Body> {
    let mut request = Request::builder()
        .method(case.method.parse::<Method>().unwrap())
        .uri(case.uri)
        .header("x-transaction-id", "mine");
    if request.uri_ref().unwrap().authority().is_some() {
        request = request.version(Version::HTTP_2);
    } else if !case.headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "shop.test");
    }
    for (name, value) in case.headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

async fn send(service: Service, case: &Case) {
    let mut response = service.oneshot(request(case)).boxed();
    match case.end {
        End::NoHead => assert!(response.as_mut().now_or_never().is_none()),
        End::Read => {
            if let Ok(response) = response.await {
                let _ = response.into_body().collect().await;
            }
        }
        End::OneFrame => {
            let mut body = response.await.unwrap().into_body();
            body.frame().await.unwrap().unwrap();
        }
    }
}

type Fields = BTreeMap<String, String>;

fn flatten(path: &str, value: &Value, fields: &mut Fields) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                flatten(&format!("{path}.{key}"), value, fields);
            }
        }
        Value::String(text) => drop(fields.insert(path.to_owned(), text.clone())),
        value => drop(fields.insert(path.to_owned(), value.to_string())),
    }
}

/// The fields of the events and of the transaction. A value that differs in each run is shown as the name
/// of the value that it equals.
fn fields(sent: &Sent, sentry: &Sentry) -> Fields {
    let header = Hub::new_from_top(&sentry.hub).configure_scope(|scope| {
        scope.iter_trace_propagation_headers().next().map(|(_, value)| value).unwrap()
    });
    let (of_process, _) = header.split_once('-').unwrap();
    let measured = sent.transactions.first().map(|transaction| trace(&transaction.contexts));
    let names = |id: &str| match id {
        TRACE | PARENT => "the caller's",
        id if id == of_process => "the process's",
        id if measured.is_some_and(|of| of.trace_id.to_string() == id) => "the transaction's",
        id if measured.is_some_and(|of| of.span_id.to_string() == id) => "the transaction's",
        _ => "another",
    };
    let mut fields = Fields::new();
    let mut add = |of: &str, value: Value| {
        let mut flat = Fields::new();
        flatten(of, &value, &mut flat);
        for (path, value) in flat {
            let value = match path.rsplit('.').next().unwrap() {
                "event_id" | "timestamp" | "start_timestamp" => continue,
                "trace_id" | "span_id" | "parent_span_id" => names(&value).to_owned(),
                _ => value,
            };
            fields.insert(path, value);
        }
    };
    for event in &sent.events {
        let of = if text(event) == "handled" { "event" } else { "event of the body" };
        add(of, serde_json::to_value(event).unwrap());
    }
    for transaction in &sent.transactions {
        add("transaction", serde_json::to_value(transaction).unwrap());
        let last = sent.events.iter().map(|event| event.timestamp).max();
        let lasts = last.is_none_or(|last| transaction.timestamp.unwrap() >= last);
        add("transaction.lasts as long as its body", lasts.into());
    }
    add("transactions", sent.transactions.len().into());
    fields
}

/// A difference to sentry-tower. `ANY` stands for any text, and a `*` for any start or any end of a name.
/// A difference without cases is one of all cases.
#[derive(Clone, Copy)]
struct Difference {
    cases: &'static [&'static str],
    fields: &'static [&'static str],
    /// If it is set, there is a difference only with, or only without, `send_default_pii`.
    with_pii: Option<bool>,
    peer: Option<&'static str>,
    ours: Option<&'static str>,
    reason: &'static str,
}

const ANY: Option<&str> = Some("*");

impl Difference {
    fn is(
        &self,
        case: &str,
        with_pii: bool,
        field: &str,
        peer: Option<&str>,
        ours: Option<&str>,
    ) -> bool {
        let of_pattern = |pattern: &str, text: &str| match (
            pattern.strip_suffix('*'),
            pattern.strip_prefix('*'),
        ) {
            (Some(start), _) => text.starts_with(start),
            (_, Some(end)) => text.ends_with(end),
            (None, None) => text == pattern,
        };
        let is_value = |pattern: Option<&str>, value: Option<&str>| match (pattern, value) {
            (Some(pattern), Some(value)) => of_pattern(pattern, value),
            (pattern, value) => pattern == value,
        };
        (self.cases.is_empty() || self.cases.contains(&case))
            && self.with_pii.is_none_or(|only| only == with_pii)
            && self.fields.iter().any(|pattern| of_pattern(pattern, field))
            && is_value(self.peer, peer)
            && is_value(self.ours, ours)
    }
}

/// Sends all requests through sentry-tower's layers and through `side`.
fn assert_differs_by(side: Side, differences: &[&'static [Difference]]) {
    let differences = &differences.concat()[..];
    let mut unlisted = Vec::new();
    let mut unseen: BTreeSet<_> = (0..differences.len()).collect();
    for with_pii in [false, true] {
        let options = ClientOptions::new().traces_sample_rate(1.0).send_default_pii(with_pii);
        story_with(options, |sentry| {
            let (unlisted, unseen) = (&mut unlisted, &mut unseen);
            async move {
                for case in CASES {
                    let mut both = Vec::new();
                    for side in [Side::Peer, side] {
                        send(stack(side, &sentry, with_pii), case).await;
                        both.push(fields(&sentry.take_sent(), &sentry));
                    }
                    let [peer, ours] = &both[..] else { unreachable!() };
                    assert!(!peer.is_empty(), "{}", case.name);
                    let all: BTreeSet<_> = peer.keys().chain(ours.keys()).collect();
                    for field in all {
                        let (peer, ours) = (peer.get(field), ours.get(field));
                        let (peer, ours) = (peer.map(String::as_str), ours.map(String::as_str));
                        if peer == ours {
                            continue;
                        }
                        let is = |difference: &Difference| {
                            difference.is(case.name, with_pii, field, peer, ours)
                        };
                        match differences.iter().position(is) {
                            Some(at) => drop(unseen.remove(&at)),
                            None => unlisted.push(format!(
                                "{}, PII {with_pii}: {field}: {peer:?} {ours:?}",
                                case.name
                            )),
                        }
                    }
                }
            }
        });
    }
    assert!(unlisted.is_empty(), "{unlisted:#?}");
    let unseen: Vec<_> = unseen.into_iter().map(|at| differences[at].reason).collect();
    assert!(unseen.is_empty(), "differences that are none: {unseen:#?}");
}

const OF_THE_ID: &[Difference] = &[
    Difference {
        cases: &[],
        fields: &[
            "event.tags.transaction_id",
            "event of the body.tags.transaction_id",
            "transaction.tags.transaction_id",
        ],
        with_pii: None,
        peer: None,
        ours: Some("mine"),
        reason: "The tag is the purpose of the layer.",
    },
    Difference {
        cases: &[],
        fields: &["event.contexts.transaction_id.*", "event of the body.contexts.transaction_id.*"],
        with_pii: None,
        peer: None,
        ours: ANY,
        reason: "The context shows the origin of the ID.",
    },
];

const NAMED_BY_ROUTE: Difference = Difference {
    cases: &[],
    fields: &["event.transaction"],
    with_pii: None,
    peer: None,
    ours: ANY,
    reason: "An event is named after the route of its request, so that it can be found by that.",
};

const OURS: &[Difference] = &[
    NAMED_BY_ROUTE,
    Difference {
        cases: &[],
        fields: &["event.request.headers.*", "transaction.request.headers.*"],
        with_pii: Some(false),
        peer: ANY,
        ours: None,
        reason: "Without `send_default_pii`, only host, user-agent, content-type and content-length are \
                 shown: no list knows all headers that hold secrets.",
    },
    Difference {
        cases: &["a route"],
        fields: &["event.request.url", "transaction.request.url"],
        with_pii: Some(false),
        peer: Some("http://shop.test/orders/17?token=secret"),
        ours: Some("http://shop.test/orders/17"),
        reason: "Without `send_default_pii`, the query is not shown, since it may hold secrets.",
    },
    Difference {
        cases: &["HTTP/2"],
        fields: &["event.request.url", "transaction.request.url"],
        with_pii: Some(false),
        peer: Some("https://shop.test/orders/17?token=secret"),
        ours: Some("https://shop.test/orders/17"),
        reason: "Without `send_default_pii`, the query is not shown over HTTP/2 either.",
    },
    Difference {
        cases: &["a route"],
        fields: &[
            "event.request.headers.authorization",
            "event.request.headers.cookie",
            "transaction.request.headers.authorization",
            "transaction.request.headers.cookie",
        ],
        with_pii: Some(true),
        peer: Some("secret"),
        ours: Some("[Filtered]"),
        reason: "Credentials and cookies are secrets of the user, even where personal data may be sent.",
    },
    Difference {
        cases: &["a host with a user"],
        fields: &["event.request.headers.host", "transaction.request.headers.host"],
        with_pii: Some(false),
        peer: Some("user:secret@shop.test:8080"),
        ours: Some("shop.test:8080"),
        reason: "The header `host` is shown without a user and a password.",
    },
    Difference {
        cases: &["a host with a user"],
        fields: &["event.request.url", "transaction.request.url"],
        with_pii: None,
        peer: Some("http://%5BFiltered%5D:%5BFiltered%5D@shop.test:8080/orders/17"),
        ours: Some("http://shop.test:8080/orders/17"),
        reason: "A URL without user and password is the same one for all users.",
    },
    Difference {
        cases: &["several lines of a header"],
        fields: &["event.request.headers.content-type", "transaction.request.headers.content-type"],
        with_pii: Some(false),
        peer: Some("text/html"),
        ours: Some("text/plain"),
        reason: "Of several lines of a header, the first one is shown, not the last.",
    },
    Difference {
        cases: &["bytes that are no text"],
        fields: &["event.request.headers.*", "transaction.request.headers.*"],
        with_pii: None,
        peer: Some(""),
        ours: Some("\u{fffd}ber"),
        reason: "Of a value that is no text, the part that is text is shown.",
    },
    Difference {
        cases: &["an invented method"],
        fields: &["transaction.transaction"],
        with_pii: None,
        peer: Some("BREW /orders/{id}"),
        ours: Some("_OTHER /orders/{id}"),
        reason: "A client can invent methods, and must not be able to invent names.",
    },
    Difference {
        cases: &["a caller's trace that is not sampled"],
        fields: &["event.contexts.trace.origin"],
        with_pii: None,
        peer: Some("auto.http.tower"),
        ours: None,
        reason: "A transaction that is not sampled costs as little as the SDK allows.",
    },
    Difference {
        cases: &["status 303", "status 304"],
        fields: &["transaction.contexts.trace.status"],
        with_pii: None,
        peer: Some("unknown_error"),
        ours: Some("ok"),
        reason: "A redirect and an unchanged resource are no errors.",
    },
    Difference {
        cases: &["status 499"],
        fields: &["transaction.contexts.trace.status"],
        with_pii: None,
        peer: Some("invalid_argument"),
        ours: Some("cancelled"),
        reason: "Proxies answer 499 in place of a client that left.",
    },
    Difference {
        cases: &["status 504"],
        fields: &["transaction.contexts.trace.status"],
        with_pii: None,
        peer: Some("internal_error"),
        ours: Some("deadline_exceeded"),
        reason: "Sentry's conventions have a status for a timeout.",
    },
    Difference {
        cases: &["a client that leaves"],
        fields: &["transaction.contexts.trace.status"],
        with_pii: None,
        peer: Some("aborted"),
        ours: Some("cancelled"),
        reason: "Sentry's conventions have a status for a client that leaves.",
    },
    Difference {
        cases: &["a stream that the client leaves"],
        fields: &["transaction.contexts.trace.status"],
        with_pii: None,
        peer: Some("ok"),
        ours: Some("cancelled"),
        reason: "A response that was not sent in full was cancelled.",
    },
    Difference {
        cases: &["a body that breaks off"],
        fields: &["transaction.contexts.trace.status"],
        with_pii: None,
        peer: Some("ok"),
        ours: Some("unknown_error"),
        reason: "A body that breaks off is a failure.",
    },
    Difference {
        cases: &["a stream", "a stream that the client leaves"],
        fields: &["transaction.lasts as long as its body"],
        with_pii: None,
        peer: Some("false"),
        ours: Some("true"),
        reason: "The transaction ends with the body, not with the head.",
    },
    Difference {
        cases: &["a stream", "a stream that the client leaves"],
        fields: &["event of the body.contexts.trace.trace_id"],
        with_pii: None,
        peer: Some("the process's"),
        ours: Some("the transaction's"),
        reason: "The events of a body are in the trace of its request.",
    },
    Difference {
        cases: &["a stream", "a stream that the client leaves"],
        fields: &["event of the body.contexts.trace.span_id"],
        with_pii: None,
        peer: Some("another"),
        ours: Some("the transaction's"),
        reason: "The events of a body hang below the transaction of its request.",
    },
    Difference {
        cases: &["a stream", "a stream that the client leaves"],
        fields: &["event of the body.*"],
        with_pii: None,
        peer: None,
        ours: ANY,
        reason: "The events of a body show its request and its transaction.",
    },
    Difference {
        cases: &["a name and a status by the handler"],
        fields: &["transaction.contexts.trace.data.http.response.status_code"],
        with_pii: None,
        peer: Some("599"),
        ours: Some("500"),
        reason: "The status code is that of the response, whatever a handler sets.",
    },
    Difference {
        cases: &["a name and a status, and a client that leaves"],
        fields: &["transaction.contexts.trace.status"],
        with_pii: None,
        peer: Some("data_loss"),
        ours: Some("cancelled"),
        reason: "That the client left is the outcome, whatever status a handler set before.",
    },
    Difference {
        cases: &["a name and a status, and a client that leaves"],
        fields: &["transaction.tags.stand"],
        with_pii: None,
        peer: None,
        ours: Some("7"),
        reason: "A request that is dropped has its own tags, and not those of the next hub.",
    },
];

const PEER_INSIDE: &[Difference] = &[
    NAMED_BY_ROUTE,
    Difference {
        cases: &[],
        fields: &["event.request.headers.*"],
        with_pii: None,
        peer: ANY,
        ours: None,
        reason: "Ours shows the request before `SentryHttpLayer` does, with fewer headers. \
                 `record_request(false)` leaves that to `SentryHttpLayer`.",
    },
    Difference {
        cases: &[],
        fields: &["event.request.*"],
        with_pii: None,
        peer: ANY,
        ours: ANY,
        reason: "Ours shows the request before `SentryHttpLayer` does, without secrets. \
                 `record_request(false)` leaves that to `SentryHttpLayer`.",
    },
    Difference {
        cases: &["a stream", "a stream that the client leaves"],
        fields: &["event of the body.request.*", "event of the body.transaction"],
        with_pii: None,
        peer: None,
        ours: ANY,
        reason: "The events of a body show its request.",
    },
];

const OF_BODIES: &[Difference] = &[Difference {
    cases: &["a stream", "a stream that the client leaves"],
    fields: &["event of the body.contexts.trace.trace_id"],
    with_pii: None,
    peer: Some("the process's"),
    ours: Some("another"),
    reason: "The span of `SentryHttpLayer` is over by then, and the events are in the trace of the request.",
}];

#[test]
fn ours_differs_from_sentry_tower_s_only_where_it_is_meant_to() {
    assert_differs_by(Side::Ours, &[OF_THE_ID, OURS]);
}

#[test]
fn sentry_tower_s_layers_work_inside_ours() {
    assert_differs_by(Side::PeerInside, &[OF_THE_ID, PEER_INSIDE, OF_BODIES]);
    assert_differs_by(Side::PeerAloneRecords, &[OF_THE_ID, OF_BODIES]);
}

//! `propagate_trace` without a span, as in Sentry's specification of trace propagation; and the headers
//! that `protect_headers` keeps from strangers.

use std::future::ready;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode};
use sentry::protocol::TraceContext;
use sentry::test::TestTransport;
use sentry::{ClientOptions, Hub, TransactionContext};
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_transaction_id::{
    AllowedHosts, BindTransactionIdLayer, InScope, InjectTransactionIdLayer, TransactionId,
    TransactionIdScope, Trust,
};

use crate::support::{Never, Sentry, capture, get_with_ids, raw, serve, story, story_with, trace};

const TRACE: &str = "09e04486820349518ac7b5d2adbf6ba5";
const PARENT: &str = "9438b6a1d9b86aa4";

fn propagates() -> InjectTransactionIdLayer {
    let hosts = AllowedHosts::only(["kitchen.test", "127.0.0.1"]).unwrap();
    InjectTransactionIdLayer::new(hosts).propagate_trace(true)
}

/// Sends `request` through `layer` and returns the headers that the client inside received.
async fn sent_headers(layer: InjectTransactionIdLayer, request: Request<()>) -> HeaderMap {
    let seen = Arc::<Mutex<HeaderMap>>::default();
    let keep = {
        let seen = seen.clone();
        move |request: Request<()>| {
            *seen.lock().unwrap() = request.into_parts().0.headers;
            ready(Ok::<_, Never>(Response::new(())))
        }
    };
    ServiceBuilder::new().layer(layer).service_fn(keep).oneshot(request).await.unwrap();
    std::mem::take(&mut *seen.lock().unwrap())
}

fn request(host: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::get(format!("http://{host}/")).body(()).unwrap();
    for (name, value) in headers {
        request.headers_mut().append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    request
}

async fn call(headers: &[(&str, &str)]) -> HeaderMap {
    sent_headers(propagates(), request("kitchen.test", headers)).await
}

fn lines(headers: &HeaderMap, name: &str) -> Vec<String> {
    headers.get_all(name).iter().map(|line| line.to_str().unwrap().to_owned()).collect()
}

/// The one `sentry-trace` line with the trace and the span of `event`, without a sampling decision.
fn undecided(event: &TraceContext) -> Vec<String> {
    vec![format!("{}-{}", event.trace_id, event.span_id)]
}

fn scope(id: &str) -> TransactionIdScope {
    TransactionIdScope::new(id.parse().unwrap())
}

#[test]
fn a_trace_that_starts_here_is_described_in_the_baggage() {
    let odd = ClientOptions::new()
        .release("my app@1,0;x=ü")
        .environment("a/b%20\"\\")
        .org_id("42".parse().unwrap());
    let odd_members = "sentry-public_key=public,sentry-release=my%20app%401%2C0%3Bx%3D%C3%BC,\
        sentry-environment=a%2Fb%2520%22%5C,sentry-org_id=42";
    for (options, members) in [
        (odd, odd_members),
        (ClientOptions::new(), "sentry-public_key=public"),
        (
            ClientOptions::new().release("shop@1.2.3"),
            "sentry-public_key=public,sentry-release=shop%401.2.3",
        ),
    ] {
        story_with(options, |sentry| async move {
            let job = async {
                capture("cooked");
                let forked = tokio::spawn(InScope::fork(async { call(&[]).await }));
                [call(&[]).await, call(&[]).await, forked.await.unwrap()]
            };
            let calls = scope("job").bind(job).await;
            let sent = sentry.take_sent();
            let of_job = trace(&sent.event("cooked").contexts);
            for headers in calls {
                assert_eq!(lines(&headers, "sentry-trace"), undecided(of_job));
                let expected = format!("sentry-trace_id={},{members}", of_job.trace_id);
                assert_eq!(lines(&headers, "baggage"), [expected]);
            }
        });
    }

    // The DSN names the organisation.
    story(|_| async {
        let options = ClientOptions::new().transport(TestTransport::new());
        let options = options.dsn("https://public@o7.ingest.sentry.io/1");
        let hub = Hub::new(Some(Arc::new(options.into())), Arc::default());
        let headers = Hub::run(Arc::new(hub), || {
            let scope = scope("job");
            futures_util::FutureExt::now_or_never(scope.bind(async { call(&[]).await })).unwrap()
        });
        let baggage = lines(&headers, "baggage").concat();
        assert!(baggage.ends_with(",sentry-public_key=public,sentry-org_id=7"), "{baggage}");
    });
}

/// Sends a request with `lines`. Returns the headers of the call that its handler makes, and its event.
async fn relay(
    sentry: &Sentry,
    layer: BindTransactionIdLayer,
    lines: &[&str],
) -> (HeaderMap, TraceContext) {
    let seen = Arc::<Mutex<HeaderMap>>::default();
    let handler = {
        let seen = seen.clone();
        async move || {
            capture("handled");
            let headers = call(&[]).await;
            *seen.lock().unwrap() = headers;
        }
    };
    let lines = [lines, &[""]].concat().join("\r\n");
    let head = format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{lines}\r\n");
    let app = Router::new().route("/", get(handler)).layer(layer);
    raw(serve(app).await, head.as_bytes()).await;
    let event = trace(&sentry.take_sent().event("handled").contexts).clone();
    (std::mem::take(&mut *seen.lock().unwrap()), event)
}

#[test]
fn of_a_caller_s_baggage_sentry_s_members_are_passed_on_byte_for_byte() {
    fn long_baggage(len: usize) -> String {
        format!("baggage: sentry-release={}", "a".repeat(len - "sentry-release=".len()))
    }
    let theirs = format!("sentry-trace: {TRACE}-{PARENT}-1");
    let rows: &[(&[&str], Option<&str>)] = &[
        (
            &[
                "baggage: other=1, sentry-trace_id=theirs ,sentry-release=a%20b%zz;p=1;q",
                "baggage: sentry-sampled=true,third=3,sentry-sample_rand=0.25",
            ],
            Some(
                "sentry-trace_id=theirs,sentry-release=a%20b%zz;p=1;q,sentry-sampled=true,\
                 sentry-sample_rand=0.25",
            ),
        ),
        // A malformed member counts as absent.
        (
            &[
                "baggage: sentry-trace_id,sentry-release=a\"b,sentry-=x,sentry-a b=c,sentry-sampled=true",
            ],
            Some("sentry-sampled=true"),
        ),
        // W3C requires a program to pass on 8192 bytes of baggage. A longer baggage is dropped.
        (&[&long_baggage(8192)], Some(&long_baggage(8192)["baggage: ".len()..])),
        (&[&long_baggage(8193)], None),
        // If the head of a trace sent no Sentry members, no later service may add them.
        (&[], None),
        (&["baggage: other=1,not-sentry-x=2"], None),
        (&["baggage: "], None),
    ];
    for has_base in [false, true] {
        for rate in [None, Some(1.0)] {
            let options = ClientOptions::new().release("ours");
            let options = match rate {
                Some(rate) => options.traces_sample_rate(rate),
                None => options,
            };
            let theirs = &theirs;
            story_with(options, |sentry| async move {
                for (baggage, expected) in rows {
                    let shown = format!("{baggage:?}, base: {has_base}, rate: {rate:?}");
                    let layer = BindTransactionIdLayer::new().measure_performance(true);
                    let layer = if has_base { layer.hub(&sentry.hub) } else { layer };
                    let lines_in = [&[theirs.as_str()], *baggage].concat();
                    let (headers, event) = relay(&sentry, layer, &lines_in).await;
                    assert_eq!(event.trace_id.to_string(), TRACE, "{shown}");
                    let sent = lines(&headers, "sentry-trace");
                    if rate.is_none() {
                        assert_eq!(sent, undecided(&event), "{shown}");
                    } else {
                        // The line names the span of the call, and has the sampling decision.
                        assert!(sent[0].starts_with(TRACE) && sent[0].ends_with("-1"), "{sent:?}");
                    }
                    assert!(!sent[0].contains(PARENT), "{shown}: {sent:?}");
                    let expected: Vec<_> = expected.iter().map(ToString::to_string).collect();
                    assert_eq!(lines(&headers, "baggage"), expected, "{shown}");
                }
            });
        }
    }
}

#[test]
fn a_caller_whose_trace_is_not_continued_has_no_part_in_the_next_one() {
    let theirs = format!("sentry-trace: {TRACE}-{PARENT}-1");
    let baggage = "baggage: sentry-trace_id=theirs,sentry-org_id=43,sentry-release=theirs";
    let options = ClientOptions::new().release("ours").org_id("42".parse().unwrap());
    story_with(options, |sentry| async move {
        for (trust, lines_in) in [
            (Trust::never(), [theirs.as_str(), baggage]),
            (Trust::always(), ["sentry-trace: neither-a-trace", baggage]),
            (Trust::always(), ["x-other: 1", baggage]),
            // The baggage names another organisation than the client does.
            (Trust::always(), [theirs.as_str(), baggage]),
        ] {
            let layer = BindTransactionIdLayer::new().trust(trust.clone());
            let (headers, event) = relay(&sentry, layer, &lines_in).await;
            assert_ne!(event.trace_id.to_string(), TRACE, "{trust:?}, {lines_in:?}");
            assert_eq!(lines(&headers, "sentry-trace"), undecided(&event));
            let expected = format!(
                "sentry-trace_id={},sentry-public_key=public,sentry-release=ours,sentry-org_id=42",
                event.trace_id
            );
            assert_eq!(lines(&headers, "baggage"), [expected], "{trust:?}, {lines_in:?}");
        }
    });
}

#[test]
fn the_headers_of_a_caller_who_continues_a_trace_by_itself_stay() {
    story(|_| async {
        let own = "00-11111111111111111111111111111111-2222222222222222-01";
        scope("job")
            .bind(async {
                for kept in [
                    &[("sentry-trace", "own")][..],
                    &[("sentry-trace", "own"), ("baggage", "other=1")],
                    &[("traceparent", own), ("tracestate", "a=b")],
                    &[("traceparent", own), ("baggage", "other=1")],
                ] {
                    let headers = call(kept).await;
                    let expected = request("kitchen.test", kept);
                    for name in ["sentry-trace", "traceparent", "tracestate", "baggage"] {
                        assert_eq!(lines(&headers, name), lines(expected.headers(), name));
                    }
                }

                // Members that are not Sentry's stay, before ours.
                let headers = call(&[("baggage", "other=1;p, x=%20"), ("baggage", "y=2")]).await;
                let baggage = lines(&headers, "baggage");
                assert_eq!(baggage[..2], ["other=1;p, x=%20", "y=2"]);
                let members: Vec<_> = baggage[2].split(',').collect();
                let sentry_trace = lines(&headers, "sentry-trace").concat();
                let trace_id = sentry_trace.split('-').next().unwrap();
                assert_eq!(members[0], format!("sentry-trace_id={trace_id}"));
                assert_eq!(baggage.len(), 3);

                // If the baggage has members of Sentry's, the layer adds no second set.
                for baggage in ["sentry-trace_id=own", "other=1, sentry-release=own"] {
                    let headers = call(&[("baggage", baggage)]).await;
                    assert_eq!(lines(&headers, "baggage"), [baggage]);
                    assert_eq!(lines(&headers, "sentry-trace").len(), 1);
                }
            })
            .await;
    });
}

#[test]
fn a_full_header_map_is_sent_as_it_is() {
    const MOST: usize = 24_576;
    story(|_| async {
        for own in [None, Some("baggage")] {
            let mut request = request("kitchen.test", &[("x-transaction-id", "mine")]);
            if let Some(name) = own {
                request.headers_mut().insert(name, "other=1".parse().unwrap());
            }
            for n in request.headers().keys_len()..MOST {
                let name = format!("x-{n}").parse::<HeaderName>().unwrap();
                request.headers_mut().append(name, n.into());
            }
            let names = request.headers().keys_len();
            let headers = scope("mine").bind(sent_headers(propagates(), request)).await;
            assert_eq!(headers.keys_len(), names);
            assert_eq!(headers["x-transaction-id"], "mine");
            assert!(!headers.contains_key("sentry-trace"));
            assert_eq!(lines(&headers, "baggage").len(), usize::from(own.is_some()));
        }
    });
}

#[test]
fn outside_of_a_scope_the_trace_of_the_process_is_not_sent() {
    story(|sentry| async move {
        let header = Hub::new_from_top(&sentry.hub).configure_scope(|scope| {
            scope.iter_trace_propagation_headers().next().map(|(_, value)| value).unwrap()
        });
        let of_process = header.split('-').next().unwrap();
        // A call with an ID of its own belongs to work whose trace the layer does not know.
        let headers = call(&[("x-transaction-id", "theirs")]).await;
        assert_eq!(lines(&headers, "sentry-trace").len(), 0, "{headers:?}");
        assert_eq!(lines(&headers, "baggage").len(), 0, "{headers:?}");
        // A call without an ID starts its own work, and its own trace.
        let mut traces = vec![of_process.to_owned()];
        for _ in 0..2 {
            let headers = call(&[]).await;
            let sent = lines(&headers, "sentry-trace").concat();
            let (trace_id, span_id) = sent.split_once('-').unwrap();
            assert_eq!((trace_id.len(), span_id.len()), (32, 16), "{sent}");
            assert!(!traces.contains(&trace_id.to_owned()), "{traces:?}, {sent}");
            let baggage = format!("sentry-trace_id={trace_id},sentry-public_key=public");
            assert_eq!(lines(&headers, "baggage"), [baggage]);
            traces.push(trace_id.to_owned());
        }
        // Without a Sentry client, the layer sends no trace.
        let headers = Hub::run(Arc::new(Hub::new(None, Arc::default())), || {
            let call = scope("job").bind(async { call(&[]).await });
            futures_util::FutureExt::now_or_never(call).unwrap()
        });
        assert_eq!(headers["x-transaction-id"], "job");
        assert_eq!(headers.len(), 1, "{headers:?}");
        assert_eq!(TransactionId::current(), None);
    });
}

#[test]
fn a_span_without_a_sampling_decision_passes_none_on() {
    // The rate, the caller's decision, and the decision that is sent.
    for (rate, decision, expected) in [
        (None, "", None),
        (None, "-1", Some("1")),
        (None, "-0", Some("0")),
        (Some(0.0), "", Some("0")),
        (Some(1.0), "", Some("1")),
    ] {
        let options = ClientOptions::new();
        let options = match rate {
            Some(rate) => options.traces_sample_rate(rate),
            None => options,
        };
        story_with(options, |_| async move {
            let header = format!("{TRACE}-{PARENT}{decision}");
            let work = async {
                let context = [("sentry-trace", header.as_str())];
                let context = TransactionContext::continue_from_headers("order", "task", context);
                let transaction = sentry::start_transaction(context);
                sentry::configure_scope(|scope| scope.set_span(Some(transaction.clone().into())));
                call(&[]).await
            };
            let headers = scope("job").bind(work).await;
            let sent = lines(&headers, "sentry-trace").concat();
            let mut parts = sent.split('-');
            assert_eq!(parts.next(), Some(TRACE));
            assert_ne!(parts.next(), Some(PARENT));
            assert_eq!(parts.next(), expected, "{rate:?}, {decision:?}");
        });
    }
}

#[test]
fn strangers_get_no_trace_and_none_of_the_protected_headers() {
    const NAMES: [&str; 5] = ["traceparent", "tracestate", "baggage", "sentry-trace", "x-tenant"];
    story(|_| async {
        let trace = ["traceparent", "baggage", "x-tenant"].map(HeaderName::from_static);
        let protecting = propagates().protect_headers(trace);
        let sets: &[(InjectTransactionIdLayer, &[&str])] =
            &[(propagates(), &[]), (protecting, &["traceparent", "baggage", "x-tenant"])];
        for (layer, protected) in sets {
            for in_scope in [false, true] {
                let send = async |host: &str, headers: &[(&str, &str)]| {
                    let sent = sent_headers(layer.clone(), request(host, headers));
                    if in_scope { scope("job").bind(sent).await } else { sent.await }
                };
                let theirs = NAMES.map(|name| [(name, "first"), (name, "second")]).concat();
                let headers = send("kitchen.test", &theirs).await;
                for name in NAMES {
                    assert_eq!(lines(&headers, name), ["first", "second"], "{name}, {protected:?}");
                }
                let headers = send("evil.test", &theirs).await;
                for name in NAMES {
                    let is_kept = !protected.contains(&name);
                    let expected = if is_kept { &["first", "second"][..] } else { &[] };
                    assert_eq!(lines(&headers, name), expected, "{name}, {protected:?}");
                }
                let headers = send("evil.test", &[]).await;
                assert!(headers.is_empty(), "{headers:?}, {protected:?}");
            }
        }
    });
}

/// Captures an event, then calls the next service if there is one.
async fn handler(
    State(next): State<Option<std::net::SocketAddr>>,
    headers: HeaderMap,
) -> StatusCode {
    sentry::configure_scope(|scope| {
        // Not a tag, since Sentry takes a tag without a value for an error.
        scope.set_extra("baggage", lines(&headers, "baggage").concat().into());
    });
    capture("handled");
    let Some(next) = next else { return StatusCode::OK };
    let url = format!("http://{next}/").parse().unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut client = ServiceBuilder::new().layer(propagates()).service(client);
    let request = reqwest::Request::new(http::Method::GET, url);
    client.ready().await.unwrap().call(request).await.unwrap().status()
}

#[test]
fn services_in_a_row_are_in_one_trace_each_below_the_one_before() {
    story(|_| async {
        // Each service has its own Sentry client, as in its own process.
        let mut services = Vec::new();
        let mut next = None;
        for name in ["third", "second", "first"] {
            let sentry = Sentry::with_options(ClientOptions::new().release(name));
            let layer = BindTransactionIdLayer::new().hub(&sentry.hub);
            let app = Router::new().route("/", get(handler)).with_state(next);
            next = Some(serve(app.layer(layer)).await);
            services.push(sentry);
        }
        services.reverse();
        for _ in 0..2 {
            let response = get_with_ids(next.unwrap(), &[]).await;
            assert!(response.starts_with("HTTP/1.1 200"), "{response}");
            let events = services.iter().map(|sentry| sentry.take_sent().events.pop().unwrap());
            let events: Vec<_> = events.collect();
            let traces: Vec<_> = events.iter().map(|event| trace(&event.contexts)).collect();
            let [first, second, third] = &traces[..] else { panic!("{traces:?}") };
            assert_eq!(first.parent_span_id, None);
            assert_eq!(second.parent_span_id, Some(first.span_id));
            assert_eq!(third.parent_span_id, Some(second.span_id));
            assert!(traces.iter().all(|trace| trace.trace_id == first.trace_id), "{traces:?}");
            // The first service describes the trace, in the baggage.
            let id = first.trace_id;
            let baggage =
                format!("sentry-trace_id={id},sentry-public_key=public,sentry-release=first");
            let seen = events.iter().map(|event| event.extra["baggage"].as_str().unwrap());
            assert_eq!(seen.collect::<Vec<_>>(), ["", &baggage, &baggage]);
        }
    });
}

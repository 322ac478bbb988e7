//! A request or a job continues the trace of its caller, or has a trace of its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use futures_util::{StreamExt, stream};
use http::{Request, Response, StatusCode};
use sentry::integrations::panic::PanicIntegration;
use sentry::protocol::{Context, EnvelopeItem, Event, Map, SpanId, TraceContext, TraceId};
use sentry::{ClientOptions, Hub, Level, TransactionContext};
use tower::{ServiceBuilder, ServiceExt};
use tower_http::catch_panic::CatchPanicLayer;
use tower_transaction_id::{
    BindTransactionIdLayer, Failures, InScope, TransactionIdIntegration, TransactionIdScope, Trust,
};

use crate::support::{
    CaptureOnDrop, Never, Sent, Sentry, capture, printed, raw, serve, story_with, text, trace,
};

const TRACE: &str = "09e04486820349518ac7b5d2adbf6ba5";
const PARENT: &str = "9438b6a1d9b86aa4";
const OTHER: &str = "11111111111111111111111111111111-2222222222222222-1";

fn options() -> ClientOptions {
    ClientOptions::new().traces_sample_rate(1.0)
}

/// Answers 500. With `has_span`, each request is measured as a performance transaction.
fn app(trust: Trust, has_span: bool) -> Router {
    async fn handler() -> StatusCode {
        tracing::info!("cooked");
        tokio::task::yield_now().await;
        StatusCode::INTERNAL_SERVER_ERROR
    }
    let layer = BindTransactionIdLayer::new().trust(trust).capture_failures(Failures::new());
    Router::new().route("/cook", get(handler)).layer(layer.measure_performance(has_span))
}

async fn cook(app: Router, lines: &[&str]) {
    let mut head = "GET /cook HTTP/1.1\r\nhost: a\r\nconnection: close\r\n".to_owned();
    for line in lines {
        head.push_str(line);
        head.push_str("\r\n");
    }
    let response = raw(serve(app).await, format!("{head}\r\n").as_bytes()).await;
    assert!(response.starts_with("HTTP/1.1 500"), "{response}");
}

/// The trace and the parent span of the report and, if there is one, of the transaction.
fn sent(sentry: &Sentry) -> Vec<(String, Option<String>)> {
    let ids = |contexts: &Map<String, Context>| {
        let Context::Trace(trace) = &contexts["trace"] else { panic!("{contexts:?}") };
        (trace.trace_id.to_string(), trace.parent_span_id.map(|parent| parent.to_string()))
    };
    let envelopes = sentry.transport.fetch_and_clear_envelopes();
    let items = envelopes.iter().flat_map(sentry::Envelope::items);
    let traces = items.filter_map(|item| match item {
        EnvelopeItem::Event(event) => Some(ids(&event.contexts)),
        EnvelopeItem::Transaction(transaction) => Some(ids(&transaction.contexts)),
        _ => None,
    });
    traces.collect()
}

#[test]
fn of_a_trace_only_what_was_parsed_is_kept() {
    story_with(options(), |sentry| async move {
        let long = "x".repeat(24 * 1024);
        for has_span in [false, true] {
            let header = format!("sentry-trace: {TRACE}-{PARENT}-{long}");
            cook(app(Trust::always(), has_span), &[&header]).await;
            let envelopes = sentry.transport.fetch_and_clear_envelopes();
            assert_eq!(envelopes.len(), 1 + usize::from(has_span));
            for envelope in envelopes {
                let mut bytes = Vec::new();
                envelope.to_writer(&mut bytes).unwrap();
                let text = String::from_utf8(bytes).unwrap();
                assert!(text.contains(TRACE), "{text}");
                assert!(!text.contains("xxxxxxxx"), "{} bytes", text.len());
            }
        }
    });
    let printed = printed();
    assert!(!printed.contains("xxxxxxxx"), "{} bytes", printed.len());
}

#[test]
fn of_several_traces_the_last_valid_one_is_continued() {
    story_with(options(), |sentry| async move {
        let valid = format!("sentry-trace: {TRACE}-{PARENT}-1");
        let other = format!("sentry-trace: {OTHER}");
        let invalid = "sentry-trace: neither-a-trace";
        // The SDK accepts an ID of zeros, and Sentry replaces it.
        let zeros = format!("sentry-trace: {:032}-{PARENT}-1", 0);
        let no_parent = format!("sentry-trace: {}-{:016}-1", &OTHER[..32], 0);
        // More headers than the layer walks through.
        let others: Vec<_> = (0..30).map(|number| format!("x-{number}: 1")).collect();
        let many: Vec<_> = others.iter().chain([&valid]).map(String::as_str).collect();
        for has_span in [false, true] {
            for lines in [
                &[valid.as_str()][..],
                &many,
                &[&other, &valid],
                &[&valid, invalid],
                &[invalid, &valid],
                &[invalid, &other, &valid, invalid],
                &[&valid, &zeros, &no_parent],
            ] {
                cook(app(Trust::always(), has_span), lines).await;
                let continued = (TRACE.to_owned(), Some(PARENT.to_owned()));
                let expected = vec![continued; 1 + usize::from(has_span)];
                assert_eq!(sent(&sentry), expected, "{lines:?}, in a span: {has_span}");
            }
        }
    });
}

#[test]
fn the_trace_is_trusted_as_the_id_is() {
    story_with(options(), |sentry| async move {
        let by_header = || Trust::when(|head| head.headers().contains_key("x-inside"));
        let trace = format!("sentry-trace: {TRACE}-{PARENT}-1");
        let id = "x-transaction-id: theirs";
        for has_span in [false, true] {
            for (trust, line, continues) in [
                (Trust::always(), "x-other: 1", true),
                (Trust::never(), "x-other: 1", false),
                (by_header(), "x-inside: 1", true),
                (by_header(), "x-other: 1", false),
            ] {
                // Without an ID, with a valid one, and with an invalid one.
                for lines in [
                    &[trace.as_str(), line][..],
                    &[&trace, line, id],
                    &[&trace, line, "x-transaction-id: <invalid>"],
                ] {
                    cook(app(trust.clone(), has_span), lines).await;
                    let sent = sent(&sentry);
                    assert_eq!(sent.len(), 1 + usize::from(has_span));
                    for (sent, parent) in sent {
                        let shown = format!("{trust:?}, {lines:?}, in a span: {has_span}");
                        assert_eq!(sent == TRACE, continues, "{shown}");
                        assert_eq!(parent.as_deref() == Some(PARENT), continues, "{shown}");
                    }
                }
            }
        }
    });
}

/// Whether the layer has a base hub, and whether the client has the integration.
const SETUPS: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

fn with_integration(options: ClientOptions, has_integration: bool) -> ClientOptions {
    if has_integration { options.add_integration(TransactionIdIntegration::new()) } else { options }
}

fn layer(sentry: &Sentry, has_base: bool) -> BindTransactionIdLayer {
    let layer = BindTransactionIdLayer::new();
    if has_base { layer.hub(&sentry.hub) } else { layer }
}

/// The traces of events outside any scope: the trace of `hub`, and the one of the process.
fn fallbacks(hub: &Arc<Hub>) -> [String; 2] {
    [hub.clone(), Hub::main()].map(|hub| {
        let header = Hub::new_from_top(hub).configure_scope(|scope| {
            scope.iter_trace_propagation_headers().next().map(|(_, value)| value)
        });
        header.unwrap().split('-').next().unwrap().to_owned()
    })
}

/// The traces of everything that was sent.
fn traces(sent: &Sent) -> BTreeSet<String> {
    let events = sent.events.iter().map(|event| trace(&event.contexts).trace_id);
    let logs = sent.logs.iter().map(|log| log.trace_id.expect("the log is in a trace"));
    let metrics = sent.metrics.iter().map(|metric| metric.trace_id);
    events.chain(logs).chain(metrics).map(|id| id.to_string()).collect()
}

/// Sends each kind of telemetry that has a trace.
fn emit(place: &str, has_integration: bool) {
    capture(place);
    // The SDK gives these only the trace of the Sentry scope, and the integration replaces it.
    if has_integration {
        sentry::logger_info!("log");
        sentry::metrics::counter("orders", 1).capture();
    }
}

/// Emits from everywhere that belongs to a request.
fn kitchen(has_integration: bool) -> Router {
    let handler = async move || {
        let emit = move |place| emit(place, has_integration);
        emit("handler");
        let guard = CaptureOnDrop("drop");
        let task = tokio::spawn(InScope::fork(async move {
            tokio::task::yield_now().await;
            emit("task");
            let fork = TransactionIdScope::fork_current().unwrap();
            std::thread::spawn(move || fork.run(|| emit("thread"))).join().unwrap();
        }));
        tokio::task::spawn_blocking(InScope::fork_fn(move || emit("blocking"))).await.unwrap();
        let frames = stream::once(async move {
            task.await.unwrap();
            emit("body");
            drop(guard);
            Ok::<_, Never>("frame")
        });
        Body::from_stream(frames.boxed())
    };
    let panics = async || {
        sentry::capture_message("before", Level::Info);
        panic!("out of mustard");
    };
    let fails = async || {
        sentry::capture_message("before", Level::Info);
        StatusCode::SERVICE_UNAVAILABLE
    };
    Router::new()
        .route("/orders", get(handler))
        .route("/panics", get(async move || -> () { panics().await }))
        .route("/fails", get(fails))
}

const PLACES: [&str; 6] = ["blocking", "body", "drop", "handler", "task", "thread"];

/// Requests `path` and returns everything that was sent to Sentry.
async fn request(sentry: &Sentry, app: &Router, path: &str, lines: &[&str]) -> Sent {
    let lines = [lines, &[""]].concat().join("\r\n");
    let head = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{lines}\r\n");
    raw(serve(app.clone()).await, head.as_bytes()).await;
    sentry.take_sent()
}

#[track_caller]
fn assert_texts(sent: &Sent, expected: &[&str]) {
    let mut texts: Vec<_> = sent.events.iter().map(text).collect();
    texts.sort();
    assert_eq!(texts, expected);
}

#[test]
fn all_of_a_request_is_in_one_trace_of_its_own() {
    for (has_base, has_integration) in SETUPS {
        let options = ClientOptions::new().add_integration(PanicIntegration::default());
        story_with(with_integration(options, has_integration), |sentry| async move {
            let shown = format!("base: {has_base}, integration: {has_integration}");
            let app = kitchen(has_integration)
                .layer(CatchPanicLayer::new())
                .layer(layer(&sentry, has_base).capture_failures(Failures::new()));
            let mut seen = BTreeSet::from(fallbacks(&sentry.hub));
            for _ in 0..2 {
                for (path, places) in [
                    ("/orders", &PLACES[..]),
                    ("/panics", &["Service panicked: out of mustard", "before", "out of mustard"]),
                    ("/fails", &["GET /fails answered 503 Service Unavailable", "before"]),
                ] {
                    let sent = request(&sentry, &app, path, &[]).await;
                    assert_texts(&sent, places);
                    let is_emitted = has_integration && path == "/orders";
                    assert_eq!(sent.logs.len(), if is_emitted { 5 } else { 0 }, "{shown}");
                    assert_eq!(sent.metrics.len(), if is_emitted { 5 } else { 0 }, "{shown}");
                    let traces = traces(&sent);
                    assert_eq!(traces.len(), 1, "{path}, {shown}: {traces:?} of {seen:?}");
                    assert!(seen.is_disjoint(&traces), "{path}, {shown}: {traces:?} of {seen:?}");
                    seen.extend(traces);
                    for event in &sent.events {
                        assert_eq!(trace(&event.contexts).parent_span_id, None, "{shown}");
                    }
                }
            }
        });
    }
}

#[test]
fn a_job_has_a_trace_of_its_own_and_shares_it_with_its_forks() {
    for (_, has_integration) in &SETUPS[..2] {
        let options = with_integration(ClientOptions::new(), *has_integration);
        story_with(options, |sentry| async move {
            let mut seen = BTreeSet::from(fallbacks(&sentry.hub));
            let mut distinct = |shown: &str, expected: usize| {
                let sent = sentry.take_sent();
                assert_eq!(sent.events.len(), expected, "{shown}");
                let traces = traces(&sent);
                assert_eq!(traces.len(), 1, "{shown}: {traces:?} of {seen:?}");
                assert!(seen.is_disjoint(&traces), "{shown}: {traces:?} of {seen:?}");
                seen.extend(traces);
            };
            // Scopes with the same ID have a trace each.
            let job = || TransactionIdScope::new("job".parse().unwrap());
            let first = job();
            // Forks that are made before the first event, and forks of forks.
            let (early, later) = (first.fork(), first.fork().fork());
            early.run(|| capture("early"));
            first.run(|| capture("job"));
            later.run(|| capture("later"));
            first.fork().bind(async { capture("last") }).await;
            distinct("a job", 4);

            job().run(|| capture("another"));
            distinct("another job", 1);

            let request = job();
            request.run(|| capture("request"));
            distinct("a request", 1);
            request.run(|| job().run(|| capture("inner job")));
            distinct("a job in a request", 1);

            // The events of this request are not completed, and those of the job are.
            let silent = BindTransactionIdLayer::new().record_request(false);
            let service = ServiceBuilder::new().layer(silent).service_fn(async |_: Request<()>| {
                job().run(|| capture("inner job"));
                Ok::<_, Never>(Response::new(()))
            });
            service.oneshot(Request::new(())).await.unwrap();
            distinct("a job in a request that is not recorded", 1);
        });
    }
}

#[test]
fn a_caller_s_trace_is_continued_by_the_rules() {
    let theirs = format!("sentry-trace: {TRACE}-{PARENT}-1");
    let undecided = format!("sentry-trace: {TRACE}-{PARENT}");
    let (ours, other) = ("baggage: sentry-org_id=42", "baggage: a=b,sentry-org_id=43;c");
    // Whether the client is strict, the trust, the lines; whether the trace is the caller's.
    let rows: &[(bool, Trust, &[&str], bool)] = &[
        (false, Trust::always(), &[&theirs], true),
        (false, Trust::always(), &[&undecided], true),
        (false, Trust::never(), &[&theirs], false),
        (false, Trust::always(), &["sentry-trace: neither-a-trace"], false),
        (false, Trust::always(), &["sentry-trace: "], false),
        (false, Trust::always(), &["traceparent: 00-09e04486820349518ac7b5d2adbf6ba5-1-01"], false),
        (false, Trust::always(), &[ours], false),
        (false, Trust::always(), &[&theirs, ours], true),
        (false, Trust::always(), &[&theirs, other], false),
        (false, Trust::always(), &[&theirs, "baggage: ,=;,sentry-org_id=x"], true),
        (true, Trust::always(), &[&theirs], false),
        (true, Trust::always(), &[&theirs, "baggage: ,=;,sentry-org_id=x"], false),
        (true, Trust::always(), &[&theirs, ours], true),
        (true, Trust::always(), &[&theirs, other], false),
    ];
    for (has_base, has_integration) in SETUPS {
        for (is_strict, trust, lines, continues) in rows {
            let options = ClientOptions::new()
                .org_id("42".parse().unwrap())
                .strict_trace_continuation(*is_strict);
            story_with(with_integration(options, has_integration), |sentry| async move {
                for records in [true, false] {
                    let layer = layer(&sentry, has_base).trust(trust.clone());
                    let layer = layer.record_request(records);
                    if !records && !has_base && !has_integration {
                        // In this setup, nothing processes the events.
                        continue;
                    }
                    let shown = format!(
                        "base: {has_base}, integration: {has_integration}, strict: {is_strict}, \
                         {trust:?}, {lines:?}, request recorded: {records}"
                    );
                    let app = kitchen(has_integration).layer(layer);
                    let sent = request(&sentry, &app, "/orders", lines).await;
                    assert_texts(&sent, &PLACES);
                    let traces = traces(&sent);
                    assert_eq!(traces.len(), 1, "{shown}: {traces:?}");
                    assert_eq!(traces.contains(TRACE), *continues, "{shown}");
                    assert!(traces.is_disjoint(&fallbacks(&sentry.hub).into()), "{shown}");
                    for event in &sent.events {
                        let parent = trace(&event.contexts).parent_span_id;
                        let parent = parent.map(|parent| parent.to_string());
                        let expected = continues.then(|| PARENT.to_owned());
                        assert_eq!(parent, expected, "{shown}: {event:?}");
                    }
                }
            });
        }
    }
}

#[test]
fn an_event_that_has_a_trace_keeps_it() {
    for (has_base, has_integration) in SETUPS {
        let options = with_integration(options(), has_integration);
        story_with(options, |sentry| async move {
            let shown = format!("base: {has_base}, integration: {has_integration}");
            let own = TraceContext {
                trace_id: "22222222222222222222222222222222".parse::<TraceId>().unwrap(),
                span_id: "3333333333333333".parse::<SpanId>().unwrap(),
                op: Some("own".to_owned()),
                ..TraceContext::default()
            };
            let expected = own.clone();
            let handler = async move || {
                let mut event = Event { message: Some("own".into()), ..Event::default() };
                event.contexts.insert("trace".to_owned(), own.into());
                sentry::capture_event(event);

                tracing::info_span!("request").in_scope(|| capture("span of tracing"));

                let task =
                    TransactionContext::new_with_trace_id("order", "task", TraceId::default());
                let transaction = sentry::start_transaction(task);
                let span = transaction.start_child("step", "sauce");
                sentry::configure_scope(|scope| scope.set_span(Some(span.clone().into())));
                emit("span of the user", has_integration);
                sentry::configure_scope(|scope| scope.set_span(None));
                span.finish();
                transaction.finish();
            };
            let app = Router::new().route("/", get(handler)).layer(layer(&sentry, has_base));
            let theirs = format!("sentry-trace: {TRACE}-{PARENT}-1");
            let sent = request(&sentry, &app, "/", &[&theirs]).await;
            assert_eq!(sent.events.len(), 3, "{shown}");
            assert_eq!(*trace(&sent.event("own").contexts), expected, "{shown}");
            let transaction = |name: &str| {
                let mut all = sent.transactions.iter();
                all.find(|transaction| transaction.name.as_deref() == Some(name)).unwrap()
            };
            let (order, span) = (transaction("order"), transaction("request"));
            let of_span = trace(&sent.event("span of tracing").contexts);
            assert_eq!(of_span.span_id, trace(&span.contexts).span_id, "{shown}");
            assert_eq!(of_span.trace_id, trace(&span.contexts).trace_id, "{shown}");
            let of_user = trace(&sent.event("span of the user").contexts);
            assert_eq!(of_user.span_id, order.spans[0].span_id, "{shown}");
            assert_eq!(of_user.trace_id, trace(&order.contexts).trace_id, "{shown}");
            for log in &sent.logs {
                assert_eq!(log.trace_id, Some(of_user.trace_id), "{shown}");
            }
            for metric in &sent.metrics {
                assert_eq!(metric.trace_id, of_user.trace_id, "{shown}");
            }
            assert_eq!(sent.logs.len() + sent.metrics.len(), if has_integration { 2 } else { 0 });
        });
    }
}

#[test]
fn outside_of_a_scope_nothing_changes() {
    for has_integration in [false, true] {
        let options = with_integration(ClientOptions::new(), has_integration);
        story_with(options, |sentry| async move {
            let app = kitchen(has_integration).layer(layer(&sentry, false));
            request(&sentry, &app, "/orders", &[]).await;
            emit("outside", true);
            let [ours, _] = fallbacks(&sentry.hub);
            assert_eq!(traces(&sentry.take_sent()), BTreeSet::from([ours]));
        });
    }
}

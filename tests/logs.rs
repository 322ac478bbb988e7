//! Log lines: each line is inside the span of its own request, wherever in the request it is logged.
//!
//! Each story has a subscriber of its own on its threads, so it needs a binary without the one that
//! `tests/it` installs for the whole process.

#[allow(dead_code)]
#[path = "it/support.rs"]
mod support;

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::routing::get;
use futures_util::future::join_all;
use futures_util::{Stream, StreamExt, stream};
use http::HeaderMap;
use opentelemetry::Context as OtelContext;
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use sentry::integrations::panic::PanicIntegration;
use sentry::integrations::tracing::{ErrorLayer, LogLayer, SpanLayer};
use sentry::{ClientOptions, Hub, SentryFutureExt, User};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::{spawn_blocking, yield_now};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::trace::TraceLayer;
use tower_transaction_id::{
    BindTransactionIdLayer, InScope, TransactionId, TransactionIdIntegration, TransactionIdScope,
};
use tracing::{Dispatch, Span, Subscriber, dispatcher, span};
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::layer::{self, Identity, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

use crate::support::{Sentry, echo, get_with_ids, raw, serve, tag, text, trace};

/// The filter of axum's examples, and the one that most services have.
const FILTERS: [&str; 2] = ["logs=debug,tower_http=debug,axum::rejection=trace", "logs=info"];

/// How lines are written.
#[derive(Clone, Copy, Debug)]
enum Format {
    Text,
    Json,
    OpenTelemetry,
}

/// The layers of sentry-tracing.
#[derive(Clone, Copy, Debug, PartialEq)]
enum SentryTracing {
    None,
    /// The deprecated layer, which is one for events, logs and spans.
    Old,
    New,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
struct Setup {
    format: Format,
    filter: &'static str,
    sentry_tracing: SentryTracing,
    sample_rate: f32,
    has_client: bool,
    /// Whether the layer has a base hub. The current hub then has no client, as in a program without
    /// `sentry::init`.
    has_base: bool,
}

/// The text and the spans that were written so far.
#[derive(Clone, Debug, Default)]
struct Written {
    text: Arc<Mutex<Vec<u8>>>,
    spans: Arc<Mutex<Vec<SpanData>>>,
}

/// A log line, or an event of an OpenTelemetry span. The event is written when its span is closed.
#[derive(Debug)]
struct Line {
    text: String,
    /// The names of the spans around the line, the innermost last.
    spans: Vec<String>,
    /// The ID of the innermost span that has one.
    id: Option<String>,
    /// The ID that the client sent, if the line has it as a field.
    sent_id: Option<String>,
}

impl Written {
    fn lines(&self, format: Format) -> Vec<Line> {
        let text = String::from_utf8(self.text.lock().unwrap().clone()).unwrap();
        match format {
            Format::Text => text.lines().map(Line::of_text).collect(),
            Format::Json => text.lines().map(Line::of_json).collect(),
            Format::OpenTelemetry => lines_of_spans(&self.spans.lock().unwrap()),
        }
    }
}

impl Line {
    /// Reads, for example,
    /// `2026-01-01T00:00:00.000000Z  INFO order{transaction_id=first}:request{..}: logs: handled`.
    fn of_text(line: &str) -> Self {
        let field = |text: &str, key: &str| {
            let value = text.rsplit_once(key)?.1;
            value.split([' ', '}']).next().map(str::to_owned)
        };
        let (spans, _) = line.rsplit_once("}: ").unwrap_or_default();
        let names = spans.split("}:").filter_map(|span| span.split_once('{'));
        Self {
            text: line.to_owned(),
            spans: names.map(|(before, _)| before.split(' ').next_back().unwrap().into()).collect(),
            id: field(spans, "transaction_id="),
            sent_id: field(line, "sent_id="),
        }
    }

    fn of_json(line: &str) -> Self {
        let json: Value = serde_json::from_str(line).unwrap();
        let spans = json["spans"].as_array().map_or(&[][..], Vec::as_slice);
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Self {
            text: line.to_owned(),
            spans: spans.iter().filter_map(|span| text(&span["name"])).collect(),
            id: spans.iter().rev().find_map(|span| text(&span["transaction_id"])),
            sent_id: text(&json["fields"]["sent_id"]),
        }
    }
}

fn lines_of_spans(spans: &[SpanData]) -> Vec<Line> {
    let attribute = |attributes: &[opentelemetry::KeyValue], key: &str| {
        let found = attributes.iter().find(|attribute| attribute.key.as_str() == key)?;
        Some(found.value.as_str().into_owned())
    };
    let mut lines = Vec::new();
    for span in spans {
        let mut around = vec![span];
        while let Some(parent) = spans
            .iter()
            .find(|parent| parent.span_context.span_id() == around[around.len() - 1].parent_span_id)
        {
            around.push(parent);
        }
        let id = around.iter().find_map(|span| attribute(&span.attributes, "transaction_id"));
        let names: Vec<_> = around.iter().rev().map(|span| span.name.to_string()).collect();
        lines.extend(span.events.iter().map(|event| Line {
            text: format!("{} {:?}", event.name, event.attributes),
            spans: names.clone(),
            id: id.clone(),
            sent_id: attribute(&event.attributes, "sent_id"),
        }));
    }
    lines
}

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SpanExporter for Written {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.spans.lock().unwrap().extend(batch);
        Ok(())
    }
}

type Boxed<S> = Box<dyn Layer<S> + Send + Sync>;

impl Setup {
    /// The layers stand in the order of axum's examples: first the filter, which applies to all.
    fn subscriber(self, written: &Written) -> Dispatch {
        let filtered = Registry::default().with(EnvFilter::new(self.filter));
        let output = self.output(written.clone());
        Dispatch::new(filtered.with(output).with(self.sentry_layer()))
    }

    fn output<S>(self, written: Written) -> Boxed<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        let fmt = tracing_subscriber::fmt::layer().with_ansi(false);
        match self.format {
            Format::Text => fmt.with_writer(move || written.clone()).boxed(),
            Format::Json => fmt.json().with_writer(move || written.clone()).boxed(),
            Format::OpenTelemetry => {
                let provider = SdkTracerProvider::builder().with_simple_exporter(written).build();
                tracing_opentelemetry::layer().with_tracer(provider.tracer("logs")).boxed()
            }
        }
    }

    fn sentry_layer<S>(self) -> Boxed<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        match self.sentry_tracing {
            SentryTracing::None => Identity::new().boxed(),
            #[allow(deprecated)]
            SentryTracing::Old => sentry::integrations::tracing::layer().boxed(),
            SentryTracing::New => SpanLayer::new()
                .with_filter(LevelFilter::INFO)
                .and_then(LogLayer::new().with_filter(LevelFilter::INFO))
                .and_then(ErrorLayer::new().with_filter(LevelFilter::ERROR))
                .boxed(),
        }
    }

    /// Runs `tell` on a single thread with this subscriber and a Sentry client of its own. Threads for
    /// blocking work have the subscriber as well.
    fn story<F, Fut>(self, tell: F)
    where
        F: FnOnce(Story) -> Fut,
        Fut: Future<Output = ()>,
    {
        log_panics();
        let written = Written::default();
        let subscriber = self.subscriber(&written);
        let options = ClientOptions::new()
            .traces_sample_rate(self.sample_rate)
            .add_integration(TransactionIdIntegration::new());
        let mut sentry = Sentry::with_options(options);
        if !self.has_client {
            sentry.hub = Arc::new(Hub::new(None, Arc::default()));
        }
        let current = if self.has_base {
            Arc::new(Hub::new(None, Arc::default()))
        } else {
            sentry.hub.clone()
        };
        let of_thread = subscriber.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .on_thread_start(move || std::mem::forget(dispatcher::set_default(&of_thread)))
            .build()
            .unwrap();
        dispatcher::with_default(&subscriber, || {
            Hub::run(current.clone(), || {
                runtime.block_on(tell(Story { setup: self, sentry, current, written }));
                drop(runtime);
            });
        });
    }
}

/// Logs panics, as many services do.
fn log_panics() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            tracing::error!("panicked");
            if info.payload().downcast_ref() != Some(&MEANT) {
                before(info);
            }
        }));
    });
}

/// The message of a panic that a story causes.
const MEANT: &str = "out of mustard";

struct Story {
    setup: Setup,
    sentry: Sentry,
    current: Arc<Hub>,
    written: Written,
}

impl Story {
    fn layer(&self) -> BindTransactionIdLayer {
        let layer = BindTransactionIdLayer::new().make_span_with(|request, id| {
            tracing::info_span!("order", path = request.uri().path(), transaction_id = %id)
        });
        if self.setup.has_base { layer.hub(&self.sentry.hub) } else { layer }
    }

    fn lines(&self) -> Vec<Line> {
        self.written.lines(self.setup.format)
    }

    /// Waits until all of `expected`, each an ID and a part of a line, are there.
    async fn wait_for_lines(&self, expected: &[(&str, &str)]) -> Vec<Line> {
        let mut missing = None;
        for _ in 0..500 {
            let lines = self.lines();
            missing = expected.iter().find(|(id, part)| {
                let mut lines = lines.iter();
                !lines.any(|line| line.id.as_deref() == Some(id) && line.text.contains(part))
            });
            if missing.is_none() {
                return lines;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{:?}: no {missing:?} in {:#?}", self.setup, self.lines());
    }

    /// Checks that the thread has no span and no ID, and has the hub that it had before the requests.
    fn check_that_nothing_is_left(&self) {
        let setup = self.setup;
        assert!(Span::current().is_none(), "{setup:?}: {:?}", Span::current());
        assert!(!OtelContext::current().has_active_span(), "{setup:?}");
        assert_eq!(TransactionId::current(), None, "{setup:?}");
        assert!(Arc::ptr_eq(&Hub::current(), &self.current), "{setup:?}");
        tracing::error!("outside");
    }
}

/// Logs `what` in a request that was sent with `sent_id`.
fn say(sent_id: &str, what: &str) {
    tracing::info!(sent_id = %sent_id, "{what}");
}

struct SayOnDrop(String, &'static str);

impl Drop for SayOnDrop {
    fn drop(&mut self) {
        say(&self.0, self.1);
    }
}

/// The ID in the header of a request.
fn sent_id(headers: &HeaderMap) -> String {
    headers["x-transaction-id"].to_str().unwrap().to_owned()
}

/// Logs from everywhere that belongs to a request.
async fn everywhere(headers: HeaderMap) -> Body {
    let id = sent_id(&headers);
    say(&id, "handled");
    sentry::configure_scope(|scope| {
        scope.set_user(Some(User { id: Some(id.clone()), ..User::default() }));
        scope.set_tag("table", &id);
    });
    // Meanwhile, this thread works on the other requests.
    yield_now().await;
    say(&id, "continued");
    tracing::error!(sent_id = %id, "burnt");

    let of_task = id.clone();
    let task = tokio::spawn(InScope::fork(async move {
        say(&of_task, "in a task");
        yield_now().await;
        say(&of_task, "later in a task");
    }));
    let of_closure = id.clone();
    spawn_blocking(InScope::fork_fn(move || say(&of_closure, "in a closure"))).await.unwrap();
    task.await.unwrap();
    job(format!("job.of.{id}")).await;
    say(&id, "after the job");

    Body::from_stream(frames(id, 3))
}

/// Work under an ID of its own.
async fn job(id: String) {
    let scope = TransactionIdScope::new(id.parse().unwrap());
    let span = scope.run(|| tracing::info_span!("job", transaction_id = %id));
    let steps = async {
        say(&id, "in a job");
        yield_now().await;
        say(&id, "later in a job");
    };
    scope.with_span(span).bind(steps).await;
}

/// A body that logs each of its frames, and its end.
fn frames(id: String, count: usize) -> impl Stream<Item = Result<&'static str, Infallible>> {
    let guard = SayOnDrop(id, "body dropped");
    stream::unfold((guard, count), async |(guard, left)| {
        yield_now().await;
        say(&guard.0, "frame");
        (left > 0).then_some((Ok("frame"), (guard, left.saturating_sub(1))))
    })
}

async fn panics_in(id: String) -> Result<&'static str, Infallible> {
    yield_now().await;
    let _guard = SayOnDrop(id, "unwound");
    panic::panic_any(MEANT)
}

fn app(layer: BindTransactionIdLayer, started: &Arc<Notify>) -> Router {
    let (started, has_frames) = (started.clone(), started.clone());
    let slow = async move |headers: HeaderMap| {
        let _guard = SayOnDrop(sent_id(&headers), "cancelled");
        started.notify_one();
        pending::<()>().await;
    };
    let endless = async move |headers: HeaderMap| {
        let frames = frames(sent_id(&headers), usize::MAX);
        let has_frames = has_frames.clone();
        Body::from_stream(frames.inspect(move |_| has_frames.notify_one()))
    };
    let panics = async |headers: HeaderMap| panics_in(sent_id(&headers)).await.unwrap();
    let panics_late = async |headers: HeaderMap| {
        let id = sent_id(&headers);
        Body::from_stream(stream::once(async move { panics_in(id).await }))
    };
    Router::new()
        .route("/caught", get(panics))
        .layer(CatchPanicLayer::new())
        .route("/", get(everywhere))
        .route("/slow", get(slow))
        .route("/endless", get(endless))
        .route("/panics", get(panics))
        .route("/panics-late", get(panics_late))
        .route("/number/{number}", get(async |Path(_): Path<u32>| ()))
        .layer(TraceLayer::new_for_http())
        .layer(layer)
}

/// A client that leaves as soon as the request has `started`.
async fn leave(address: SocketAddr, path: &str, id: &str, started: impl Future) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nhost: a\r\nx-transaction-id: {id}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    started.await;
}

async fn send(address: SocketAddr, path: &str, id: &str) -> String {
    let connection = "host: a\r\nconnection: close";
    let head = format!("GET {path} HTTP/1.1\r\n{connection}\r\nx-transaction-id: {id}\r\n\r\n");
    raw(address, head.as_bytes()).await
}

/// Sends the requests, three at a time, and checks all lines that they log.
async fn each_line_is_in_its_request(story: Story) {
    let setup = story.setup;
    let started = Arc::new(Notify::new());
    let address = serve(app(story.layer(), &started)).await;
    story.check_that_nothing_is_left();

    let at_once = ["first", "second", "third"];
    let answers = join_all(at_once.map(|id| send(address, "/", id))).await;
    for (id, answer) in at_once.iter().zip(&answers) {
        assert_eq!(echo(answer), *id, "{setup:?}");
    }
    story.check_that_nothing_is_left();
    leave(address, "/slow", "slow", started.notified()).await;
    leave(address, "/endless", "endless", started.notified()).await;
    story.check_that_nothing_is_left();
    for (path, id) in [("/caught", "caught"), ("/panics", "panics"), ("/panics-late", "late")] {
        send(address, path, id).await;
        story.check_that_nothing_is_left();
    }
    send(address, "/number/x", "rejected").await;
    job("job".to_owned()).bind_hub(story.sentry.hub.clone()).await;
    story.check_that_nothing_is_left();

    let mut expected = vec![
        ("slow", "cancelled"),
        ("endless", "frame"),
        ("endless", "body dropped"),
        ("job", "in a job"),
        ("job", "later in a job"),
    ];
    for id in at_once {
        let in_request = ["handled", "continued", "burnt", "in a task", "later in a task"];
        let after = ["in a closure", "after the job", "frame", "body dropped"];
        expected.extend(in_request.iter().chain(&after).map(|part| (id, *part)));
    }
    for id in ["job.of.first", "job.of.second", "job.of.third"] {
        expected.extend([(id, "in a job"), (id, "later in a job")]);
    }
    expected.extend(
        ["caught", "panics", "late"]
            .iter()
            .flat_map(|id| ["panicked", "unwound"].map(|part| (*id, part))),
    );
    if setup.filter == FILTERS[0] {
        expected.extend([("caught", "Service panicked"), ("rejected", "rejecting request")]);
        for id in ["first", "second", "third", "caught", "late", "rejected"] {
            expected.push((id, "started processing request"));
            expected.push((id, "finished processing request"));
        }
    }
    let lines = story.wait_for_lines(&expected).await;
    let mut outside = 0;
    for line in &lines {
        if line.text.contains("outside") {
            assert_eq!((&line.id, line.spans.len()), (&None, 0), "{setup:?}: {line:?}");
            outside += 1;
            continue;
        }
        assert!(line.id.is_some(), "{setup:?}: {line:?}");
        // The lines of `TraceLayer` do not have the sent ID.
        if line.sent_id.is_some() {
            assert_eq!(line.id, line.sent_id, "{setup:?}: {line:?}");
        }
        let outermost = if line.id.as_deref() == Some("job") { "job" } else { "order" };
        assert_eq!(line.spans[0], outermost, "{setup:?}: {line:?}");
        if line.text.contains("processing request") {
            assert_eq!(line.spans, ["order", "request"], "{setup:?}: {line:?}");
        }
    }
    // An OpenTelemetry event belongs to a span, so there is none outside of a request.
    let has_outside = !matches!(setup.format, Format::OpenTelemetry);
    assert_eq!(outside > 0, has_outside, "{setup:?}");

    check_sentry(&story);
}

/// Checks the events, logs and performance transactions that sentry-tracing sent.
fn check_sentry(story: &Story) {
    let setup = story.setup;
    if !setup.has_client {
        return;
    }
    let sent = story.sentry.take_sent();
    let mut burnt = BTreeSet::new();
    for event in sent.events {
        let id = tag(&event, "transaction_id");
        if text(&event) == "outside" {
            assert_eq!((id, event.user, event.request), (None, None, None), "{setup:?}");
            continue;
        }
        assert!(id.is_some(), "{setup:?}: {event:?}");
        if text(&event) == "burnt" {
            // The event has the tag and the user that the handler set before it waited.
            assert_eq!(tag(&event, "table"), id, "{setup:?}");
            assert_eq!(event.user.and_then(|user| user.id), id, "{setup:?}");
            burnt.extend(id);
        }
    }
    let mut logs = 0;
    for log in sent.logs.iter().filter(|log| log.body != "outside") {
        let attribute = |key: &str| log.attributes.get(key)?.0.as_str().map(str::to_owned);
        assert!(attribute("transaction_id").is_some(), "{setup:?}: {log:?}");
        if let Some(sent_id) = attribute("sent_id") {
            assert_eq!(attribute("transaction_id"), Some(sent_id), "{setup:?}: {log:?}");
        }
        logs += 1;
    }
    let mut measured = BTreeSet::new();
    for transaction in sent.transactions {
        let id = transaction.tags["transaction_id"].clone();
        // The transaction has the field of its span.
        assert_eq!(trace(&transaction.contexts).data["transaction_id"], *id, "{setup:?}");
        assert!(measured.insert(id), "{setup:?}: more than one of {transaction:?}");
    }

    let has_layer = setup.sentry_tracing != SentryTracing::None;
    assert_eq!(burnt.len(), if has_layer { 3 } else { 0 }, "{setup:?}: {burnt:?}");
    assert_eq!(logs > 0, has_layer, "{setup:?}");
    let all = ["caught", "endless", "first", "job", "late", "panics", "rejected", "second", "slow"];
    let all = all.iter().chain(&["third"]).map(|id| (*id).to_owned());
    let is_measured = has_layer && setup.sample_rate > 0.0;
    assert_eq!(measured, all.filter(|_| is_measured).collect(), "{setup:?}");
}

/// The table for one format.
fn table(format: Format) {
    for filter in FILTERS {
        let none = (SentryTracing::None, 1.0, true);
        let sentry_layers = [
            none,
            (SentryTracing::Old, 0.0, true),
            (SentryTracing::Old, 1.0, true),
            (SentryTracing::New, 0.0, true),
            (SentryTracing::New, 1.0, true),
            // Without a Sentry client, nothing is tagged. The lines have the ID all the same.
            (SentryTracing::New, 1.0, false),
        ];
        for (sentry_tracing, sample_rate, has_client) in sentry_layers {
            for has_base in [false, true] {
                if has_base && !has_client {
                    continue;
                }
                let setup =
                    Setup { format, filter, sentry_tracing, sample_rate, has_client, has_base };
                setup.story(each_line_is_in_its_request);
            }
        }
    }
}

#[test]
fn each_line_of_text_is_in_its_request() {
    table(Format::Text);
}

#[test]
fn each_line_of_json_is_in_its_request() {
    table(Format::Json);
}

#[test]
fn each_event_of_opentelemetry_is_in_its_request() {
    table(Format::OpenTelemetry);
}

#[test]
fn a_span_that_the_filter_leaves_out_does_no_harm() {
    let setup = Setup {
        format: Format::Text,
        filter: "logs=error",
        sentry_tracing: SentryTracing::New,
        sample_rate: 1.0,
        has_client: true,
        has_base: true,
    };
    setup.story(async |story| {
        let address = serve(app(story.layer(), &Arc::default())).await;
        get_with_ids(address, &[b"first"]).await;
        story.check_that_nothing_is_left();
        let lines = story.lines();
        let [burnt, outside] = &lines[..] else { panic!("{lines:#?}") };
        assert!(burnt.text.contains("burnt") && outside.text.contains("outside"), "{lines:#?}");
        assert!(burnt.spans.is_empty(), "{burnt:?}");
        let events = story.sentry.take_events();
        let tags: Vec<_> = events.iter().map(|event| tag(event, "transaction_id")).collect();
        assert_eq!(tags, [Some("first".to_owned())]);
    });
}

#[test]
fn a_refused_id_is_logged_inside_the_span_of_the_id_that_replaces_it() {
    let setup = Setup {
        format: Format::Text,
        filter: "logs=info,tower_transaction_id=debug",
        sentry_tracing: SentryTracing::None,
        sample_rate: 0.0,
        has_client: true,
        has_base: true,
    };
    setup.story(async |story| {
        let app = Router::new().route("/", get(async || ())).layer(story.layer());
        let answer = get_with_ids(serve(app).await, &[b"<secret>"]).await;
        let lines = story.lines();
        let [refused] = &lines[..] else { panic!("{lines:#?}") };
        assert!(refused.text.contains("transaction ID refused"), "{refused:?}");
        assert!(!refused.text.contains("secret"), "{refused:?}");
        assert_eq!(
            (&refused.spans[..], refused.id.as_deref()),
            (&["order".to_owned()][..], Some(echo(&answer)))
        );
    });
}

/// Panics when a span is entered.
struct Breaks;

impl<S: Subscriber> Layer<S> for Breaks {
    fn on_enter(&self, id: &span::Id, _: layer::Context<'_, S>) {
        panic!("no span can be entered, such as {id:?}");
    }
}

#[test]
fn a_panic_of_the_subscriber_is_printed_and_passed_on() {
    static PRINTED: AtomicUsize = AtomicUsize::new(0);
    support::in_child("a_panic_of_the_subscriber_is_printed_and_passed_on", || {
        panic::set_hook(Box::new(|_| _ = PRINTED.fetch_add(1, Relaxed)));
        let subscriber = Dispatch::new(Registry::default().with(Breaks));
        dispatcher::with_default(&subscriber, || {
            let scope = TransactionIdScope::new("mine".parse().unwrap());
            let scope = scope.with_span(tracing::info_span!("job"));
            let entered = panic::catch_unwind(panic::AssertUnwindSafe(|| scope.run(|| ())));
            let panic = entered.unwrap_err().downcast::<String>().unwrap();
            assert!(panic.starts_with("no span can be entered"), "{panic}");
            assert_eq!(PRINTED.load(Relaxed), 1);
            assert_eq!(TransactionId::current(), None);
        });
    });
}

thread_local! {
    static KEPT: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
}

/// The first use of something on a thread. The thread's end destroys the last of these first.
#[derive(Clone, Copy, Debug)]
enum First {
    /// The local that keeps a bound value.
    Kept,
    /// A scope without a span, which uses Sentry's hub, too.
    Scope,
    /// A scope with a span, which uses the subscriber's thread-locals, too.
    Span,
}

/// Sends the ID that is current when the witness is dropped.
struct Witness(Sender<Option<TransactionId>>);

impl Drop for Witness {
    fn drop(&mut self) {
        self.0.send(TransactionId::current()).unwrap();
    }
}

#[test]
fn at_the_end_of_a_thread_a_lost_subscriber_aborts_nothing() {
    fn scope(id: &str) -> TransactionIdScope {
        TransactionIdScope::new(id.parse().unwrap())
    }
    fn with_span(id: &str) -> TransactionIdScope {
        let scope = scope(id);
        let span = scope.run(|| tracing::info_span!("job", transaction_id = %id));
        scope.with_span(span)
    }
    fn keep_to_the_end(order: &[First], witness: Witness) {
        for first in order {
            match first {
                First::Kept => KEPT.with(|_| ()),
                First::Scope => scope("first").run(|| ()),
                First::Span => with_span("second").run(|| ()),
            }
        }
        KEPT.set(Some(Box::new(with_span("kept").bind(witness))));
    }
    const ORDERS: [&[First]; 4] = [
        &[First::Kept],
        &[First::Kept, First::Scope, First::Span],
        &[First::Scope, First::Kept, First::Span],
        &[First::Scope, First::Span, First::Kept],
    ];
    support::in_child("at_the_end_of_a_thread_a_lost_subscriber_aborts_nothing", || {
        // Sentry's panic hook uses the hub once more.
        let options = ClientOptions::new().add_integration(PanicIntegration::default());
        let sentry = Sentry::with_options(options.traces_sample_rate(1.0));
        Hub::main().bind_client(sentry.hub.client());
        for format in [Format::Text, Format::OpenTelemetry] {
            for sentry_tracing in [SentryTracing::None, SentryTracing::New] {
                for order in ORDERS {
                    // Shows the case in which the child aborted.
                    eprintln!("{format:?}, {sentry_tracing:?}, first used {order:?}");
                    let setup = Setup {
                        format,
                        filter: FILTERS[0],
                        sentry_tracing,
                        sample_rate: 1.0,
                        has_client: true,
                        has_base: false,
                    };
                    let subscriber = setup.subscriber(&Written::default());
                    let (dropped, is_dropped) = channel();
                    let thread = std::thread::spawn(move || {
                        let keep = || keep_to_the_end(order, Witness(dropped));
                        dispatcher::with_default(&subscriber, keep);
                    });
                    thread.join().unwrap();
                    let id = is_dropped.recv().unwrap();
                    assert_eq!(id.unwrap(), "kept", "{setup:?}, {order:?}");
                }
            }
        }
    });
}

//! Parts that the stories share: a Sentry client that keeps its events, servers on loopback, raw HTTP.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Once};
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use http::{HeaderValue, Uri};
use sentry::integrations::tracing::{BreadcrumbLayer, ErrorLayer, SpanLayer};
use sentry::protocol::{
    Context, EnvelopeItem, Event, ItemContainer, Log, Map, Metric, TraceContext, Transaction,
};
use sentry::test::TestTransport;
use sentry::{ClientOptions, Envelope, Hub, Level, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower_transaction_id::{BindTransactionIdLayer, TransactionIdIntegration};
use tracing_subscriber::filter::{LevelFilter, dynamic_filter_fn, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// An enabled Sentry client on a hub of its own, so that tests which run side by side do not see
/// each other's events.
pub(crate) struct Sentry {
    pub(crate) hub: Arc<Hub>,
    pub(crate) transport: Arc<TestTransport>,
}

impl Sentry {
    pub(crate) fn new() -> Self {
        Self::with_options(ClientOptions::new())
    }

    pub(crate) fn with_options(options: ClientOptions) -> Self {
        let transport = TestTransport::new();
        let kept = Arc::new(ReadBack(transport.clone()));
        let options = options.dsn("https://public@sentry.invalid/1").transport(kept);
        let hub = Arc::new(Hub::new(Some(Arc::new(options.into())), Arc::default()));
        Self { hub, transport }
    }

    /// Takes the events so far, each as its message and its tag.
    pub(crate) fn take(&self) -> Vec<(String, Option<String>)> {
        self.take_events().iter().map(|event| (text(event), tag(event, "transaction_id"))).collect()
    }

    pub(crate) fn take_events(&self) -> Vec<Event<'static>> {
        self.transport.fetch_and_clear_events()
    }

    /// Takes everything that was sent so far.
    pub(crate) fn take_sent(&self) -> Sent {
        // Logs and metrics are sent in batches.
        self.hub.client().unwrap().flush(None);
        let mut sent = Sent::default();
        for envelope in self.transport.fetch_and_clear_envelopes() {
            for item in envelope.items() {
                match item {
                    EnvelopeItem::Event(event) => sent.events.push((**event).clone()),
                    EnvelopeItem::Transaction(transaction) => {
                        sent.transactions.push((**transaction).clone());
                    }
                    EnvelopeItem::ItemContainer(ItemContainer::Logs(logs)) => {
                        sent.logs.extend(logs.clone());
                    }
                    EnvelopeItem::ItemContainer(ItemContainer::Metrics(metrics)) => {
                        sent.metrics.extend(metrics.clone());
                    }
                    _ => {}
                }
            }
        }
        sent
    }

    /// Waits for the transaction of one request, which may end after its response arrived. Fails after
    /// some seconds. Returns everything that was sent, and the transaction.
    pub(crate) async fn wait_for_transaction(&self) -> (Sent, Transaction<'static>) {
        let mut seen = Sent::default();
        for _ in 0..500 {
            let Sent { events, transactions, logs, metrics } = self.take_sent();
            seen.events.extend(events);
            seen.transactions.extend(transactions);
            seen.logs.extend(logs);
            seen.metrics.extend(metrics);
            if let Some(transaction) = seen.transactions.pop() {
                assert_eq!(seen.transactions, [], "one transaction for each request");
                return (seen, transaction);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no transaction came: {:?}", seen.events);
    }

    /// Waits until there are `count` events; fails after some seconds.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<(String, Option<String>)> {
        let mut seen = Vec::new();
        for _ in 0..500 {
            seen.extend(self.take());
            if seen.len() >= count {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("only {} of {count} events came: {seen:?}", seen.len());
    }
}

/// Everything that a client sent.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    pub(crate) events: Vec<Event<'static>>,
    pub(crate) transactions: Vec<Transaction<'static>>,
    pub(crate) logs: Vec<Log>,
    pub(crate) metrics: Vec<Metric>,
}

impl Sent {
    /// The one event with this text.
    #[track_caller]
    pub(crate) fn event(&self, wanted: &str) -> &Event<'static> {
        let found: Vec<_> = self.events.iter().filter(|event| text(event) == wanted).collect();
        match found[..] {
            [event] => event,
            _ => panic!("{} events {wanted:?} in {:?}", found.len(), self.events),
        }
    }
}

/// The trace that an event or a transaction is in.
#[track_caller]
pub(crate) fn trace(contexts: &Map<String, Context>) -> &TraceContext {
    match contexts.get("trace") {
        Some(Context::Trace(trace)) => trace,
        other => panic!("no trace: {other:?}"),
    }
}

/// Reads each envelope back with Sentry's own parser. If `$TRANSACTION_ID_EVENTS` names a file, adds the
/// events and transactions to the file, for `tests/e2e/normalise`. The file gets them as they were sent,
/// since the parser moves one start time in four by a step of `f64`.
struct ReadBack(Arc<TestTransport>);

impl Transport for ReadBack {
    fn send_envelope(&self, envelope: Envelope) {
        let mut sent = Vec::new();
        envelope.to_writer(&mut sent).unwrap();
        let read = Envelope::from_slice(&sent).expect("Sentry's parser reads what its SDK sends");
        assert_eq!(read.items().count(), envelope.items().count());
        if let Some(path) = std::env::var_os("TRANSACTION_ID_EVENTS") {
            let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
            for item in envelope.items() {
                let line = match item {
                    EnvelopeItem::Event(event) => serde_json::to_string(event).unwrap(),
                    EnvelopeItem::Transaction(transaction) => {
                        serde_json::to_string(transaction).unwrap()
                    }
                    _ => continue,
                };
                // One write for each line, since tests run side by side.
                file.write_all(format!("{line}\n").as_bytes()).unwrap();
            }
        }
        self.0.send_envelope(read);
    }
}

/// Runs a story on a single thread whose current hub is that of a fresh [`Sentry`].
pub(crate) fn story<F, Fut>(tell: F) -> Fut::Output
where
    F: FnOnce(Arc<Sentry>) -> Fut,
    Fut: Future,
{
    story_with(ClientOptions::new(), tell)
}

pub(crate) fn story_with<F, Fut>(options: ClientOptions, tell: F) -> Fut::Output
where
    F: FnOnce(Arc<Sentry>) -> Fut,
    Fut: Future,
{
    install_tracing();
    let sentry = Arc::new(Sentry::with_options(options));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    Hub::run(sentry.hub.clone(), || runtime.block_on(tell(sentry.clone())))
}

/// Runs a story with a layer on the current hub, and then with one on a base hub.
pub(crate) fn each_hub(
    options: ClientOptions,
    mut tell: impl AsyncFnMut(&Sentry, &str, BindTransactionIdLayer),
) {
    story_with(options, async |sentry| {
        let layer = BindTransactionIdLayer::new();
        tell(&sentry, "the current hub", layer.clone()).await;
        tell(&sentry, "a base", layer.hub(&sentry.hub)).await;
    });
}

/// Runs a story on each hub, without the integration and with it.
pub(crate) fn each_way(
    options: impl Fn() -> ClientOptions,
    mut tell: impl AsyncFnMut(&Sentry, &str, BindTransactionIdLayer),
) {
    let with_integration = options().add_integration(TransactionIdIntegration::new());
    for (with, options) in [("without", options()), ("with", with_integration)] {
        each_hub(options, async |sentry, hub, layer| {
            let way = format!("{hub}, {with} the integration");
            tell(sentry, &way, layer).await;
        });
    }
}

/// Runs `story` in a child process, as the test named `test`. Fails if the child aborts or fails.
pub(crate) fn in_child(test: &str, story: impl FnOnce()) {
    const IS_CHILD: &str = "TRANSACTION_ID_IS_CHILD";
    if std::env::var_os(IS_CHILD).is_some() {
        return story();
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    let child = child.args(["--exact", test, "--nocapture"]).env(IS_CHILD, "").output().unwrap();
    let stdout = String::from_utf8_lossy(&child.stdout);
    let stderr = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{}\n{stdout}\n{stderr}", child.status);
    assert!(stdout.contains("1 passed"), "there is no test {test}:\n{stdout}");
}

pub(crate) fn text(event: &Event<'_>) -> String {
    let exception = event.exception.last().and_then(|exception| exception.value.clone());
    event.message.clone().or(exception).unwrap_or_default()
}

pub(crate) fn tag(event: &Event<'_>, key: &str) -> Option<String> {
    event.tags.get(key).cloned()
}

pub(crate) fn capture(message: &str) {
    sentry::capture_message(message, Level::Error);
}

/// Captures its name when it is dropped.
pub(crate) struct CaptureOnDrop(pub &'static str);

impl Drop for CaptureOnDrop {
    fn drop(&mut self) {
        capture(self.0);
    }
}

/// A buffer of a connection. `alive` counts the buffers that are still referred to.
pub(crate) struct Buffer {
    bytes: &'static str,
    alive: Arc<AtomicUsize>,
}

impl Buffer {
    pub(crate) fn header_value(bytes: &'static str, alive: &Arc<AtomicUsize>) -> HeaderValue {
        alive.fetch_add(1, SeqCst);
        let buffer = Self { bytes, alive: alive.clone() };
        HeaderValue::from_maybe_shared(Bytes::from_owner(buffer)).unwrap()
    }

    pub(crate) fn uri(bytes: &'static str, alive: &Arc<AtomicUsize>) -> Uri {
        alive.fetch_add(1, SeqCst);
        let buffer = Self { bytes, alive: alive.clone() };
        Uri::from_maybe_shared(Bytes::from_owner(buffer)).unwrap()
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_bytes()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, SeqCst);
    }
}

/// Serves `app` on loopback until the runtime ends.
pub(crate) async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// Sends exactly the bytes of `head`. Returns the whole response as text.
pub(crate) async fn raw(address: SocketAddr, head: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head).await.unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.unwrap();
    String::from_utf8_lossy(&response).into_owned()
}

/// `GET /` with the given header lines under `x-transaction-id`.
pub(crate) async fn get_with_ids(address: SocketAddr, ids: &[&[u8]]) -> String {
    let mut head = b"GET / HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n".to_vec();
    for id in ids {
        head.extend_from_slice(b"X-Transaction-ID: ");
        head.extend_from_slice(id);
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    raw(address, &head).await
}

/// The values of all lines of a raw response under `name`, which is in lower case.
pub(crate) fn header_lines<'a>(response: &'a str, name: &str) -> Vec<&'a str> {
    let head = response.split("\r\n\r\n").next().unwrap_or_default();
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

/// The echoed ID of a raw response. Fails unless there is exactly one.
pub(crate) fn echo(response: &str) -> &str {
    match header_lines(response, "x-transaction-id")[..] {
        [id] => id,
        ref lines => panic!("not exactly one echo: {lines:?} in {response}"),
    }
}

/// The echoed ID of a response. Fails unless there is exactly one.
pub(crate) fn echoed(headers: &http::HeaderMap) -> String {
    let lines: Vec<_> = headers.get_all("x-transaction-id").iter().collect();
    assert_eq!(lines.len(), 1, "not exactly one echo: {lines:?}");
    lines[0].to_str().unwrap().to_owned()
}

pub(crate) type Never = Infallible;

/// The layer with a span for each request, as a user writes one.
pub(crate) fn logged<R>(layer: BindTransactionIdLayer<R>) -> BindTransactionIdLayer<R> {
    layer.make_span_with(|request, id| {
        let (method, path) = (request.method(), request.uri().path());
        tracing::info_span!("request", %method, path, transaction_id = %id)
    })
}

thread_local! {
    static PRINTED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static LINES_ARE_BREADCRUMBS: Cell<bool> = const { Cell::new(false) };
}

/// Installs one subscriber for the whole process, since callsites remember their subscribers across
/// threads. Errors go to the current hub, spans of requests become spans of Sentry's, and each line is
/// stored for the thread that logged it. A thread can have this crate's lines as breadcrumbs.
fn install_tracing() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let spans = SpanLayer::new().with_filter(filter_fn(|meta| meta.name() == "request"));
        let print = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(|| PrintHere)
            .with_filter(filter_fn(|meta| {
                ["it", "tower_transaction_id"]
                    .iter()
                    .any(|target| meta.target().starts_with(target))
            }));
        // A dynamic filter, because a callsite would remember the decision for the first thread.
        let breadcrumbs = BreadcrumbLayer::new().with_filter(dynamic_filter_fn(|meta, _| {
            LINES_ARE_BREADCRUMBS.get()
                && meta.is_event()
                && meta.target().starts_with("tower_transaction_id")
        }));
        tracing_subscriber::registry()
            .with(spans)
            .with(breadcrumbs)
            .with(ErrorLayer::new().with_filter(LevelFilter::ERROR))
            .with(print)
            .init();
    });
}

/// From now on, each line of this crate on this thread is a breadcrumb on the current hub, too.
pub(crate) fn have_lines_as_breadcrumbs() {
    LINES_ARE_BREADCRUMBS.set(true);
}

/// The lines that this thread printed so far.
pub(crate) fn printed() -> String {
    PRINTED.with_borrow(|printed| String::from_utf8(printed.clone()).unwrap())
}

struct PrintHere;

impl std::io::Write for PrintHere {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        PRINTED.with_borrow_mut(|printed| printed.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

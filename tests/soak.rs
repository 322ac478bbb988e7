//! A long run of everything at once: no event has another request's ID, no event is lost, and no memory
//! is kept.
//!
//! ```sh
//! cargo test --test soak                                                        # short, as in CI
//! SOAK_REQUESTS=2000000 cargo test --release --test soak -- --nocapture         # minutes
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, StatusCode};
use sentry::protocol::EnvelopeItem;
use sentry::{ClientOptions, Envelope, Hub, Level, Transport};
use tower::{ServiceBuilder, ServiceExt};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;
use tower_transaction_id::{
    AllowedHosts, BindTransactionIdLayer, InScope, InjectTransactionIdLayer, TransactionId,
    TransactionIdIntegration, TransactionIdScope,
};

const THREADS: usize = 2;
const AT_ONCE: u64 = 64;
const TENTHS: u64 = 10;

/// The failed checks. A check does not panic, since a panic in a handler becomes a response.
#[derive(Clone, Default)]
struct Wrongs(Arc<Mutex<Vec<String>>>);

impl Wrongs {
    fn check(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.0.lock().unwrap().push(what());
        }
    }
}

/// Checks the events that Sentry receives. The message of an event is the ID of its request.
#[derive(Default)]
struct Arrived {
    events: AtomicU64,
    wrongs: Wrongs,
}

impl Transport for Arrived {
    fn send_envelope(&self, envelope: Envelope) {
        for item in envelope.items() {
            let EnvelopeItem::Event(event) = item else { continue };
            self.events.fetch_add(1, Relaxed);
            let message = event.message.as_deref().unwrap_or_default();
            let tag = event.tags.get("transaction_id").map_or("", String::as_str);
            let is_own = !tag.is_empty() && message == tag;
            self.wrongs.check(is_own, || format!("event of {message} under {tag}"));
            let marked = event.tags.get("marked").map_or(tag, String::as_str);
            self.wrongs.check(marked == tag, || format!("event of {tag} with a tag of {marked}"));
        }
    }
}

/// The number of events that the handlers captured, and their failed checks.
#[derive(Clone, Default)]
struct Shop {
    captured: Arc<AtomicU64>,
    wrongs: Wrongs,
}

impl Shop {
    /// Captures an event. Its message is the ID from the request's header; its tag comes from the hub.
    fn capture(&self, id: &str) {
        self.captured.fetch_add(1, Relaxed);
        sentry::capture_message(id, Level::Info);
    }
}

struct CaptureOnDrop(Shop, String);

impl Drop for CaptureOnDrop {
    fn drop(&mut self) {
        self.0.capture(&self.1);
    }
}

/// Behaves as the path says, and captures `events` events on the way.
async fn handler(
    State(shop): State<Shop>,
    Path((what, events)): Path<(String, u32)>,
    headers: HeaderMap,
) -> Response {
    let id = headers["x-transaction-id"].to_str().unwrap().to_owned();
    let check = |place: &str| {
        let current = TransactionId::current();
        let is_own = current.as_ref().is_some_and(|current| *current == id.as_str());
        shop.wrongs.check(is_own, || format!("{place} of {id}, {current:?} is current"));
    };
    check("in the handler");
    for _ in 0..events {
        shop.capture(&id);
        tokio::task::yield_now().await;
        check("after a wait in the handler");
    }
    match what.as_str() {
        "fails" => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        // `resume_unwind` does not call the panic hook, which would print each panic.
        "panics" => std::panic::resume_unwind(Box::new("on purpose")),
        "hangs" => {
            let _guard = CaptureOnDrop(shop, id);
            std::future::pending::<()>().await;
        }
        "streams" => {
            let guard = CaptureOnDrop(shop, id);
            let frames = stream::iter(0..5).then(move |n| {
                if n == 2 {
                    guard.0.capture(&guard.1);
                }
                async {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    Ok::<_, std::convert::Infallible>(vec![b'x'; 1000])
                }
            });
            return Body::from_stream(frames).into_response();
        }
        "spawns" => {
            let task = InScope::fork(async move {
                tokio::task::yield_now().await;
                shop.capture(&id);
            });
            // Waits for the task, so that no task is under way when the events are counted.
            tokio::spawn(task).await.unwrap();
        }
        "edits" => {
            sentry::configure_scope(|scope| scope.set_tag("marked", &id));
            shop.capture(&id);
            sentry::configure_scope(|scope| scope.set_tag("transaction_id", "overwritten"));
        }
        _ => {}
    }
    StatusCode::OK.into_response()
}

async fn serve(layer: BindTransactionIdLayer, shop: Shop) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let timeout =
        TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, Duration::from_millis(30));
    let app = Router::new()
        .route("/{what}/{events}", get(handler))
        .with_state(shop)
        .layer(timeout)
        .layer(CatchPanicLayer::new())
        .layer(layer);
    tokio::spawn(axum::serve(listener, app).into_future());
    address
}

/// A small generator of random numbers. The same seed repeats a run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// The kinds of requests. A kind that is here more than once is more frequent.
const WHATS: [&str; 15] = [
    "ok",
    "ok",
    "ok",
    "ok",
    "ok",
    "fails",
    "fails",
    "panics",
    "hangs",
    "streams",
    "spawns",
    "spawns",
    "edits",
    // The client gives up before there is a response, or while its body streams.
    "cancelled",
    "left",
];

const HEADERS: [Option<&[u8]>; 8] = [
    None,
    None,
    Some(b"{n}"),
    Some(b"{n}"),
    Some(b"undefined"),
    Some(b"\xff\xfe"),
    Some(b"<script>"),
    Some(b"${jndi:ldap://x}"),
];

/// In milliseconds, and longer than any request takes.
const PATIENCE: u64 = 60_000;

#[derive(Default)]
struct Counts {
    sent: AtomicU64,
    answered: Mutex<BTreeMap<u16, u64>>,
    cancelled: AtomicU64,
}

async fn one_request(
    n: u64,
    random: &mut Random,
    client: &reqwest::Client,
    address: SocketAddr,
    counts: &Counts,
) {
    let what = random.of(&WHATS);
    let (path, expected, patience) = match what {
        "cancelled" => ("hangs", 504, 5),
        "left" => ("streams", 200, 4),
        "hangs" => (what, 504, PATIENCE),
        "fails" | "panics" => (what, 500, PATIENCE),
        _ => (what, 200, PATIENCE),
    };
    let url = format!("http://{address}/{path}/{}", random.below(4));
    let mut request = client.get(url).build().unwrap();
    let header = random.of(&HEADERS);
    if let Some(header) = header {
        let value = match header {
            b"{n}" => format!("request-{n}").into_bytes(),
            other => other.to_vec(),
        };
        let value = http::HeaderValue::from_bytes(&value).unwrap();
        request.headers_mut().insert("x-transaction-id", value);
    }
    counts.sent.fetch_add(1, Relaxed);
    // Half of the requests skip the client layer, since the layer replaces a header that is no ID.
    let through_the_layer = n.is_multiple_of(2);
    let sent = async {
        if through_the_layer {
            let layer = InjectTransactionIdLayer::new(AllowedHosts::any());
            let client = ServiceBuilder::new().layer(layer).service(client.clone());
            let scope = TransactionIdScope::new(format!("scope-{n}").parse().unwrap());
            scope.bind(client.oneshot(request)).await
        } else {
            client.execute(request).await
        }
    };
    let sent = async {
        let response = sent.await.unwrap();
        let status = response.status().as_u16();
        let echo = response.headers()["x-transaction-id"].to_str().unwrap().to_owned();
        match header {
            Some(b"{n}") => assert_eq!(echo, format!("request-{n}")),
            _ if through_the_layer => assert_eq!(echo, format!("scope-{n}")),
            _ => assert_eq!(echo.len(), 32),
        }
        let body = response.bytes().await.unwrap();
        // On a busy machine, any request may time out.
        assert!(status == expected || status == 504, "{status} for {what}");
        assert!(path != "streams" || status != 200 || body.len() == 5000);
        status
    };
    match tokio::time::timeout(Duration::from_millis(patience), sent).await {
        Ok(status) => *counts.answered.lock().unwrap().entry(status).or_default() += 1,
        Err(_) => drop(counts.cancelled.fetch_add(1, Relaxed)),
    }
}

/// Resident memory in KiB, if the system reports it.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

thread_local! {
    /// The hub of this worker when it started.
    static OWN_HUB: RefCell<Option<Arc<Hub>>> = const { RefCell::new(None) };
}

/// A runtime that checks each thread at its end: the thread has the hub of its start, and no ID.
fn runtime(wrongs: Wrongs) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .on_thread_start(|| OWN_HUB.set(Some(Hub::current())))
        .on_thread_stop(move || {
            let hub = Hub::current();
            let is_own = OWN_HUB.take().is_some_and(|own| Arc::ptr_eq(&own, &hub));
            wrongs.check(is_own, || "the hub of a thread changed".to_owned());
            let left = (TransactionId::current(), TransactionId::from_hub(&hub));
            wrongs.check(left == (None, None), || format!("{left:?} was left on a thread"));
        })
        .build()
        .unwrap()
}

#[test]
fn everything_at_once_for_a_long_time() {
    let total: u64 = std::env::var("SOAK_REQUESTS").map_or(12_000, |n| n.parse().unwrap());
    // Each round has new clients. An HTTP/2 connection closes after a thousand resets of its own, and
    // each stream that the client gives up adds one.
    let per_client = total.div_ceil(TENTHS * AT_ONCE).min(100);
    let rounds = total.div_ceil(per_client * AT_ONCE);
    let wrongs = Wrongs::default();
    let arrived = Arc::new(Arrived { wrongs: wrongs.clone(), ..Arrived::default() });
    let options = ClientOptions::new()
        .dsn("https://public@sentry.invalid/1")
        .transport(arrived.clone())
        .add_integration(TransactionIdIntegration::new());
    // Binds the client to the main hub, as `sentry::init` does, so that the workers' hubs have it.
    Hub::main().bind_client(Some(Arc::new(options.into())));
    let runtime = runtime(wrongs.clone());
    let shop = Shop { wrongs: wrongs.clone(), ..Shop::default() };
    let counts = Arc::new(Counts::default());
    let started = Instant::now();
    let mut tenths = Vec::new();
    runtime.block_on(async {
        let default = serve(BindTransactionIdLayer::new(), shop.clone()).await;
        let base = BindTransactionIdLayer::new().hub(Hub::main());
        let based = serve(base, shop.clone()).await;
        for round in 0..rounds {
            let http1 = reqwest::Client::builder().no_proxy();
            let http2 = reqwest::Client::builder().no_proxy().http2_prior_knowledge();
            let (http1, http2) = (http1.build().unwrap(), http2.build().unwrap());
            let clients = (0..AT_ONCE).map(|client| {
                let counts = counts.clone();
                let http = if client % 2 == 0 { http1.clone() } else { http2.clone() };
                let address = if client % 4 < 2 { default } else { based };
                tokio::spawn(async move {
                    let mut random = Random(round * 1000 + client);
                    for n in 0..per_client {
                        let n = (round * 1_000 + client) * 1_000 + n;
                        one_request(n, &mut random, &http, address, &counts).await;
                    }
                })
            });
            for client in clients.collect::<Vec<_>>() {
                client.await.unwrap();
            }
            if (round + 1) * TENTHS / rounds > round * TENTHS / rounds {
                tenths.push((started.elapsed(), resident()));
            }
        }
        // The server drops a cancelled request when it notices. Waits until no more events come.
        let mut before = u64::MAX;
        while before != shop.captured.load(Relaxed) {
            before = shop.captured.load(Relaxed);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    drop(runtime);

    let sent = counts.sent.load(Relaxed);
    let answered = counts.answered.lock().unwrap().clone();
    let cancelled = counts.cancelled.load(Relaxed);
    let captured = shop.captured.load(Relaxed);
    let events = arrived.events.load(Relaxed);
    let wrongs = wrongs.0.lock().unwrap();
    println!("requests             {sent:>10}");
    for (status, count) in &answered {
        println!("  answered with {status}  {count:>10}");
    }
    println!("  cancelled          {cancelled:>10}");
    println!("events captured      {captured:>10}");
    println!("  arrived            {events:>10}");
    println!("  wrong in any way   {:>10}", wrongs.len());
    println!("after      s  resident KiB");
    for (tenth, (time, resident)) in tenths.iter().enumerate() {
        let resident = resident.map_or("unknown".to_owned(), |kib| kib.to_string());
        println!("{:>4} %{:>6.0}{resident:>14}", (tenth + 1) * 10, time.as_secs_f64());
    }

    assert!(wrongs.is_empty(), "{:?}", wrongs.first());
    assert_eq!(sent, answered.values().sum::<u64>() + cancelled);
    for status in [200, 500, 504] {
        assert!(answered[&status] > 0, "no {status}");
    }
    assert!(cancelled > 0);
    assert_eq!(events, captured);
    // The first half warms up. A leak grows with every request, so it shows in the second half. Each
    // side is the least of some tenths, since the memory in use changes from moment to moment.
    let least =
        |tenths: &[(Duration, Option<u64>)]| tenths.iter().filter_map(|tenth| tenth.1).min();
    if let (Some(warm), Some(last)) = (least(&tenths[3..6]), least(&tenths[7..])) {
        let allowed = warm + warm / 20 + 4 * 1024;
        assert!(last <= allowed, "{last} KiB, after {warm} KiB half way");
    }
}

//! A long run of everything at once: no event under another request's ID, none lost, nothing kept.
//!
//! ```sh
//! cargo test --test soak                                                        # short, as in CI
//! SOAK_REQUESTS=2000000 cargo test --release --test soak -- --nocapture         # minutes
//! ```

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
const AT_ONCE: usize = 64;

/// What Sentry was sent. Each message names the request that captured it.
#[derive(Default)]
struct Arrived {
    events: AtomicU64,
    mixed_up: Mutex<Vec<String>>,
}

impl Transport for Arrived {
    fn send_envelope(&self, envelope: Envelope) {
        for item in envelope.items() {
            let EnvelopeItem::Event(event) = item else { continue };
            self.events.fetch_add(1, Relaxed);
            let message = event.message.as_deref().unwrap_or_default();
            let tag = event.tags.get("transaction_id").map_or("", String::as_str);
            if tag.is_empty() || message != tag {
                self.mixed_up.lock().unwrap().push(format!("{message} under {tag}"));
            }
        }
    }
}

/// What the handlers did.
#[derive(Clone, Default)]
struct Shop {
    captured: Arc<AtomicU64>,
}

impl Shop {
    /// Captures an event that names the request by its header, which is not what the hub goes by.
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

/// Does what the path says, and captures `events` events on the way.
async fn handler(
    State(shop): State<Shop>,
    Path((what, events)): Path<(String, u32)>,
    headers: HeaderMap,
) -> Response {
    let id = headers["x-transaction-id"].to_str().unwrap().to_owned();
    assert_eq!(TransactionId::current().unwrap(), id.as_str());
    for _ in 0..events {
        shop.capture(&id);
        tokio::task::yield_now().await;
    }
    match what.as_str() {
        "fails" => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        // Without the hook, which would print each of them.
        "panics" => std::panic::resume_unwind(Box::new("as told")),
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
                    tokio::task::yield_now().await;
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
            // Waited for, so that nothing is under way when all are counted.
            tokio::spawn(task).await.unwrap();
        }
        "edits" => sentry::configure_scope(|scope| {
            scope.set_tag("left", "behind");
            scope.set_tag("transaction_id", "overwritten");
        }),
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

/// A small generator, so that a run can be told by its seed.
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

const WHATS: [&str; 14] = [
    "ok",
    "ok",
    "ok",
    "ok",
    "ok",
    "fails",
    "fails",
    "panics",
    "hangs",
    "cancelled",
    "streams",
    "spawns",
    "spawns",
    "edits",
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
    let path = if what == "cancelled" { "hangs" } else { what };
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
    // A header that is no ID is replaced by the client layer where there is one, so that half of
    // the requests go without.
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
        assert!(what != "streams" || status != 200 || body.len() == 5000);
        status
    };
    let patience = if what == "cancelled" { 5 } else { 10_000 };
    match tokio::time::timeout(Duration::from_millis(patience), sent).await {
        Ok(status) => *counts.answered.lock().unwrap().entry(status).or_default() += 1,
        Err(_) => drop(counts.cancelled.fetch_add(1, Relaxed)),
    }
}

/// Resident memory in MiB, where the system tells.
fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * 4096 / (1 << 20))
}

#[test]
fn everything_at_once_for_a_long_time() {
    let total: u64 = std::env::var("SOAK_REQUESTS").map_or(12_000, |n| n.parse().unwrap());
    let arrived = Arc::new(Arrived::default());
    let options = ClientOptions::new()
        .dsn("https://public@sentry.invalid/1")
        .transport(arrived.clone())
        .add_integration(TransactionIdIntegration::new());
    // Bound to the main hub, as sentry::init does, so that the workers' hubs have it.
    Hub::main().bind_client(Some(Arc::new(options.into())));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .unwrap();
    let shop = Shop::default();
    let counts = Arc::new(Counts::default());
    let started = Instant::now();
    let mut memory = Vec::new();
    runtime.block_on(async {
        let default = serve(BindTransactionIdLayer::new(), shop.clone()).await;
        let base = BindTransactionIdLayer::new().hub(Hub::main());
        let based = serve(base, shop.clone()).await;
        let http1 = reqwest::Client::builder().no_proxy().build().unwrap();
        let http2 = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
        let rounds = 10;
        for round in 0..rounds {
            let per_client = total / rounds / AT_ONCE as u64;
            let clients = (0..AT_ONCE as u64).map(|client| {
                let (counts, http) =
                    (counts.clone(), if client % 2 == 0 { http1.clone() } else { http2.clone() });
                let address = if client % 4 < 2 { default } else { based };
                tokio::spawn(async move {
                    let mut random = Random(round * 1000 + client);
                    for n in 0..per_client {
                        let n = (round * 1_000 + client) * 10_000_000 + n;
                        one_request(n, &mut random, &http, address, &counts).await;
                    }
                })
            });
            for client in clients.collect::<Vec<_>>() {
                client.await.unwrap();
            }
            memory.push(resident());
        }
        // What was cancelled is dropped when the server notices; wait until nothing more comes.
        let mut before = 0;
        while before != arrived.events.load(Relaxed)
            || shop.captured.load(Relaxed) != arrived.events.load(Relaxed)
        {
            before = arrived.events.load(Relaxed);
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert!(started.elapsed() < Duration::from_secs(3600), "events are missing");
        }
        // Whichever worker they run on: nothing was left behind on it.
        let looks = (0..64).map(|_| {
            tokio::spawn(async {
                tokio::time::sleep(Duration::from_millis(1)).await;
                assert_eq!(TransactionId::current(), None);
                assert_eq!(TransactionId::from_hub(&Hub::current()), None);
            })
        });
        for look in looks.collect::<Vec<_>>() {
            look.await.unwrap();
        }
    });

    let sent = counts.sent.load(Relaxed);
    let answered = counts.answered.lock().unwrap().clone();
    let cancelled = counts.cancelled.load(Relaxed);
    println!("requests {sent} in {:.0} s", started.elapsed().as_secs_f64());
    println!("  answered  {answered:?}");
    println!("  cancelled {cancelled}");
    println!(
        "events captured {}, arrived {}",
        shop.captured.load(Relaxed),
        arrived.events.load(Relaxed)
    );
    println!("resident memory after each tenth, MiB: {memory:?}");

    assert_eq!(sent, answered.values().sum::<u64>() + cancelled);
    for status in [200, 500, 504] {
        assert!(answered[&status] > 0, "no {status}");
    }
    assert!(cancelled > 0);
    let mixed_up = arrived.mixed_up.lock().unwrap();
    assert!(mixed_up.is_empty(), "{} events, such as {:?}", mixed_up.len(), mixed_up.first());
    assert_eq!(arrived.events.load(Relaxed), shop.captured.load(Relaxed));
    // The first tenths warm up; what leaks, leaks with every request.
    if let (Some(Some(warm)), Some(Some(last))) = (memory.get(4), memory.last()) {
        assert!(*last <= warm + warm / 10 + 16, "{memory:?}");
    }
}

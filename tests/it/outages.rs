//! Sentry in trouble, and a service that is told to stop: with Sentry's own transport, over HTTP.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::{get, post};
use http::{HeaderMap, StatusCode};
use sentry::protocol::{Envelope, EnvelopeItem};
use sentry::{ClientOptions, Hub, Level};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tower_transaction_id::BindTransactionIdLayer;

use crate::support::{echo, get_with_ids, serve, tag, text};

/// The IDs of the events that a tracker was sent.
type Received = Arc<Mutex<Vec<String>>>;

/// A tracker that keeps what it is sent, and answers with `status`.
async fn tracker(status: StatusCode) -> (SocketAddr, Received) {
    async fn take(
        State((status, received)): State<(StatusCode, Received)>,
        body: Bytes,
    ) -> (StatusCode, HeaderMap) {
        for item in Envelope::from_slice(&body).unwrap().items() {
            if let EnvelopeItem::Event(event) = item {
                assert_eq!(text(event), "handled");
                received.lock().unwrap().extend(tag(event, "transaction_id"));
            }
        }
        let mut headers = HeaderMap::new();
        if status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert("retry-after", "3600".parse().unwrap());
        }
        (status, headers)
    }
    let received = Received::default();
    let app =
        Router::new().route("/api/1/envelope/", post(take)).with_state((status, received.clone()));
    (serve(app).await, received)
}

/// A tracker that accepts, and never answers.
async fn silent_tracker() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            open.push(stream);
        }
    });
    address
}

/// A hub whose client reports to `tracker` as `sentry::init` would have it.
fn hub(tracker: SocketAddr) -> Arc<Hub> {
    let options = ClientOptions::new().dsn(format!("http://key@{tracker}/1").as_str());
    let client = sentry::Client::from(sentry::apply_defaults(options));
    assert!(client.is_enabled());
    Arc::new(Hub::new(Some(Arc::new(client)), Arc::default()))
}

#[test]
fn whatever_becomes_of_the_tracker_requests_are_served_under_their_ids() {
    const REQUESTS: usize = 100;
    // Trackers on threads of their own, so that a service that were blocked could not block them.
    let trackers = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (healthy, received) = trackers.block_on(tracker(StatusCode::OK));
    let (limiting, _) = trackers.block_on(tracker(StatusCode::TOO_MANY_REQUESTS));
    let (broken, _) = trackers.block_on(tracker(StatusCode::INTERNAL_SERVER_ERROR));
    let silent = trackers.block_on(silent_tracker());
    let closed = trackers
        .block_on(async { TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap() });

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let troubles = [
            ("healthy", healthy),
            ("closed", closed),
            ("silent", silent),
            ("429", limiting),
            ("500", broken),
        ];
        for (trouble, tracker) in troubles {
            let hub = hub(tracker);
            let captured = Arc::new(AtomicUsize::new(0));
            let count = captured.clone();
            let handler = async move || {
                sentry::capture_message("handled", Level::Error);
                count.fetch_add(1, Relaxed);
            };
            let layer = BindTransactionIdLayer::new().hub(&hub);
            let address = serve(Router::new().route("/", get(handler)).layer(layer)).await;
            let started = Instant::now();
            for n in 0..REQUESTS {
                let id = format!("{trouble}-{n}");
                let response = get_with_ids(address, &[id.as_bytes()]).await;
                assert!(response.starts_with("HTTP/1.1 200"), "{trouble}: {response}");
                assert_eq!(echo(&response), id);
            }
            // Said, not asserted: how long it takes depends on the machine.
            println!("{trouble}: {REQUESTS} requests in {:?}", started.elapsed());
            assert_eq!(captured.load(Relaxed), REQUESTS);
            if trouble == "healthy" {
                let client = hub.client().unwrap();
                let closed = tokio::task::spawn_blocking(move || client.close(None));
                assert!(closed.await.unwrap());
            } else {
                // The SDK's transport waits for its thread, which a silent tracker holds up.
                std::mem::forget(hub);
            }
        }
    });
    let mut received = received.lock().unwrap().clone();
    received.sort();
    let kept = received.len();
    println!("healthy: the SDK kept {kept} of {REQUESTS}");
    received.dedup();
    assert!(kept == received.len() && kept > 0);
    assert!(received.iter().all(|id| id.starts_with("healthy-")), "{received:?}");
}

/// The service of the next test, in a process of its own. The order at its end is the one that the
/// README asks for: the server first, then Sentry's guard.
#[test]
#[ignore = "started by the next test"]
fn a_service_with_a_request_in_flight() {
    let Ok(dsn) = std::env::var("TRANSACTION_ID_TEST_DSN") else { return };
    let guard = sentry::init(dsn);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let handler = async || {
            println!("in flight");
            tokio::time::sleep(Duration::from_millis(300)).await;
            sentry::capture_message("handled", Level::Error);
        };
        let app = Router::new().route("/", get(handler)).layer(BindTransactionIdLayer::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("listening on {}", listener.local_addr().unwrap());
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
        let stop = async move {
            terminate.recv().await;
        };
        axum::serve(listener, app).with_graceful_shutdown(stop).await.unwrap();
    });
    drop(guard);
    println!("flushed");
}

#[test]
fn a_request_in_flight_at_sigterm_is_answered_and_its_event_flushed() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (tracker, received) = tracker(StatusCode::OK).await;
        let mut service =
            tokio::process::Command::from(Command::new(std::env::current_exe().unwrap()))
                .args([
                    "--ignored",
                    "--exact",
                    "--nocapture",
                    "outages::a_service_with_a_request_in_flight",
                ])
                .env("TRANSACTION_ID_TEST_DSN", format!("http://key@{tracker}/1"))
                .stdout(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .unwrap();
        let mut lines = BufReader::new(service.stdout.take().unwrap()).lines();
        let mut line_with = async |words: &str| loop {
            let line = lines.next_line().await.unwrap();
            let line = line.unwrap_or_else(|| panic!("it ended before it said {words:?}"));
            if let Some((_, rest)) = line.split_once(words) {
                return rest.to_owned();
            }
        };
        let address: SocketAddr = line_with("listening on ").await.parse().unwrap();
        let request = tokio::spawn(async move { get_with_ids(address, &[b"last-order"]).await });
        line_with("in flight").await;
        let pid = service.id().unwrap().to_string();
        let kill = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(kill.success());

        let response = request.await.unwrap();
        assert!(response.starts_with("HTTP/1.1 200"), "{response}");
        assert_eq!(echo(&response), "last-order");
        line_with("flushed").await;
        assert!(service.wait().await.unwrap().success());
        assert_eq!(*received.lock().unwrap(), ["last-order"]);
    });
}

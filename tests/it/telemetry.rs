//! Which kinds of telemetry have the ID, from each place, with and without the integration.
//!
//! This is the table of the guide's page `sentry`, cell by cell.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Path, State, WebSocketUpgrade};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::{FutureExt, SinkExt, StreamExt, stream};
use sentry::integrations::panic::PanicIntegration;
use sentry::protocol::{Context, EnvelopeItem, ItemContainer};
use sentry::{ClientOptions, Hub, Level, SentryFutureExt, TransactionContext};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tower::{ServiceBuilder, ServiceExt};
use tower_transaction_id::{
    AllowedHosts, BindTransactionIdLayer, Failures, InScope, InjectTransactionIdLayer,
    TransactionIdIntegration, TransactionIdScope,
};
use tracing::Instrument;

use crate::support::{Never, Sentry, logged, raw, serve, story_with, tag, text};

/// The rows.
const KINDS: [&str; 8] = [
    "event",
    "explicit hub",
    "transaction",
    "child span",
    "log",
    "metric",
    "panic",
    "call failure",
];

/// Emits one of each kind, here and now.
struct Emitter {
    /// A hub that no request uses.
    other_hub: Arc<Hub>,
    done: mpsc::UnboundedSender<()>,
}

impl Emitter {
    fn emit(&self) {
        sentry::capture_message("event", Level::Info);
        self.other_hub.capture_message("explicit hub", Level::Info);

        let context = TransactionContext::new("transaction", "test");
        let transaction = sentry::start_transaction(context);
        transaction.start_child("test", "child span").finish();
        transaction.finish();

        sentry::logger_info!("log");
        sentry::metrics::counter("metric", 1).capture();
        catch_unwind(AssertUnwindSafe(|| panic!("panic"))).unwrap_err();

        let failing = tower::service_fn(async |_: http::Request<()>| {
            Ok::<_, Never>(http::Response::builder().status(500).body(()).unwrap())
        });
        let layer =
            InjectTransactionIdLayer::new(AllowedHosts::any()).capture_failures(Failures::new());
        let call = ServiceBuilder::new().layer(layer).service(failing);
        let request = http::Request::get("http://kitchen.test/").body(()).unwrap();
        call.oneshot(request).now_or_never().expect("it answers at once").unwrap();

        self.done.send(()).unwrap();
    }
}

struct EmitOnDrop(Arc<Emitter>);

impl Drop for EmitOnDrop {
    fn drop(&mut self) {
        self.0.emit();
    }
}

/// The columns: emits from `place`.
async fn route(
    State(emitter): State<Arc<Emitter>>,
    Path(place): Path<String>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    match place.as_str() {
        "handler" => emitter.emit(),
        "handler, another hub" => Hub::run(emitter.other_hub.clone(), || emitter.emit()),
        "streaming body" => {
            let frames = stream::once(async move {
                tokio::task::yield_now().await;
                emitter.emit();
                Ok::<_, Never>("frame")
            });
            return Body::from_stream(frames).into_response();
        }
        "drop after cancel" => {
            let _guard = EmitOnDrop(emitter);
            std::future::pending::<()>().await;
        }
        "spawn with scope" => drop(tokio::spawn(InScope::fork(async move { emitter.emit() }))),
        "spawn with bind_hub" => {
            let hub = Hub::new_from_top(Hub::current());
            tokio::spawn(async move { emitter.emit() }.bind_hub(hub));
        }
        "spawn in_current_span" => {
            tokio::spawn(async move { emitter.emit() }.in_current_span());
        }
        "spawn bare" => drop(tokio::spawn(async move { emitter.emit() })),
        "spawn_blocking" => {
            let scope = TransactionIdScope::fork_current().unwrap();
            tokio::task::spawn_blocking(move || scope.run(|| emitter.emit())).await.unwrap();
        }
        "upgrade bound by hand" => {
            let scope = TransactionIdScope::fork_current().unwrap();
            return upgrade.unwrap().on_upgrade(|mut socket| {
                scope.bind(async move {
                    socket.recv().await;
                    emitter.emit();
                })
            });
        }
        _ => unreachable!("no such place: {place}"),
    }
    ().into_response()
}

async fn visit(address: std::net::SocketAddr, place: &str) {
    let path = place.replace(' ', "%20").replace(',', "%2C");
    let head = format!("GET /{path} HTTP/1.1\r\nhost: a\r\nx-transaction-id: mine\r\n");
    match place {
        "drop after cancel" => {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        "upgrade bound by hand" => {
            use tokio_tungstenite::tungstenite::client::IntoClientRequest;
            let url = format!("ws://{address}/{path}");
            let mut request = url.into_client_request().unwrap();
            request.headers_mut().insert("x-transaction-id", "mine".parse().unwrap());
            let stream = TcpStream::connect(address).await.unwrap();
            let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
            socket.send("go".into()).await.unwrap();
            while socket.next().await.is_some_and(|message| message.is_ok()) {}
        }
        _ => {
            raw(address, format!("{head}connection: close\r\n\r\n").as_bytes()).await;
        }
    }
}

/// The ID of each kind that was sent, if it has one.
fn collect(sentry: &Sentry) -> BTreeMap<String, Option<String>> {
    sentry.hub.client().unwrap().flush(None);
    let mut ids = BTreeMap::new();
    for envelope in sentry.transport.fetch_and_clear_envelopes() {
        for item in envelope.items() {
            match item {
                EnvelopeItem::Event(event) => {
                    let kind = match text(event) {
                        text if text.ends_with(": 500 Internal Server Error") => {
                            "call failure".to_owned()
                        }
                        text => text,
                    };
                    ids.insert(kind, tag(event, "transaction_id"));
                }
                EnvelopeItem::Transaction(transaction)
                    if transaction.name.as_deref() == Some("transaction") =>
                {
                    let id = transaction.tags.get("transaction_id").cloned();
                    ids.insert("transaction".to_owned(), id);
                    let child = &transaction.spans[0];
                    ids.insert("child span".to_owned(), child.tags.get("transaction_id").cloned());
                }
                EnvelopeItem::ItemContainer(ItemContainer::Logs(logs)) => {
                    let log = logs.iter().find(|log| log.body == "log").unwrap();
                    let id = log.attributes.get("transaction_id");
                    let id = id.map(|id| id.0.as_str().unwrap().to_owned());
                    ids.insert("log".to_owned(), id);
                }
                EnvelopeItem::ItemContainer(ItemContainer::Metrics(metrics)) => {
                    let id = metrics[0].attributes.get("transaction_id");
                    let id = id.map(|id| id.0.as_str().unwrap().to_owned());
                    ids.insert("metric".to_owned(), id);
                }
                _ => {}
            }
        }
    }
    ids
}

/// The kinds that have the ID of the request. A child span has no ID of its own: it is a part of its
/// transaction, and the transaction has the ID.
fn expected(place: &str, with_integration: bool) -> &'static [&'static str] {
    match (place, with_integration) {
        ("spawn bare", _) => &[],
        ("handler, another hub", false) => &["call failure"],
        ("handler, another hub", true) => {
            &["event", "explicit hub", "log", "metric", "panic", "call failure"]
        }
        ("spawn with bind_hub" | "spawn in_current_span", _) | (_, false) => {
            &["event", "transaction", "panic", "call failure"]
        }
        (_, true) => {
            &["event", "explicit hub", "transaction", "log", "metric", "panic", "call failure"]
        }
    }
}

#[test]
fn each_kind_of_telemetry_from_each_place() {
    for with_integration in [false, true] {
        let options = ClientOptions::new()
            .traces_sample_rate(1.0)
            .add_integration(PanicIntegration::default());
        let options = if with_integration {
            options.add_integration(TransactionIdIntegration::new())
        } else {
            options
        };
        story_with(options, |sentry| async move {
            let (done, mut is_done) = mpsc::unbounded_channel();
            let other_hub = Arc::new(Hub::new_from_top(&sentry.hub));
            let app = Router::new()
                .route("/{place}", get(route))
                .with_state(Arc::new(Emitter { other_hub, done }))
                .layer(logged(BindTransactionIdLayer::new()));
            let address = serve(app).await;
            for place in [
                "handler",
                "handler, another hub",
                "streaming body",
                "drop after cancel",
                "spawn with scope",
                "spawn with bind_hub",
                "spawn in_current_span",
                "spawn bare",
                "spawn_blocking",
                "upgrade bound by hand",
            ] {
                visit(address, place).await;
                let waited = tokio::time::timeout(Duration::from_secs(5), is_done.recv()).await;
                assert!(waited.is_ok(), "nothing was emitted from {place}");
                let ids = collect(&sentry);
                for kind in KINDS {
                    let cell = format!("{kind} from {place}, with integration: {with_integration}");
                    let id = ids.get(kind).unwrap_or_else(|| panic!("no {cell} in {ids:?}"));
                    if expected(place, with_integration).contains(&kind) {
                        assert_eq!(id.as_deref(), Some("mine"), "{cell}");
                    } else if kind == "call failure" {
                        // The call generated its own ID and sent it, and its report has that ID.
                        assert_eq!(id.as_ref().map(String::len), Some(32), "{cell}");
                    } else {
                        assert_eq!(*id, None, "{cell}");
                    }
                }
            }
        });
    }
}

#[test]
fn the_user_s_own_callbacks_run_after_and_have_the_last_word() {
    static SEEN: OnceLock<String> = OnceLock::new();
    let options = ClientOptions::new()
        .before_send_log(|mut log| {
            let id = log.attributes.remove("transaction_id");
            let _ = SEEN.set(id.unwrap().0.to_string());
            Some(log)
        })
        .before_send_metric(|metric| (metric.name != "dropped").then_some(metric))
        .add_integration(TransactionIdIntegration::new());
    story_with(options, |sentry| async move {
        let scope = TransactionIdScope::new("mine".parse().unwrap());
        scope.run(|| {
            sentry::logger_info!("log");
            sentry::metrics::counter("dropped", 1).capture();
            // The integration keeps an attribute that the user set.
            let own = sentry::metrics::counter("metric", 1).attribute("transaction_id", "own");
            own.capture();
        });
        let ids = collect(&sentry);
        assert_eq!(SEEN.get().unwrap(), "\"mine\"");
        assert_eq!(ids["log"], None);
        assert_eq!(ids["metric"].as_deref(), Some("own"));
    });
}

#[test]
fn a_context_tells_where_the_id_came_from() {
    use tower_transaction_id::Trust;
    let options = ClientOptions::new().add_integration(TransactionIdIntegration::new());
    story_with(options, |sentry| async move {
        let app = |trust| {
            Router::new()
                .fallback(async || crate::support::capture("handled"))
                .layer(BindTransactionIdLayer::new().trust(trust))
        };
        let always = serve(app(Trust::always())).await;
        let never = serve(app(Trust::never())).await;
        for (address, lines, expected) in [
            (always, &[&b"mine"[..]][..], "source=\"inbound\""),
            (always, &[], "source=\"generated\""),
            (never, &[b"mine"], "refused=\"not trusted\" source=\"generated\""),
            (
                always,
                &[b"<secret>"],
                "refused=\"only ASCII letters, digits and -_.:+/=@~ are allowed\" \
                 refused_length=8 source=\"generated\"",
            ),
            (
                always,
                &[b"one", b"other"],
                "refused=\"several values that differ\" refused_length=5 source=\"generated\"",
            ),
        ] {
            crate::support::get_with_ids(address, lines).await;
            let event = sentry.take_events().pop().unwrap();
            let Context::Other(context) = &event.contexts["transaction_id"] else { panic!() };
            let shown: Vec<_> =
                context.iter().map(|(key, value)| format!("{key}={value}")).collect();
            assert_eq!(shown.join(" "), expected);
        }
        // The ID of a scope that was opened by hand has no origin.
        let scope = TransactionIdScope::new("mine".parse().unwrap());
        scope.run(|| crate::support::capture("by hand"));
        assert!(!sentry.take_events()[0].contexts.contains_key("transaction_id"));
    });
}

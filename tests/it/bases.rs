//! `.hub(..)`: a base hub serves many requests, and no request sees data of another one.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use sentry::protocol::EnvelopeItem;
use sentry::{ClientOptions, Hub, Level, SentryFutureExt};
use sentry_tower::SentryHttpLayer;
use tokio::sync::Notify;
use tower_transaction_id::{BindTransactionIdLayer, Failures, InScope, TransactionIdScope, Trust};

use crate::support::{Sentry, capture, get_with_ids, raw, serve, story, tag, text};

async fn visit(address: std::net::SocketAddr, path: &str, id: &str) {
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-transaction-id: {id}\r\n\r\n"
    );
    raw(address, head.as_bytes()).await;
}

/// Hubs that requests leave behind, and that the tests use after the end of these requests.
#[derive(Default)]
struct Left {
    hubs: Mutex<Vec<Arc<Hub>>>,
    over: Notify,
}

async fn handler(State(left): State<Arc<Left>>, Path(what): Path<String>) {
    match what.as_str() {
        "edits" => sentry::configure_scope(|scope| {
            scope.set_tag("left", "behind");
            scope.set_tag("transaction_id", "overwritten");
            scope.set_extra("left", "behind".into());
            scope.set_user(Some(sentry::User { id: Some("42".into()), ..Default::default() }));
            scope.set_level(Some(Level::Fatal));
            scope.add_event_processor(|mut event| {
                event.message = Some("of another request".into());
                Some(event)
            });
        }),
        "crumbs" => sentry::add_breadcrumb(sentry::Breadcrumb::default()),
        "keeps its hub" => left.hubs.lock().unwrap().push(Hub::current()),
        "keeps a fork" => {
            let fork = Hub::new_from_top(Hub::current());
            left.hubs.lock().unwrap().push(Arc::new(fork));
        }
        "keeps an edited fork" => {
            let fork = Hub::new_from_top(Hub::current());
            fork.configure_scope(|scope| scope.set_tag("edited", "yes"));
            left.hubs.lock().unwrap().push(Arc::new(fork));
        }
        "spawns" => {
            let left = left.clone();
            let late = async move {
                left.over.notified().await;
                capture("late, by a task");
            };
            tokio::spawn(late.bind_hub(Hub::current()));
        }
        "forks" => {
            let left = left.clone();
            tokio::spawn(InScope::fork(async move {
                left.over.notified().await;
                capture("late, by a fork");
            }));
        }
        _ => {}
    }
    if what == "checks" {
        capture("checked");
    }
}

#[test]
fn what_one_request_did_to_its_scope_is_unseen_by_the_next() {
    story(|_| async {
        let sentry = Sentry::new();
        sentry.hub.configure_scope(|scope| {
            scope.set_tag("shop", "hot dogs");
            scope.set_extra("grill", 7.into());
        });
        let layer = BindTransactionIdLayer::new().hub(&sentry.hub);
        let app = Router::new().route("/{what}", get(handler)).with_state(Arc::default());
        let address = serve(app.layer(layer)).await;
        visit(address, "/checks", "first").await;
        let untouched = sentry.take_events().pop().unwrap();
        for (n, what) in
            ["edits", "crumbs", "keeps%20an%20edited%20fork", "checks"].iter().enumerate()
        {
            visit(address, &format!("/{what}"), &format!("busy-{n}")).await;
            sentry.take();
            let id = format!("after-{n}");
            visit(address, "/checks", &id).await;
            let mut event = sentry.take_events().pop().unwrap();
            assert_eq!(event.tags.insert("transaction_id".into(), "first".into()), Some(id));
            // Each request has a trace of its own.
            let trace = untouched.contexts["trace"].clone();
            assert_ne!(event.contexts.insert("trace".into(), trace.clone()), Some(trace));
            // Apart from the trace, the ID, the time and the event ID, the event equals the first one.
            event.timestamp = untouched.timestamp;
            event.event_id = untouched.event_id;
            assert_eq!(event, untouched, "after {what}");
        }
    });
}

#[test]
fn what_is_captured_when_a_request_is_long_over_keeps_its_id() {
    story(|_| async {
        let sentry = Sentry::new();
        let left = Arc::new(Left::default());
        let layer = BindTransactionIdLayer::new().hub(&sentry.hub);
        let app = Router::new().route("/{what}", get(handler)).with_state(left.clone());
        let address = serve(app.layer(layer)).await;
        let keepers = [
            "keeps%20its%20hub",
            "keeps%20a%20fork",
            "keeps%20an%20edited%20fork",
            "spawns",
            "forks",
        ];
        for (n, what) in keepers.iter().enumerate() {
            visit(address, &format!("/{what}"), &format!("kept-{n}")).await;
        }
        // Serves many more requests, so that each scope that can be used again has been used again.
        for n in 0..100 {
            visit(address, "/checks", &format!("check-{n}")).await;
        }
        let checked = sentry.take();
        assert_eq!(checked.len(), 100);
        for (n, (_, id)) in checked.iter().enumerate() {
            assert_eq!(id.as_deref(), Some(format!("check-{n}").as_str()));
        }

        for hub in left.hubs.lock().unwrap().iter() {
            hub.capture_message("late, by a hub", Level::Info);
        }
        left.over.notify_waiters();
        let mut late = sentry.wait_for(5).await;
        late.sort();
        let of = |text: &str, id: &str| (text.to_owned(), Some(id.to_owned()));
        assert_eq!(
            late,
            [
                of("late, by a fork", "kept-4"),
                of("late, by a hub", "kept-0"),
                of("late, by a hub", "kept-1"),
                of("late, by a hub", "kept-2"),
                of("late, by a task", "kept-3"),
            ]
        );
    });
}

#[test]
fn transactions_reports_and_untrusted_ids_come_from_a_base_too() {
    async fn fails() -> http::StatusCode {
        http::StatusCode::INTERNAL_SERVER_ERROR
    }
    story(|_| async {
        let sentry = Sentry::with_options(ClientOptions::new().traces_sample_rate(1.0));
        let layer = || BindTransactionIdLayer::new().hub(&sentry.hub);
        let app =
            Router::new().route("/", get(fails)).layer(SentryHttpLayer::new().enable_transaction());
        let plain = serve(app.clone().layer(layer())).await;
        let reports = layer().capture_failures(Failures::new());
        let reports = serve(app.clone().layer(reports)).await;
        let wary = serve(app.layer(layer().trust(Trust::never()))).await;
        for round in 0..3 {
            for (address, name) in [(plain, "plain"), (reports, "reports")] {
                let id = format!("{name}-{round}");
                get_with_ids(address, &[id.as_bytes()]).await;
                let mut kinds = Vec::new();
                for envelope in sentry.transport.fetch_and_clear_envelopes() {
                    for item in envelope.items() {
                        match item {
                            EnvelopeItem::Event(event) => {
                                assert_eq!(tag(event, "transaction_id"), Some(id.clone()));
                                assert_eq!(text(event), "GET / answered 500 Internal Server Error");
                                kinds.push("event");
                            }
                            EnvelopeItem::Transaction(transaction) => {
                                assert_eq!(transaction.tags["transaction_id"], id);
                                assert!(!transaction.tags.contains_key("upstream_transaction_id"));
                                kinds.push("transaction");
                            }
                            _ => {}
                        }
                    }
                }
                let expected: &[_] =
                    if name == "plain" { &["transaction"] } else { &["transaction", "event"] };
                assert_eq!(kinds, expected, "{id}");
            }
            get_with_ids(wary, &[b"theirs"]).await;
            let envelopes = sentry.transport.fetch_and_clear_envelopes();
            let item = envelopes[0].items().next().unwrap();
            let EnvelopeItem::Transaction(transaction) = item else { panic!("{item:?}") };
            assert_eq!(transaction.tags["upstream_transaction_id"], "theirs");
            assert_ne!(transaction.tags["transaction_id"], "theirs");
        }
    });
}

#[test]
fn a_fork_outlives_its_request() {
    story(|_| async {
        let sentry = Sentry::new();
        let scopes = Arc::new(Mutex::new(Vec::new()));
        let kept = scopes.clone();
        let layer = BindTransactionIdLayer::new().hub(&sentry.hub);
        let app = Router::new().fallback(async move || {
            kept.lock().unwrap().extend(TransactionIdScope::fork_current());
        });
        let address = serve(app.layer(layer)).await;
        for n in 0..10 {
            get_with_ids(address, &[format!("scope-{n}").as_bytes()]).await;
        }
        for scope in scopes.lock().unwrap().iter() {
            scope.run(|| capture(scope.id().as_str()));
        }
        let seen = sentry.take();
        assert_eq!(seen.len(), 10);
        assert!(seen.iter().all(|(text, tag)| Some(text) == tag.as_ref()), "{seen:?}");
    });
}

#[test]
fn once_the_client_of_a_base_is_closed_requests_are_kept_apart_all_the_same() {
    async fn login() {
        let alice = sentry::User { id: Some("alice".into()), ..Default::default() };
        sentry::configure_scope(|scope| scope.set_user(Some(alice)));
        capture("in");
    }
    story(|newer| async move {
        let base = Sentry::new();
        let layer = BindTransactionIdLayer::new().hub(&base.hub);
        let app = Router::new().route("/login", get(login)).fallback(async || capture("seen"));
        let address = serve(app.layer(layer)).await;
        base.hub.client().unwrap().close(None);
        for (path, id, user) in [("/login", "a", Some("alice")), ("/other", "b", None)] {
            visit(address, path, id).await;
            let event = newer.take_events().pop().unwrap();
            assert_eq!(tag(&event, "transaction_id").as_deref(), Some(id));
            assert_eq!(event.user.and_then(|user| user.id).as_deref(), user);
        }
        assert!(base.take().is_empty());
    });
}

#[test]
fn a_span_that_was_active_when_the_base_was_given_is_no_parent_of_requests() {
    story(|_| async {
        let sentry = Sentry::with_options(ClientOptions::new().traces_sample_rate(1.0));
        let context = sentry::TransactionContext::new("start", "app.start");
        let starting = sentry.hub.start_transaction(context);
        sentry.hub.configure_scope(|scope| scope.set_span(Some(starting.clone().into())));
        let layer = BindTransactionIdLayer::new().hub(&sentry.hub);
        starting.finish();
        let app = Router::new().fallback(async || capture("handled"));
        get_with_ids(serve(app.layer(layer)).await, &[b"mine"]).await;
        let event = sentry.take_events().pop().unwrap();
        let sentry::protocol::Context::Trace(trace) = &event.contexts["trace"] else { panic!() };
        assert_eq!(trace.op, None);
    });
}

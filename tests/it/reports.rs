//! Events that count as the report of a failing request, and the memory that reporting keeps.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse;
use axum::routing::get;
use http::{Request, StatusCode};
use sentry::{ClientOptions, Level};
use tower::ServiceExt;
use tower_transaction_id::{
    BindTransactionIdLayer, Failures, InScope, TransactionId, TransactionIdIntegration,
    TransactionIdScope,
};

use crate::support::{self, Buffer, Sentry, capture, text};

const FAILED: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;

type Captures = BindTransactionIdLayer;

fn with_integration() -> ClientOptions {
    ClientOptions::new().add_integration(TransactionIdIntegration::new())
}

/// Runs a story with failures captured on each hub.
fn each_hub(options: ClientOptions, mut story: impl AsyncFnMut(&Sentry, &str, Captures)) {
    support::each_hub(options, async |sentry, hub, layer| {
        story(sentry, hub, layer.capture_failures(Failures::new())).await;
    });
}

/// Runs a story on each hub, without the integration and with it.
fn each_way(mut story: impl AsyncFnMut(&Sentry, &str, Captures)) {
    support::each_way(ClientOptions::new, async |sentry, way, layer| {
        story(sentry, way, layer.capture_failures(Failures::new())).await;
    });
}

/// The texts of the events of `GET path`. Each event has the ID of the request.
async fn events_of(sentry: &Sentry, app: &Router, path: &str) -> Vec<String> {
    let request = Request::get(path).header("x-transaction-id", "mine").body(Body::empty());
    let response = app.clone().oneshot(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), FAILED);
    let (texts, ids): (Vec<_>, Vec<_>) = sentry.take().into_iter().unzip();
    assert!(ids.iter().all(|id| id.as_deref() == Some("mine")), "{ids:?}");
    texts
}

fn report(path: &str) -> String {
    format!("GET {path} answered 500 Internal Server Error")
}

/// Captures an error in a forked task.
async fn audits() -> StatusCode {
    tokio::spawn(InScope::fork(async { capture("audited") })).await.unwrap();
    FAILED
}

async fn audits_on_a_thread() -> StatusCode {
    let scope = TransactionIdScope::fork_current().unwrap();
    tokio::task::spawn_blocking(move || scope.run(|| capture("audited"))).await.unwrap();
    FAILED
}

async fn captures_and_audits() -> StatusCode {
    capture("by hand");
    audits().await
}

async fn captures() -> StatusCode {
    capture("by hand");
    FAILED
}

async fn fails() -> StatusCode {
    FAILED
}

#[test]
fn an_error_of_a_forked_task_does_not_stand_for_the_request() {
    each_way(async |sentry, way, layer| {
        let app = Router::new()
            .route("/audits", get(audits))
            .route("/audits-on-a-thread", get(audits_on_a_thread))
            .route("/captures-and-audits", get(captures_and_audits))
            .layer(layer);
        for path in ["/audits", "/audits-on-a-thread"] {
            let texts = events_of(sentry, &app, path).await;
            assert_eq!(texts, ["audited", &report(path)], "{way}");
        }
        let texts = events_of(sentry, &app, "/captures-and-audits").await;
        assert_eq!(texts, ["by hand", "audited"], "{way}");
    });
}

#[test]
fn a_request_that_moves_to_another_task_has_one_event() {
    async fn belongs() -> StatusCode {
        assert_eq!(TransactionId::current().unwrap(), "mine");
        sentry::configure_scope(|scope| scope.set_tag("left", "behind"));
        tokio::task::yield_now().await;
        capture("by hand");
        FAILED
    }
    async fn panics() -> StatusCode {
        panic!("by a panic")
    }
    let moves = async |request: Request<Body>, next: Next| {
        let rest = InScope::rest_of_request(next.run(request));
        assert!(rest.id().is_some());
        let response = tokio::spawn(rest).await;
        response.unwrap_or_else(|_| FAILED.into_response())
    };
    each_way(async |sentry, way, layer| {
        let app = Router::new()
            .route("/captures", get(captures))
            .route("/belongs", get(belongs))
            .route("/fails", get(fails))
            .route("/audits", get(audits))
            .route("/captures-and-audits", get(captures_and_audits))
            .route("/panics", get(panics));
        // With one middleware that moves the request to a task, and with two.
        let once = app.clone().layer(from_fn(moves)).layer(layer.clone());
        let twice = app.layer(from_fn(moves)).layer(from_fn(moves)).layer(layer);
        for app in [once, twice] {
            for (path, expected) in [
                ("/captures", &["by hand".to_owned()][..]),
                ("/belongs", &["by hand".to_owned()]),
                ("/fails", &[report("/fails")]),
                // An error of a fork does not count as the report, as in any request.
                ("/audits", &["audited".to_owned(), report("/audits")]),
                ("/captures-and-audits", &["by hand".to_owned(), "audited".to_owned()]),
                // tokio catches the panic, and this client has no panic integration.
                ("/panics", &[report("/panics")]),
            ] {
                assert_eq!(events_of(sentry, &app, path).await, expected, "{path}, {way}");
            }
        }
    });
}

#[test]
fn outside_any_request_its_rest_runs_as_it_is() {
    each_hub(ClientOptions::new(), async |sentry, _, _| {
        let rest = InScope::rest_of_request(async {
            capture("captured");
            TransactionId::current()
        });
        assert!(rest.id().is_none());
        assert_eq!(rest.await, None);
        assert_eq!(sentry.take(), [("captured".to_owned(), None)]);
        // In the scope of a job, `rest_of_request` is a fork.
        let job = TransactionIdScope::new("job".parse().unwrap());
        let rest = job.run(|| InScope::rest_of_request(async { capture("captured") }));
        tokio::spawn(rest).await.unwrap();
        assert_eq!(sentry.take(), [("captured".to_owned(), Some("job".to_owned()))]);
    });
}

#[test]
fn an_error_that_is_discarded_does_not_stand_for_the_request() {
    async fn discards_by_a_processor() -> StatusCode {
        sentry::configure_scope(|scope| {
            scope.add_event_processor(|event| (text(&event) != "by a processor").then_some(event));
        });
        capture("by a processor");
        FAILED
    }
    async fn another() -> StatusCode {
        capture("another");
        FAILED
    }
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let options = with_integration().before_send(|event| {
        ASKED.fetch_add(1, SeqCst);
        (text(&event) != "by hand").then_some(event)
    });
    each_hub(options, async |sentry, way, layer| {
        let app = Router::new()
            .route("/captures", get(captures))
            .route("/processes", get(discards_by_a_processor))
            .route("/another", get(another))
            .layer(layer);
        for (path, text, asked) in [
            ("/captures", report("/captures"), 2),
            ("/processes", report("/processes"), 1),
            // An error that Sentry receives counts as the report.
            ("/another", "another".to_owned(), 1),
        ] {
            assert_eq!(events_of(sentry, &app, path).await, [text], "{way}");
            assert_eq!(ASKED.swap(0, SeqCst), asked, "{path}, {way}");
        }
    });
}

#[test]
fn a_fork_keeps_nothing_of_its_request_alive() {
    each_way(async |sentry, way, layer| {
        for status in [StatusCode::OK, FAILED] {
            let alive = Arc::new(AtomicUsize::new(0));
            let forked = Arc::new(Mutex::new(None));
            let (seen, fork) = (alive.clone(), forked.clone());
            let handler = async move || {
                // Proves that the values above are counted.
                assert!(seen.load(SeqCst) > 0);
                *fork.lock().unwrap() = TransactionIdScope::fork_current();
                status
            };
            let app = Router::new().fallback(handler).layer(layer.clone());
            let mut request = Request::new(Body::empty());
            for (name, value) in [
                ("x-transaction-id", "mine"),
                ("sentry-trace", "09e04486820349518ac7b5d2adbf6ba5-9438b6a1d9b86aa4-1"),
                ("user-agent", "browser"),
                ("host", "shop.test"),
            ] {
                request.headers_mut().insert(name, Buffer::header_value(value, &alive));
            }
            let response = app.oneshot(request).await.unwrap();
            assert_eq!(response.status(), status);
            drop(response);
            let fork = forked.lock().unwrap().take().unwrap();
            assert_eq!(alive.load(SeqCst), 0, "{way}, {status}");
            sentry.take();
            fork.run(|| sentry::capture_message("late", Level::Info));
            assert_eq!(sentry.take(), [("late".to_owned(), Some("mine".to_owned()))]);
        }
    });
}

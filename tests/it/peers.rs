//! The server layer beside sentry-tower's layers, and in the stack that the examples recommend.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use futures_util::FutureExt;
use http::{Request, StatusCode};
use sentry::ClientOptions;
use sentry::integrations::panic::PanicIntegration;
use sentry::protocol::{Context, EnvelopeItem, SpanStatus, Transaction};
use sentry_tower::{NewSentryLayer, SentryHttpLayer};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::unconstrained;
use tower::ServiceExt;
use tower_transaction_id::{
    BindTransactionIdLayer, Failures, TransactionIdIntegration, X_TRANSACTION_ID,
};

use crate::support::{
    CaptureOnDrop, Sentry, capture, echo, echoed, get_with_ids, header_lines, logged, raw, serve,
    story_with, tag, text,
};

#[path = "../../examples/full_stack.rs"]
#[allow(dead_code)] // its shop, and its `main`
mod example;

fn traced() -> ClientOptions {
    ClientOptions::new().traces_sample_rate(1.0)
}

type Seen = (String, Option<String>, bool);

/// The events, each as its message, its tag and whether it has a request; and the transactions.
fn taken(sentry: &Sentry) -> (Vec<Seen>, Vec<Transaction<'static>>) {
    let (mut events, mut transactions) = (Vec::new(), Vec::new());
    for envelope in sentry.transport.fetch_and_clear_envelopes() {
        for item in envelope.items() {
            match item {
                EnvelopeItem::Event(event) => {
                    let id = tag(event, "transaction_id");
                    let headers = event.request.as_ref().map(|request| &request.headers);
                    let described = headers.is_some_and(|headers| !headers.is_empty());
                    events.push((text(event), id, described));
                }
                EnvelopeItem::Transaction(transaction) => {
                    transactions.push((**transaction).clone());
                }
                _ => {}
            }
        }
    }
    (events, transactions)
}

#[test]
fn sentry_tower_inside_us_adds_requests_and_transactions_under_the_id() {
    async fn handler() -> StatusCode {
        capture("handled");
        StatusCode::SERVICE_UNAVAILABLE
    }
    for enable_transaction in [false, true] {
        story_with(traced(), |sentry| async move {
            let http = SentryHttpLayer::new();
            let http = if enable_transaction { http.enable_transaction() } else { http };
            let app = Router::new()
                .route("/", get(handler))
                .route("/quiet", get(async || StatusCode::INTERNAL_SERVER_ERROR))
                .layer(http)
                // Not needed inside our layer, and harmless.
                .layer(NewSentryLayer::new_from_top())
                .layer(BindTransactionIdLayer::new().capture_failures(Failures::new()));
            let address = serve(app).await;
            for id in ["first", "second"] {
                get_with_ids(address, &[id.as_bytes()]).await;
                let (events, transactions) = taken(&sentry);
                assert_eq!(events, [("handled".to_owned(), Some(id.to_owned()), true)]);
                let tags: Vec<_> =
                    transactions.iter().map(|t| t.tags["transaction_id"].as_str()).collect();
                assert_eq!(tags, vec![id; usize::from(enable_transaction)]);
            }
            let head = b"GET /quiet HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
            raw(address, head).await;
            let (events, _) = taken(&sentry);
            assert_eq!(events.len(), 1);
            assert_eq!(events[0].0, "GET /quiet answered 500 Internal Server Error");
        });
    }
}

#[test]
fn a_cancelled_request_s_transaction_carries_its_own_id() {
    story_with(traced(), |sentry| async move {
        let app = Router::new()
            .route("/", get(async || std::future::pending::<()>().await))
            .layer(SentryHttpLayer::new().enable_transaction())
            .layer(BindTransactionIdLayer::new());
        let address = serve(app).await;
        // Both requests wait on the same thread. The first is dropped while the second still waits.
        let mut open = Vec::new();
        for id in ["first", "second"] {
            let mut client = TcpStream::connect(address).await.unwrap();
            let head = format!("GET / HTTP/1.1\r\nhost: a\r\nx-transaction-id: {id}\r\n\r\n");
            client.write_all(head.as_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            open.push(client);
        }
        for (client, id) in open.into_iter().zip(["first", "second"]) {
            drop(client);
            let mut seen = Vec::new();
            for _ in 0..500 {
                seen.extend(taken(&sentry).1);
                if !seen.is_empty() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert_eq!(seen.len(), 1);
            assert_eq!(seen[0].tags["transaction_id"], id);
            let Context::Trace(trace) = &seen[0].contexts["trace"] else { panic!() };
            assert_eq!(trace.status, Some(SpanStatus::Aborted));
        }
    });
}

#[test]
fn the_spans_of_tracing_become_transactions_under_the_id() {
    story_with(traced(), |sentry| async move {
        let app = Router::new()
            .route("/", get(async || capture("handled")))
            .layer(logged(BindTransactionIdLayer::new()));
        let address = serve(app).await;
        for id in ["first", "second"] {
            get_with_ids(address, &[id.as_bytes()]).await;
            let (events, transactions) = taken(&sentry);
            assert_eq!(events[0].1.as_deref(), Some(id));
            assert_eq!(transactions.len(), 1);
            assert_eq!(transactions[0].name.as_deref(), Some("request"));
            assert_eq!(transactions[0].tags["transaction_id"], id);
        }
    });
}

/// The stack of the example, around a route for each way to leave the stack early.
fn full_stack() -> Router {
    async fn slow() {
        let _guard = CaptureOnDrop("timed out");
        std::future::pending::<()>().await;
    }
    async fn panics() {
        panic!("out of mustard");
    }
    let routes = Router::new()
        .route("/", post(async |body: String| body))
        .route("/closed", get(async || StatusCode::INTERNAL_SERVER_ERROR))
        .route("/slow", get(slow))
        .route("/panics", get(panics));
    example::with_full_stack(routes)
}

/// Method, path, more headers and body of a request; its status and its events.
type Row = (&'static str, &'static str, &'static str, &'static str, u16, &'static [&'static str]);

#[test]
fn in_the_full_stack_each_early_return_carries_the_id() {
    let options = traced()
        .add_integration(PanicIntegration::default())
        .add_integration(TransactionIdIntegration::new());
    story_with(options, |sentry| async move {
        let address = serve(full_stack()).await;
        let preflight = "origin: https://shop.test\r\naccess-control-request-method: GET\r\n\
            access-control-request-headers: x-transaction-id\r\n";
        let too_much = "content-length: 17\r\n";
        let table: &[Row] = &[
            ("POST", "/", "content-length: 2\r\n", "ok", 200, &[]),
            ("GET", "/nowhere", "", "", 404, &[]),
            ("GET", "/", "", "", 405, &[]),
            ("POST", "/", too_much, "too large", 413, &[]),
            ("OPTIONS", "/", preflight, "", 200, &[]),
            // The guard's event is of level error, so it counts as the report of the request.
            ("GET", "/slow", "", "", 504, &["timed out"]),
            (
                "GET",
                "/panics",
                "",
                "",
                500,
                &["out of mustard", "Service panicked: out of mustard"],
            ),
            ("GET", "/closed", "", "", 500, &["GET /closed answered 500 Internal Server Error"]),
        ];
        for (method, path, headers, body, status, events) in table {
            let shown = format!("{method} {path}");
            let id = format!("mine{}-{status}", path.replace('/', "."));
            let head = format!(
                "{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\norigin: https://shop.test\r\n\
                 x-transaction-id: {id}\r\n{headers}\r\n{body}"
            );
            let response = raw(address, head.as_bytes()).await;
            assert!(response.starts_with(&format!("HTTP/1.1 {status}")), "{shown}: {response}");
            assert_eq!(echo(&response), id, "{shown}");
            let allowed = header_lines(&response, "access-control-allow-origin");
            assert_eq!(allowed, ["*"], "{shown}: {response}");

            let (seen, transactions) = taken(&sentry);
            let texts: Vec<_> = seen.iter().map(|(text, ..)| text.as_str()).collect();
            assert_eq!(texts, *events, "{shown}");
            assert!(
                seen.iter().all(|(_, tag, _)| tag.as_deref() == Some(&id)),
                "{shown}: {seen:?}"
            );
            assert!(transactions.iter().all(|t| t.tags["transaction_id"] == id), "{shown}");
        }
    });
}

#[test]
fn a_stack_that_is_full_sheds_with_the_id_and_without_an_event() {
    story_with(traced(), |sentry| async move {
        let app = full_stack();
        let send = |id: String| {
            let request = Request::get("/slow").header(X_TRANSACTION_ID, id);
            app.clone().oneshot(request.body(Body::empty()).unwrap())
        };
        let mut waiting = Vec::new();
        for n in 0..512 {
            // Without `unconstrained`, Tokio would make the task yield after so many operations.
            let mut request = Box::pin(unconstrained(send(format!("waiting-{n}"))));
            assert!(request.as_mut().now_or_never().is_none(), "{n} was not let in");
            waiting.push(request);
        }
        let response = send("one-more".to_owned()).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(echoed(response.headers()), "one-more");
        assert_eq!(sentry.take(), []);

        waiting.pop();
        let next = Box::pin(unconstrained(send("let-in".to_owned()))).now_or_never();
        assert!(next.is_none(), "there is room again");
    });
}

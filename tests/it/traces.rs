//! The trace in a caller's headers: how it is read, and when it is continued.

use axum::Router;
use axum::routing::get;
use http::StatusCode;
use sentry::ClientOptions;
use sentry::protocol::{Context, EnvelopeItem, Map};
use tower_transaction_id::{BindTransactionIdLayer, Failures, Trust};

use crate::support::{Sentry, printed, raw, serve, story_with};

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
    let told = |contexts: &Map<String, Context>| {
        let Context::Trace(trace) = &contexts["trace"] else { panic!("{contexts:?}") };
        (trace.trace_id.to_string(), trace.parent_span_id.map(|parent| parent.to_string()))
    };
    let envelopes = sentry.transport.fetch_and_clear_envelopes();
    let items = envelopes.iter().flat_map(sentry::Envelope::items);
    let traces = items.filter_map(|item| match item {
        EnvelopeItem::Event(event) => Some(told(&event.contexts)),
        EnvelopeItem::Transaction(transaction) => Some(told(&transaction.contexts)),
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
        for has_span in [false, true] {
            for lines in [
                &[valid.as_str()][..],
                &[&other, &valid],
                &[&valid, invalid],
                &[invalid, &valid],
                &[invalid, &other, &valid, invalid],
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

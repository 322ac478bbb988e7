//! The claims on all that a message or a caller can carry: pairs, `sentry-trace` and `baggage`. As in
//! `claims`, each is a function that panics if it is broken; `properties` and `fuzz/` call them.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use sentry::protocol::Context;
use sentry::test::TestTransport;
use sentry::{Hub, Level};
use tower::{ServiceBuilder, ServiceExt};
use tower_transaction_id::messages::{MessageContext, OutboundContext};
use tower_transaction_id::{
    AllowedHosts, BindTransactionIdLayer, InjectTransactionIdLayer, TransactionIdScope, Trust,
};

use super::claims::is_valid;

type Never = std::convert::Infallible;

/// Pairs lead to an ID if and only if all that name it, in any case, agree on one valid value. A message that
/// is sent on has the ID of its sender alone, and keeps all that is not ours.
pub(crate) fn any_pairs(hub: &Arc<Hub>, pairs: &[(String, Vec<u8>)]) {
    let named = |wanted: &'static str| {
        pairs.iter().filter(move |(name, _)| name.to_lowercase() == wanted).map(|(_, value)| value)
    };
    let first = named("x-transaction-id").next();
    let agreed = first.filter(|first| named("x-transaction-id").all(|value| value == *first));
    let expected = agreed.filter(|value| is_valid(value));
    let context = MessageContext::read(pairs.iter().map(|(name, value)| (name, value)));
    assert_eq!(context.id().map(|id| id.as_str().as_bytes()), expected.map(Vec::as_slice));
    // The printed text shows no value but that of a valid ID.
    if let (Some(first), None) = (first, expected)
        && let Ok(text) = std::str::from_utf8(first)
        && text.len() > 24
    {
        let printed = format!("{context:?}");
        assert!(!printed.contains(text), "{printed}");
    }
    let or = context.clone().or_id(Some("7"));
    if first.is_none() {
        assert_eq!(or.id().unwrap(), "7", "the message brings none");
    } else {
        assert_eq!(or.id().map(|id| id.as_str().as_bytes()), expected.map(Vec::as_slice));
    }

    // The same pairs as headers, if they can be headers, lead to the same ID.
    let headers: Option<HeaderMap> = pairs
        .iter()
        .map(|(name, value)| {
            let name = HeaderName::try_from(name).ok()?;
            Some((name, HeaderValue::from_bytes(value).ok()?))
        })
        .try_fold(HeaderMap::new(), |mut headers, line| {
            let (name, value) = line?;
            headers.append(name, value);
            Some(headers)
        });
    if let Some(headers) = headers {
        let of_headers = MessageContext::from(&headers);
        assert_eq!(of_headers.id(), context.id());
    }

    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let before: HashMap<_, _> = pairs.iter().map(|(name, v)| (name.clone(), text(v))).collect();
    let mut after = before.clone();
    let scope = Hub::run(hub.clone(), || TransactionIdScope::new("mine".parse().unwrap()));
    scope.run(|| OutboundContext::new().with_trace().write(&mut after));
    assert_eq!(MessageContext::from(&after).id().unwrap(), "mine");
    assert_eq!(after["X-Transaction-ID"], "mine");
    let ours = ["x-transaction-id", "sentry-trace", "baggage"];
    let others = |map: &HashMap<String, String>| -> HashMap<String, String> {
        let is_other = |name: &String| !ours.contains(&name.to_ascii_lowercase().as_str());
        map.clone().into_iter().filter(|(name, _)| is_other(name)).collect()
    };
    assert_eq!(others(&after), others(&before));
    assert_eq!(after.len(), others(&before).len() + ours.len(), "{after:?}");
    assert_trace_value(&after["sentry-trace"]);
}

/// The trace headers of a request, and whether its sender is trusted.
pub(crate) struct Carried<'a> {
    pub(crate) sentry_trace: &'a [Vec<u8>],
    pub(crate) baggage: &'a [Vec<u8>],
    pub(crate) trusted: bool,
}

/// Whatever the caller sends, the event and the call of its request are in one trace. The call has one
/// well-formed `sentry-trace`, and of the caller's `baggage` at most Sentry's members, as they are.
pub(crate) fn any_trace(hub: &Arc<Hub>, kept: &TestTransport, request: &Carried<'_>) {
    let values = |lines: &[Vec<u8>]| -> Vec<HeaderValue> {
        lines.iter().filter_map(|line| HeaderValue::from_bytes(line).ok()).collect()
    };
    let (traces, baggage) = (values(request.sentry_trace), values(request.baggage));
    let hosts = AllowedHosts::any();
    let client = ServiceBuilder::new()
        .layer(InjectTransactionIdLayer::new(hosts).propagate_trace(true))
        .service_fn(async |request: Request<()>| {
            Ok::<_, Never>(Response::new(request.into_parts().0.headers))
        });
    let trust = if request.trusted { Trust::always() } else { Trust::never() };
    let service = ServiceBuilder::new()
        .layer(BindTransactionIdLayer::new().trust(trust))
        .service_fn(async |_: Request<()>| {
            sentry::capture_message("handled", Level::Error);
            client.clone().oneshot(Request::new(())).await
        });
    let mut incoming = Request::new(());
    for line in &traces {
        incoming.headers_mut().append("sentry-trace", line.clone());
    }
    for line in &baggage {
        incoming.headers_mut().append("baggage", line.clone());
    }
    let served = Hub::run(hub.clone(), || service.oneshot(incoming).now_or_never());
    // The body of the answer holds the headers that the client sent.
    let body = served.expect("nothing in it waits").unwrap().into_body();
    let sent = body.into_inner();

    let events = kept.fetch_and_clear_events();
    assert_eq!(events.len(), 1);
    let Some(Context::Trace(of_event)) = events[0].contexts.get("trace") else {
        panic!("the event has no trace");
    };
    let lines: Vec<_> = sent.get_all("sentry-trace").iter().collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = lines[0].to_str().unwrap();
    assert_trace_value(line);
    let trace_id = of_event.trace_id.to_string();
    assert_eq!(line[..32], trace_id);

    let brings = |line: &HeaderValue| {
        line.to_str().ok().filter(|line| is_trace_value(line)).map(|line| line[..32].to_owned())
    };
    if let ([only], true) = (&traces[..], request.trusted)
        && let Some(theirs) = brings(only)
    {
        assert_eq!(trace_id, theirs, "a trusted caller's trace is continued");
    }
    let is_continued = traces
        .iter()
        .any(|line| String::from_utf8_lossy(line.as_bytes()).to_lowercase().contains(&trace_id));
    assert!(request.trusted || !is_continued, "a stranger's trace was continued");
    let members: Vec<_> = sent
        .get_all("baggage")
        .iter()
        .flat_map(|line| line.to_str().expect("visible ASCII").split(','))
        .collect();
    assert!(members.iter().all(|member| member.starts_with("sentry-")), "{members:?}");
    if is_continued {
        let theirs: Vec<_> =
            baggage.iter().map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
        let theirs: Vec<_> =
            theirs.iter().flat_map(|line| line.split(',')).map(str::trim).collect();
        assert!(members.iter().all(|member| theirs.contains(member)), "{members:?} of {theirs:?}");
        assert!(members.join(",").len() <= 8192);
    } else {
        assert_eq!(members[0], format!("sentry-trace_id={trace_id}"), "a trace of our own");
        assert_eq!(members.len(), 2, "with the public key: {members:?}");
    }
}

/// Whether `value` is a `sentry-trace` by the letter of the specification, in lower case.
fn is_trace_value(value: &str) -> bool {
    let is_hex = |text: &str, len: usize| {
        text.len() == len
            && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            && text.bytes().any(|b| b != b'0')
    };
    let parts: Vec<_> = value.split('-').collect();
    match parts[..] {
        [trace, span] => is_hex(trace, 32) && is_hex(span, 16),
        [trace, span, sampled] => {
            is_hex(trace, 32) && is_hex(span, 16) && matches!(sampled, "0" | "1")
        }
        _ => false,
    }
}

#[track_caller]
fn assert_trace_value(value: &str) {
    assert!(is_trace_value(value) && value.len() == 49, "{value}");
}

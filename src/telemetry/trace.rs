//! The trace that an inbound request belongs to, by its own account.

use http::HeaderValue;
use sentry::protocol::{OrganizationId, TraceContext};
use sentry::{Client, ClientOptions, TracePropagationContext};

/// The value of `sentry-trace` as Sentry's SDK understands it: of several lines, the last valid one,
/// without any text after the sampling decision. `None` if `client` does not continue the trace.
///
/// The lines are those of `sentry-trace` and of `baggage`.
pub(crate) fn continued_header(lines: &[Vec<HeaderValue>; 2], client: &Client) -> Option<String> {
    let [sentry_trace, baggage] = lines;
    let lines = sentry_trace.iter().filter_map(|line| line.to_str().ok());
    let context =
        TracePropagationContext::try_from_headers(lines.map(|line| ("sentry-trace", line)));
    let context = context.ok().filter(|_| may_be_continued(baggage, client.options()))?;
    Some(context.sentry_trace_header())
}

/// The next step of the trace, if `client` continues it.
pub(crate) fn continued_trace(
    lines: &[Vec<HeaderValue>; 2],
    client: &Client,
) -> Option<TraceContext> {
    // The SDK shows the parts of a trace only as this text.
    let header = continued_header(lines, client)?;
    let mut ids = header.split('-');
    Some(TraceContext {
        trace_id: ids.next()?.parse().ok()?,
        parent_span_id: Some(ids.next()?.parse().ok()?),
        op: Some("http.server".to_owned()),
        ..TraceContext::default()
    })
}

/// Decides as the SDK does when it starts a transaction, by
/// [`ClientOptions::strict_trace_continuation`]. To start one for its answer alone would call the
/// user's `traces_sampler`.
fn may_be_continued(baggage: &[HeaderValue], options: &ClientOptions) -> bool {
    let entries = baggage.iter().filter_map(|line| line.to_str().ok());
    let entries = entries.flat_map(|line| line.split(',')).filter_map(|e| e.split_once('='));
    let named = entries.filter(|(key, _)| key.trim() == "sentry-org_id");
    // An entry's properties follow a semicolon.
    let values = named.filter_map(|(_, value)| value.split(';').next());
    let theirs = values.filter_map(|value| value.trim().parse::<OrganizationId>().ok()).last();
    match (theirs, options.org_id.or_else(|| options.dsn.as_ref()?.org_id())) {
        (Some(theirs), Some(ours)) => theirs == ours,
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => !options.strict_trace_continuation,
    }
}

//! Writes the ID and the trace on a message that is sent.

use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasher;
use std::mem;

use http::HeaderMap;
use sentry::protocol::SpanStatus;
use sentry::{Hub, Span, TransactionOrSpan};

use crate::TransactionId;
use crate::header::{BAGGAGE, IdHeader, SENTRY_TRACE};
use crate::messages::context::ID_PAIR;
use crate::scope::alive::hub_is_alive;
use crate::scope::ambient_id;
use crate::scope::hub::span_of;
use crate::telemetry::trace::OutboundTrace;

/// Holds the ID and, if it is wanted, the trace of a message that is sent to a queue, a topic or a socket.
///
/// ```
/// use std::collections::HashMap;
/// use tower_transaction_id::messages::OutboundContext;
/// # use tower_transaction_id::{TransactionId, TransactionIdScope};
/// # TransactionIdScope::new("order-7".parse::<TransactionId>().unwrap()).run(|| {
///
/// // In a handler, so that there is a current ID.
/// let message = OutboundContext::new();
/// let mut headers = HashMap::new();
/// message.write(&mut headers);
/// assert_eq!(headers["X-Transaction-ID"], "order-7");
///
/// // The headers of any broker's client.
/// let mut headers = Vec::new();
/// for (name, value) in message.pairs() {
///     headers.push((name, value));
/// }
/// # assert_eq!(headers, [("X-Transaction-ID", "order-7")]);
/// # });
/// ```
#[must_use = "a context does nothing until it is written on a message"]
pub struct OutboundContext {
    id: TransactionId,
    trace: Option<OutboundTrace>,
    span: Option<Span>,
}

impl OutboundContext {
    /// Takes the current ID, as [`TransactionId::current`] returns it. Without one, takes the ID with which
    /// the current hub is tagged, and else generates an ID.
    #[allow(clippy::new_without_default)] // a default value would not suggest that there is a current ID
    pub fn new() -> Self {
        let id = ambient_id().unwrap_or_else(TransactionId::generate);
        Self { id, trace: None, span: None }
    }

    /// Adds the trace: `sentry-trace` and `baggage`. It is the trace of the span of
    /// [`in_span`](Self::in_span), else of the active span, else of the current scope. Without all three,
    /// nothing is added, since the trace of the process would tie strangers together.
    pub fn with_trace(mut self) -> Self {
        let span = self.span.clone().map(TransactionOrSpan::from).or_else(active_span);
        self.trace = OutboundTrace::of(span.as_ref());
        self
    }

    /// Measures the sending as a span `queue.publish` below the active span, and adds the trace as
    /// [`with_trace`](Self::with_trace) does, so that the worker's performance transaction hangs below the
    /// span. `name` is the queue or the topic. Without an active span, only the trace is added.
    ///
    /// The span ends by [`finish`](Self::finish). If the context is dropped before, the span is `cancelled`.
    pub fn in_span(mut self, name: &str) -> Self {
        self.end(SpanStatus::Cancelled);
        self.span = active_span().map(|parent| {
            let span = parent.start_child("queue.publish", name);
            span.set_data("messaging.destination.name", name.into());
            span
        });
        self.with_trace()
    }

    /// Returns the ID.
    #[must_use]
    pub fn id(&self) -> &TransactionId {
        &self.id
    }

    /// Returns the pairs to set on a new message: `X-Transaction-ID` and, if they are wanted, `sentry-trace`
    /// and `baggage`.
    ///
    /// For a message that is sent on, such as one for a dead-letter queue, first remove the pairs with these
    /// names, whatever their case. [`write`](Self::write) and [`write_headers`](Self::write_headers) do so.
    pub fn pairs(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let trace = self.trace.as_ref().into_iter().flat_map(OutboundTrace::pairs);
        std::iter::once((ID_PAIR, self.id.as_str())).chain(trace)
    }

    /// Sets the pairs in a map, in place of pairs with these names in any case. Members of `baggage` that
    /// are not Sentry's stay.
    pub fn write<S: BuildHasher>(&self, to: &mut HashMap<String, String, S>) {
        let mut foreign = Vec::new();
        to.retain(|name, value| {
            let is = |other: &str| name.eq_ignore_ascii_case(other);
            if self.trace.is_some() && is(BAGGAGE.as_str()) {
                foreign.push(mem::take(value));
                return false;
            }
            !(is(ID_PAIR) || self.trace.is_some() && is(SENTRY_TRACE.as_str()))
        });
        for (name, value) in self.pairs() {
            to.insert(name.to_owned(), value.to_owned());
        }
        if let Some(trace) = &self.trace
            && let Some(members) = trace.members_with(foreign.iter().map(String::as_str))
        {
            to.insert(BAGGAGE.as_str().to_owned(), members);
        }
    }

    /// Sets the pairs as headers, in place of headers with these names. Members of `baggage` that are not
    /// Sentry's stay.
    pub fn write_headers(&self, to: &mut HeaderMap) {
        IdHeader::default().set(to, &self.id);
        if let Some(trace) = &self.trace {
            trace.replace(to);
        }
    }

    /// Ends the span by the result of the sending.
    pub fn finish<T, E>(mut self, sent: &Result<T, E>) {
        self.end(if sent.is_ok() { SpanStatus::Ok } else { SpanStatus::InternalError });
    }

    fn end(&mut self, status: SpanStatus) {
        if let Some(span) = self.span.take() {
            span.set_status(status);
            span.finish();
        }
    }
}

fn active_span() -> Option<TransactionOrSpan> {
    if hub_is_alive() { span_of(Hub::current()) } else { None }
}

impl Drop for OutboundContext {
    fn drop(&mut self) {
        self.end(SpanStatus::Cancelled);
    }
}

impl fmt::Debug for OutboundContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboundContext").field("id", &self.id).finish_non_exhaustive()
    }
}

//! Beside tower-http: the ID on `TraceLayer`'s spans, and its request ID generators as ours.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use http::Request;
use sentry::{Client, Hub, TracesSamplingStrategy};
use tower_http::request_id::MakeRequestId;
use tower_http::trace::MakeSpan;
use tracing::field::Empty;
use tracing::{Level, Span};

use crate::inbound::name_of;
use crate::report::known_method;
use crate::scope::with_current;
use crate::trace::IncomingTrace;
use crate::{MakeTransactionId, TransactionId, TransactionIdScope};

/// A `MakeSpan` for tower-http's `TraceLayer` that records `transaction_id`, so that each log line
/// of a request has it.
///
/// The span is named `request` and holds the method, the path without its query, the HTTP version
/// and the ID. `TraceLayer` must stand inside
/// [`BindTransactionIdLayer`](crate::BindTransactionIdLayer), without a hop to another task between
/// them: elsewhere no ID is current, and the field stays empty.
///
/// ```
/// use axum::Router;
/// use tower_http::trace::TraceLayer;
/// use tower_transaction_id::{BindTransactionIdLayer, MakeTransactionIdSpan};
///
/// let app: Router = Router::new()
///     .layer(TraceLayer::new_for_http().make_span_with(MakeTransactionIdSpan::new()))
///     .layer(BindTransactionIdLayer::new());
/// ```
///
/// # With sentry-tracing
///
/// `TraceLayer`'s own span is of level `DEBUG`, and Sentry's `SpanLayer` with the usual filter leaves
/// it out. This one is of level `INFO`, so that `SpanLayer` makes a Sentry transaction of each
/// request. It is named by method and route, and continues the trace of an incoming `sentry-trace`;
/// where the client has tracing on, the span has the fields `sentry.name`, `sentry.op` and
/// `sentry.trace` for that. (sentry-tracing reads no `baggage`, and so continues none where the client
/// has [`strict_trace_continuation`](sentry::ClientOptions::strict_trace_continuation).)
///
/// Two things speak for leaving it out all the same. sentry-tracing forks the hub each time that a
/// span is entered, so that a user, tags or breadcrumbs that a handler sets are lost at its next
/// `.await`. And beside `SentryHttpLayer::enable_transaction` it is a second transaction.
///
/// ```
/// use sentry::integrations::tracing::SpanLayer;
/// use tracing_subscriber::filter::{LevelFilter, Targets};
/// use tracing_subscriber::prelude::*;
///
/// let spans = Targets::new()
///     .with_default(LevelFilter::INFO)
///     .with_target("tower_transaction_id", LevelFilter::OFF);
/// let subscriber = tracing_subscriber::registry()
///     .with(SpanLayer::new().with_filter(spans))
///     .with(tracing_subscriber::fmt::layer());
/// ```
#[derive(Clone, Debug)]
pub struct MakeTransactionIdSpan {
    level: Level,
}

impl MakeTransactionIdSpan {
    /// Spans of level `INFO`: a filter that lets a line of that level through would lose the ID
    /// with a span of a lower one.
    #[must_use]
    pub fn new() -> Self {
        Self { level: Level::INFO }
    }

    /// Spans of `level`.
    #[must_use]
    pub fn level(self, level: Level) -> Self {
        Self { level }
    }
}

impl Default for MakeTransactionIdSpan {
    fn default() -> Self {
        Self::new()
    }
}

impl<B> MakeSpan<B> for MakeTransactionIdSpan {
    fn make_span(&mut self, request: &Request<B>) -> Span {
        let scope = with_current(TransactionIdScope::clone);
        // Only where they are of use, since each log line shows them.
        let client = scope.as_ref().and_then(tracing_client);
        let name = client.as_ref().map(|_| name_of(request));
        let op = client.as_ref().map(|_| "http.server");
        let trusted = scope.as_ref().is_some_and(TransactionIdScope::trusts_caller);
        let trace = if trusted { IncomingTrace::of(request.headers()) } else { None };
        let trace = trace.zip(client.as_ref()).and_then(|(trace, client)| trace.header(client));
        // The level of a span is part of its call site.
        macro_rules! span {
            ($level:expr) => {
                tracing::span!(
                    $level,
                    "request",
                    method = known_method(request.method()),
                    path = request.uri().path(),
                    version = ?request.version(),
                    sentry.name = name.as_deref(),
                    sentry.op = op,
                    sentry.trace = trace.as_deref(),
                    transaction_id = Empty,
                )
            };
        }
        let span = match self.level {
            Level::ERROR => span!(Level::ERROR),
            Level::WARN => span!(Level::WARN),
            Level::INFO => span!(Level::INFO),
            Level::DEBUG => span!(Level::DEBUG),
            Level::TRACE => span!(Level::TRACE),
        };
        if let Some(scope) = &scope {
            span.record(crate::TAG, scope.id().as_str());
            // Where Sentry's span of it can be seen: on a hub that is current while it is entered.
            if let Some(notes) = scope.notes() {
                span.in_scope(|| notes.note_span(Hub::current()));
            }
        }
        span
    }
}

/// The client of `scope`, if it has tracing on.
fn tracing_client(scope: &TransactionIdScope) -> Option<Arc<Client>> {
    scope.hub()?.client().filter(|client| {
        !matches!(client.options().traces_sampling_strategy, TracesSamplingStrategy::Disabled)
    })
}

/// A tower-http `MakeRequestId` as the generator of
/// [`BindTransactionIdLayer::make_id`](crate::BindTransactionIdLayer::make_id).
///
/// What it yields is held to the rules of [`TransactionId`]; where it yields nothing valid, an ID is
/// minted. The generator is shared by all clones of the service, behind a lock.
///
/// ```
/// use tower_http::request_id::MakeRequestUuid;
/// use tower_transaction_id::{BindTransactionIdLayer, FromMakeRequestId};
///
/// let layer = BindTransactionIdLayer::new().make_id(FromMakeRequestId::new(MakeRequestUuid));
/// ```
pub struct FromMakeRequestId<M>(Arc<Mutex<M>>);

impl<M: MakeRequestId> FromMakeRequestId<M> {
    /// Adapts `make_request_id`.
    pub fn new(make_request_id: M) -> Self {
        Self(Arc::new(Mutex::new(make_request_id)))
    }
}

impl<M: MakeRequestId> MakeTransactionId for FromMakeRequestId<M> {
    fn make<B>(&self, request: &Request<B>) -> Option<TransactionId> {
        let mut make = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let id = make.make_request_id(request)?;
        drop(make);
        id.into_header_value().try_into().ok()
    }
}

impl<M> Clone for FromMakeRequestId<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> fmt::Debug for FromMakeRequestId<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromMakeRequestId").finish_non_exhaustive()
    }
}

//! Beside tower-http: the ID on `TraceLayer`'s spans, and its request ID generators as ours.

use http::Request;
use sentry::Hub;
use tower_http::request_id::MakeRequestId;
use tower_http::trace::MakeSpan;
use tracing::field::Empty;
use tracing::{Level, Span};

use crate::TransactionId;
use crate::scope::current::current_slot;
use crate::scope::pool::Slot;
use crate::scope::record::{RecordOptions, RequestRecord};
use crate::telemetry::report::known_method;
use crate::telemetry::request::full_name;

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
        let slot = current_slot();
        let work = slot.as_deref().map(Slot::work);
        // Only where they are of use, since each log line shows them.
        let client =
            work.filter(|work| work.options.traces).and_then(|work| work.hub.as_ref()?.client());
        let record = RequestRecord::of(
            request,
            RecordOptions::default(),
            client.is_some() && work.is_some_and(|work| work.trusts_caller),
            false,
        );
        let name = client.as_ref().map(|_| full_name(&record));
        let op = client.as_ref().map(|_| "http.server");
        let trace = record.incoming_trace.as_deref().zip(client.as_ref());
        let trace = trace.and_then(|(trace, client)| trace.header(client));
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
        if let Some(work) = work {
            span.record(TransactionId::TAG, work.id.as_str());
            // Where Sentry's span of it can be seen: on a hub that is current while it is entered.
            if client.is_some() {
                span.in_scope(|| work.note_span(Hub::current()));
            }
        }
        span
    }
}

/// A tower-http `MakeRequestId` of one service, which clones it as the service is cloned.
pub(crate) trait MakePerService: Send + Sync {
    fn make(&mut self, request: &Request<()>) -> Option<TransactionId>;
    fn boxed_clone(&self) -> Box<dyn MakePerService>;
}

impl<M: MakeRequestId + Clone + Send + Sync + 'static> MakePerService for M {
    fn make(&mut self, request: &Request<()>) -> Option<TransactionId> {
        self.make_request_id(request)?.into_header_value().try_into().ok()
    }

    fn boxed_clone(&self) -> Box<dyn MakePerService> {
        Box::new(self.clone())
    }
}

//! The raw record of a request: counted references to the parts of the request that an event may need.
//! `telemetry` renders the record, and only when an event is captured.

use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use sentry::protocol::{SpanId, TraceContext, TraceId};
use sentry::{ClientOptions, Hub, TracesSamplingStrategy, Transaction};

use crate::InvalidTransactionId;

/// The route that the framework matched.
#[cfg(feature = "axum")]
pub(crate) type Route = axum::extract::MatchedPath;
/// No framework is known, so there are no routes.
#[cfg(not(feature = "axum"))]
#[derive(Clone)]
pub(crate) enum Route {}

#[cfg(not(feature = "axum"))]
impl Route {
    pub(crate) fn as_str(&self) -> &str {
        match *self {}
    }
}

/// The record of the work in one scope.
#[derive(Default)]
pub(crate) struct Record {
    /// `None` for a scope that no layer opened.
    pub(crate) origin: Option<Origin>,
    pub(crate) request: Option<RequestRecord>,
    /// The kind of the message, if the work is a message.
    pub(crate) message: Option<Arc<MessageKind>>,
    /// The trace that the request came with. Only the trace of a trusted caller is recorded.
    pub(crate) incoming_trace: Option<Box<IncomingTrace>>,
    /// The trace of the work if no span is active. The trace is generated, or read from the request, when
    /// it is first needed.
    pub(crate) trace: OnceLock<Box<Trace>>,
    /// The traces that work without a trace of its own gets. They are kept here, since a log line is too
    /// cheap to ask the hubs each time.
    pub(crate) fallback_traces: OnceLock<Box<[Option<TraceId>; 2]>>,
    /// The context of the span in which the request is handled. The span is over when the failure of the
    /// request is reported, so its context is kept here.
    pub(crate) span: OnceLock<Box<TraceContext>>,
    /// Whether an event that was captured in the request stands for its failure.
    is_reported: AtomicBool,
}

/// The options of the client of a scope that matter while it records.
#[derive(Clone, Copy, Default)]
pub(crate) struct RecordOptions {
    pub(crate) sends_pii: bool,
    /// Whether the client may make spans.
    pub(crate) traces: bool,
    pub(crate) max_breadcrumbs: usize,
    /// The trace that work without a trace of its own gets, if this trace is known beforehand.
    pub(crate) fallback_trace: Option<TraceId>,
}

impl RecordOptions {
    pub(crate) fn of(options: &ClientOptions) -> Self {
        Self {
            sends_pii: options.send_default_pii,
            traces: !matches!(options.traces_sampling_strategy, TracesSamplingStrategy::Disabled),
            max_breadcrumbs: options.max_breadcrumbs,
            fallback_trace: None,
        }
    }
}

/// The hub of a scope, and the options of its client that matter while a request is recorded.
pub(crate) struct ScopeHub {
    pub(crate) hub: Arc<Hub>,
    pub(crate) options: RecordOptions,
    /// Whether the events of the hub are completed from the record.
    pub(crate) completes_events: bool,
}

/// The origin of the ID of a scope.
#[derive(Clone, Copy)]
pub(crate) enum Origin {
    Inbound,
    Generated(Option<Refusal>),
}

/// The reason for which an inbound ID was not kept.
#[derive(Clone, Copy)]
pub(crate) enum Refusal {
    Invalid(InvalidTransactionId),
    Untrusted,
}

/// An inbound request.
#[derive(Clone)]
pub(crate) struct RequestRecord {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: RecordedHeaders,
    pub(crate) route: Option<Route>,
    /// Whether the request is shown on every event, and not only on the report of its failure.
    pub(crate) is_shown: bool,
}

/// The kind of a message: its queue, job or method.
#[derive(Clone)]
pub(crate) struct MessageKind {
    pub(crate) name: Arc<str>,
    /// Sentry's operation, such as `queue.process`.
    pub(crate) op: &'static str,
}

impl MessageKind {
    /// Returns the category of the operation, such as `queue`.
    pub(crate) fn category(&self) -> &'static str {
        self.op.split('.').next().unwrap_or(self.op)
    }
}

/// The lines of the headers `sentry-trace` and `baggage`, which name the trace of the caller.
#[derive(Clone)]
pub(crate) struct IncomingTrace {
    pub(crate) sentry_trace: Vec<HeaderValue>,
    pub(crate) baggage: Vec<HeaderValue>,
}

/// The trace of a request or a job: the trace of its caller, or a trace of its own.
#[allow(clippy::struct_field_names)] // Sentry's names
#[derive(Clone, Copy)]
pub(crate) struct Trace {
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: SpanId,
    /// The span of the caller, if the trace is the caller's.
    pub(crate) parent_span_id: Option<SpanId>,
}

/// The performance transaction of a request: Sentry's measurement of its time, not its ID.
pub(crate) struct Performance {
    pub(crate) transaction: Transaction,
    /// Whether the transaction is sent to Sentry, so that its details are worth their cost.
    pub(crate) is_sampled: bool,
    /// Whether the inner service panicked. A layer further out may catch the panic.
    pub(crate) has_panicked: AtomicBool,
    /// The time at which the response was complete or failed. This may be before the last drop.
    pub(crate) ended: OnceLock<SystemTime>,
}

/// The headers that an event shows.
#[derive(Clone)]
pub(crate) enum RecordedHeaders {
    /// The values of the headers [`RecordedHeaders::NAMES`].
    Few([Option<HeaderValue>; 4]),
    /// All headers, for a Sentry client that sends personal data.
    All(Box<HeaderMap>),
}

impl RecordedHeaders {
    pub(crate) const NAMES: [http::HeaderName; 4] = [
        http::header::HOST,
        http::header::USER_AGENT,
        http::header::CONTENT_TYPE,
        http::header::CONTENT_LENGTH,
    ];
}

/// An outbound call that has ended.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) target: Target,
    /// The start by the clock of Sentry's breadcrumbs, so that the call has the same place among the
    /// breadcrumbs on each event.
    pub(crate) started: SystemTime,
    pub(crate) ended: SystemTime,
    pub(crate) outcome: Outcome,
}

/// The target of a call.
#[derive(Clone)]
pub(crate) enum Target {
    Uri(Uri),
    #[cfg(feature = "reqwest")]
    Url(sentry::protocol::Url),
}

impl Default for Target {
    fn default() -> Self {
        Self::Uri(Uri::default())
    }
}

/// The outcome of a call.
#[derive(Clone)]
pub(crate) enum Outcome {
    /// The call got a response with this status. The code is that of a gRPC response without a body.
    Answered(StatusCode, Option<i32>),
    /// The call failed with an error. The text is there if the type of the error can be read.
    Failed(Option<Box<str>>),
    Cancelled,
}

impl Record {
    /// Notes that an event stands for the failure of the request.
    pub(crate) fn note_report(&self) {
        self.is_reported.store(true, Relaxed);
    }

    pub(crate) fn is_reported(&self) -> bool {
        self.is_reported.load(Relaxed)
    }

    #[inline]
    pub(crate) fn reset(&mut self) {
        self.origin = None;
        self.request = None;
        self.message = None;
        self.incoming_trace = None;
        *self.is_reported.get_mut() = false;
        if self.trace.get().is_some() || self.fallback_traces.get().is_some() {
            (self.trace, self.fallback_traces) = Default::default();
        }
        if self.span.get().is_some() {
            self.span = OnceLock::new();
        }
    }

    /// Returns the record for a fork. This record keeps no buffer of the request alive.
    pub(crate) fn fork(&self) -> Self {
        let mut fork = Self {
            origin: self.origin,
            request: self.request.clone(),
            message: self.message.clone(),
            incoming_trace: self.incoming_trace.clone(),
            trace: self.trace.clone(),
            ..Self::default()
        };
        fork.unshare();
        fork
    }

    /// Copies all values out of the buffers that they share with the request.
    pub(crate) fn unshare(&mut self) {
        if let Some(lines) = &mut self.incoming_trace {
            lines.sentry_trace.iter_mut().chain(&mut lines.baggage).for_each(unshare_value);
        }
        let Some(request) = &mut self.request else { return };
        unshare_uri(&mut request.uri);
        match &mut request.headers {
            RecordedHeaders::Few(values) => values.iter_mut().flatten().for_each(unshare_value),
            RecordedHeaders::All(headers) => headers.values_mut().for_each(unshare_value),
        }
    }
}

/// The calls of a scope, up to a limit. Beyond the limit, the oldest calls are dropped.
#[derive(Default)]
pub(crate) struct Calls(Mutex<VecDeque<Call>>);

impl Calls {
    pub(crate) fn push(&self, call: Call, limit: usize) {
        let mut calls = self.lock();
        while calls.len() >= limit.max(1) {
            calls.pop_front();
        }
        if limit > 0 {
            calls.push_back(call);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Returns a copy of the calls, so that no foreign code runs under the lock.
    pub(crate) fn snapshot(&self) -> Vec<Call> {
        self.lock().iter().cloned().collect()
    }

    /// Adds copies of the calls of `other`, which share no buffers with it.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        let calls = self.get_mut();
        calls.extend(other.lock().iter().cloned());
        calls.iter_mut().for_each(Call::unshare);
    }

    pub(crate) fn unshare(&mut self) {
        self.get_mut().iter_mut().for_each(Call::unshare);
    }

    #[inline]
    pub(crate) fn clear(&mut self) {
        let calls = self.get_mut();
        if !calls.is_empty() {
            calls.clear();
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Call>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get_mut(&mut self) -> &mut VecDeque<Call> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Call {
    /// Copies the URI into a buffer of its own: a handler may have built the URI from parts of the URI of
    /// its request.
    fn unshare(&mut self) {
        match &mut self.target {
            Target::Uri(uri) => unshare_uri(uri),
            // A `Url` owns its text.
            #[cfg(feature = "reqwest")]
            Target::Url(_) => {}
        }
    }
}

fn unshare_value(value: &mut HeaderValue) {
    if let Ok(copy) = HeaderValue::from_bytes(value.as_bytes()) {
        let is_sensitive = value.is_sensitive();
        *value = copy;
        value.set_sensitive(is_sensitive);
    }
}

fn unshare_uri(uri: &mut Uri) {
    if let Ok(copy) = Uri::from_maybe_shared(Bytes::from(uri.to_string())) {
        *uri = copy;
    }
}

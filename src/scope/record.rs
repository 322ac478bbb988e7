//! The raw record of a request: counted references to its parts, which an event may need. It is
//! rendered in `telemetry`, and only when an event is captured.

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
#[cfg(not(feature = "axum"))]
pub(crate) type Route = std::convert::Infallible;

/// Everything that is recorded of the work in one scope.
#[derive(Default)]
pub(crate) struct Record {
    /// `None` for a scope that no layer opened.
    pub(crate) origin: Option<Origin>,
    pub(crate) request: Option<RequestRecord>,
    /// The trace of the work, where no span is active: generated or read when it is first needed.
    pub(crate) trace: OnceLock<Box<Trace>>,
    /// The traces of all work that has none. A log line is too cheap to ask the hubs each time.
    pub(crate) fallback_traces: OnceLock<Box<[Option<TraceId>; 2]>>,
    /// Of the span that the request is handled in, which is over when its failure is reported.
    pub(crate) span: OnceLock<Box<TraceContext>>,
    /// Whether an event that was captured in the request stands for its failure.
    is_reported: AtomicBool,
}

/// The options of the client of a scope that matter while it records.
#[derive(Clone, Copy, Default)]
pub(crate) struct RecordOptions {
    pub(crate) sends_pii: bool,
    /// Whether there may be spans.
    pub(crate) traces: bool,
    pub(crate) max_breadcrumbs: usize,
    /// The trace of all work that has none, if it is known beforehand.
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
    /// Whether its events are completed from the record.
    pub(crate) completes_events: bool,
}

/// Where the ID of a scope came from.
#[derive(Clone, Copy)]
pub(crate) enum Origin {
    Inbound,
    Generated(Option<Refusal>),
}

/// Why an ID that came in was not kept.
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
    /// Of a caller that is trusted.
    pub(crate) incoming_trace: Option<Box<IncomingTrace>>,
    /// Whether events that are not the report of its failure show the request.
    pub(crate) is_shown: bool,
}

/// The lines of the headers that name the trace of the caller.
#[derive(Clone)]
pub(crate) struct IncomingTrace {
    pub(crate) sentry_trace: Vec<HeaderValue>,
    pub(crate) baggage: Vec<HeaderValue>,
}

/// The trace of a request or a job: that of its caller, or one of its own.
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
    /// Whether it is sent to Sentry, and so worth its details.
    pub(crate) is_sampled: bool,
    /// Set when the response is complete or has failed, which may be before the last drop.
    pub(crate) ended: OnceLock<SystemTime>,
}

/// The headers that an event shows.
#[derive(Clone)]
pub(crate) enum RecordedHeaders {
    /// Those of [`RecordedHeaders::NAMES`].
    Few([Option<HeaderValue>; 4]),
    /// For a client that sends personal data.
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

/// An outbound call that is over.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) target: Target,
    /// By the clock of Sentry's breadcrumbs, so that the call has one place among them on each event.
    pub(crate) started: SystemTime,
    pub(crate) ended: SystemTime,
    pub(crate) outcome: Outcome,
}

/// Where a call goes.
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

/// How a call ended.
#[derive(Clone)]
pub(crate) enum Outcome {
    /// With a status, and with the gRPC code of a response without a body.
    Answered(StatusCode, Option<i32>),
    /// With an error, whose text is there if its type can be read.
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

    pub(crate) fn reset(&mut self) {
        self.origin = None;
        self.request = None;
        *self.is_reported.get_mut() = false;
        if self.trace.get().is_some() || self.fallback_traces.get().is_some() {
            (self.trace, self.fallback_traces) = Default::default();
        }
        if self.span.get().is_some() {
            self.span = OnceLock::new();
        }
    }

    /// The record of a fork, which keeps no buffer of the request alive.
    pub(crate) fn fork(&self) -> Self {
        let mut fork = Self {
            origin: self.origin,
            request: self.request.clone(),
            trace: self.trace.clone(),
            ..Self::default()
        };
        fork.unshare();
        fork
    }

    /// Copies all values out of the buffers that they share with the request.
    pub(crate) fn unshare(&mut self) {
        let Some(request) = &mut self.request else { return };
        unshare_uri(&mut request.uri);
        match &mut request.headers {
            RecordedHeaders::Few(values) => values.iter_mut().flatten().for_each(unshare_value),
            RecordedHeaders::All(headers) => headers.values_mut().for_each(unshare_value),
        }
        if let Some(lines) = &mut request.incoming_trace {
            lines.sentry_trace.iter_mut().chain(&mut lines.baggage).for_each(unshare_value);
        }
    }
}

/// The calls of a scope, of which the oldest give way beyond a limit.
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

    /// A copy, so that no foreign code runs under the lock.
    pub(crate) fn snapshot(&self) -> Vec<Call> {
        self.lock().iter().cloned().collect()
    }

    /// Continues with the calls of `other`.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        let calls = self.get_mut();
        calls.extend(other.lock().iter().cloned());
        calls.iter_mut().for_each(Call::unshare);
    }

    pub(crate) fn unshare(&mut self) {
        self.get_mut().iter_mut().for_each(Call::unshare);
    }

    pub(crate) fn clear(&mut self) {
        self.get_mut().clear();
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Call>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get_mut(&mut self) -> &mut VecDeque<Call> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Call {
    /// A handler may have built the URI from parts of its request's.
    fn unshare(&mut self) {
        match &mut self.target {
            Target::Uri(uri) => unshare_uri(uri),
            // It is text of its own.
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

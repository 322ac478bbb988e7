//! What an outbound request leaves in Sentry: a breadcrumb, a span and, where it fails, an event.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use sentry::protocol::{
    Breadcrumb, Event, Exception, Level, Map, Request as EventRequest, SpanStatus, Url, Value,
};
use sentry::{Hub, Span};

use crate::failures::{Rules, grpc_code, is_grpc};
use crate::header::IdHeader;
use crate::scope::hub::span_of;
use crate::scope::{hub_is_alive, hub_is_alive_in_drop, with_current};
use crate::telemetry::report::{
    CLIENT_MECHANISM, Fingerprint, PEER_TAG, capture, event_from, fingerprint, known_method,
    peer_id, response_context, set_mechanism,
};
use crate::telemetry::urls::scrub;
use crate::{TAG, TransactionId, TransactionIdScope};

/// What is watched of an outbound request, from its call to its response, its error or its drop.
pub(crate) struct OutboundCall {
    hub: Arc<Hub>,
    started: Instant,
    id: Option<TransactionId>,
    method: Method,
    /// Without its secrets; the path alone where the host is not known.
    url: String,
    /// The scope that is to have a breadcrumb.
    trail: Option<TransactionIdScope>,
    rules: Option<Arc<Rules>>,
    header: IdHeader,
    span: Option<Span>,
    is_over: bool,
}

/// What an [`OutboundCall`] is to leave behind.
pub(crate) struct Wanted<'a> {
    pub(crate) breadcrumb: bool,
    pub(crate) rules: Option<&'a Arc<Rules>>,
    pub(crate) span: bool,
    /// Where a response would name another ID.
    pub(crate) header: &'a IdHeader,
}

impl Wanted<'_> {
    pub(crate) fn anything(&self) -> bool {
        self.breadcrumb || self.rules.is_some() || self.span
    }
}

impl OutboundCall {
    /// On the hub that is current. `None` where there is nothing to leave behind.
    pub(crate) fn new(
        id: Option<&TransactionId>,
        method: &Method,
        url: impl FnOnce() -> String,
        wanted: &Wanted<'_>,
    ) -> Option<Box<Self>> {
        // Without one, as at the end of a thread, nothing can be left.
        let hub = hub_is_alive().then(Hub::current)?;
        let parent = if wanted.span { span_of(&hub) } else { None };
        if !wanted.breadcrumb && wanted.rules.is_none() && parent.is_none() {
            return None;
        }
        let url = url();
        let span = parent.map(|parent| {
            let span =
                parent.start_child("http.client", &format!("{} {url}", known_method(method)));
            let data = |key: &str, value: &str| span.set_data(key, value.into());
            data("http.request.method", method.as_str());
            data("url.full", &url);
            if let Ok(url) = Url::parse(&url) {
                data("server.address", url.host_str().unwrap_or_default());
            }
            span
        });
        Some(Box::new(Self {
            hub,
            started: Instant::now(),
            id: id.cloned(),
            method: method.clone(),
            url,
            trail: if wanted.breadcrumb { with_current(Clone::clone) } else { None },
            rules: wanted.rules.cloned(),
            header: wanted.header.clone(),
            span,
            is_over: false,
        }))
    }

    /// Adds the header that continues the trace, unless the caller continues one already.
    pub(crate) fn propagate_trace(&self, headers: &mut HeaderMap) {
        let Some(span) = &self.span else { return };
        if headers.contains_key("sentry-trace") || headers.contains_key("traceparent") {
            return;
        }
        for (name, value) in span.iter_headers() {
            if let (Ok(name), Ok(value)) =
                (HeaderName::try_from(name), HeaderValue::try_from(value))
            {
                let _ = headers.try_insert(name, value);
            }
        }
    }

    pub(crate) fn responded(mut self: Box<Self>, status: StatusCode, headers: &HeaderMap) {
        let rules = self.rules.take();
        let grpc = is_grpc(headers).then(|| grpc_code(headers)).flatten();
        self.end(&Outcome::Answered(status, grpc));
        let failed = |code: &i32| rules.as_ref().is_some_and(|rules| rules.grpc_code_fails(*code));
        let grpc = grpc.filter(failed);
        let message = match grpc {
            _ if rules.is_some_and(|rules| rules.status_fails(status)) => {
                format!("HTTP Client Error with status code: {}", status.as_u16())
            }
            Some(code) => format!("gRPC Client Error with status code: {code}"),
            None => return,
        };
        let exception =
            Exception { ty: "Error".into(), value: Some(message.clone()), ..Exception::default() };
        let grouping = self.fingerprint(message.clone());
        let mut event = Event {
            message: Some(message),
            exception: vec![exception].into(),
            level: Level::Error,
            ..Event::default()
        };
        event.contexts.insert("response".to_owned(), response_context(status).into());
        if let Some(peer) = peer_id(headers, &self.header, self.id.as_ref()) {
            event.tags.insert(PEER_TAG.to_owned(), peer.to_string());
        }
        self.capture(event, grouping);
    }

    /// `error` is `None` where its type cannot be read.
    pub(crate) fn failed(mut self: Box<Self>, error: Option<&(dyn Error + 'static)>) {
        let rules = self.rules.take();
        let reason = error.map(|error| scrub(&error.to_string()));
        self.end(&Outcome::Failed(reason.as_deref().unwrap_or("error")));
        if let (Some(error), Some(_)) = (error, rules) {
            let (event, root) = event_from(error);
            self.capture(event, self.fingerprint(root));
        }
    }

    /// One issue for each method, host and outcome.
    fn fingerprint(&self, outcome: String) -> Fingerprint {
        let url = Url::parse(&self.url).ok();
        let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
        let name = format!("{} {host}", known_method(&self.method));
        fingerprint(["http.client".to_owned(), name, outcome])
    }

    fn capture(&self, mut event: Event<'static>, grouping: Fingerprint) {
        set_mechanism(&mut event, CLIENT_MECHANISM);
        let url = Url::parse(&self.url).ok();
        let method = Some(self.method.to_string());
        event.request = Some(EventRequest { method, url, ..EventRequest::default() });
        if let Some(id) = &self.id {
            event.tags.insert(TAG.to_owned(), id.to_string());
        }
        capture(&self.hub, event, grouping, |_| ());
    }

    /// Finishes the span and leaves the breadcrumb.
    fn end(&mut self, outcome: &Outcome<'_>) {
        self.is_over = true;
        if let Some(span) = self.span.take() {
            if let Outcome::Answered(status, grpc) = outcome {
                span.set_data("http.response.status_code", status.as_u16().into());
                if let Some(code) = grpc {
                    span.set_data("rpc.grpc.status_code", (*code).into());
                }
            }
            span.set_status(outcome.span_status());
            span.finish();
        }
        let Some(trail) = self.trail.take() else { return };
        let Some(hub) = trail.hub() else { return };
        hub.add_breadcrumb(self.breadcrumb(outcome));
        // Inside a span of sentry-tracing it is a fork of that hub which is current, anew in each
        // poll, and what is captured next goes by that.
        let is_inside = with_current(|scope| scope.id() == trail.id()) == Some(true);
        let is_inside = is_inside && hub_is_alive_in_drop();
        let current = is_inside.then(Hub::current).filter(|current| !Arc::ptr_eq(current, hub));
        if let Some(current) = current {
            current.add_breadcrumb(self.breadcrumb(outcome));
        }
    }

    fn breadcrumb(&self, outcome: &Outcome<'_>) -> Breadcrumb {
        let mut data: Map<String, Value> = Map::new();
        let mut set = |key: &str, value: Value| drop(data.insert(key.to_owned(), value));
        set("method", self.method.as_str().into());
        set("url", self.url.as_str().into());
        let duration = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        set("duration_ms", duration.into());
        match outcome {
            Outcome::Answered(status, grpc) => {
                set("status_code", status.as_u16().into());
                if let Some(code) = grpc {
                    set("grpc_status", (*code).into());
                }
            }
            Outcome::Failed(reason) => set("reason", (*reason).into()),
            Outcome::Cancelled => set("reason", "cancelled".into()),
        }
        Breadcrumb {
            ty: "http".into(),
            category: Some("http".into()),
            level: outcome.level(),
            data,
            ..Breadcrumb::default()
        }
    }
}

/// How a call ended.
enum Outcome<'a> {
    /// With a status, and with the gRPC code of a response without a body.
    Answered(StatusCode, Option<i32>),
    Failed(&'a str),
    Cancelled,
}

impl Outcome<'_> {
    fn level(&self) -> Level {
        match self {
            Self::Failed(_) | Self::Answered(_, Some(2 | 4 | 12..=15)) => Level::Error,
            Self::Cancelled | Self::Answered(_, Some(1..)) => Level::Warning,
            Self::Answered(status, _) if status.is_server_error() => Level::Error,
            Self::Answered(status, _) if status.is_client_error() => Level::Warning,
            Self::Answered(..) => Level::Info,
        }
    }

    fn span_status(&self) -> SpanStatus {
        match self {
            Self::Failed(_) => SpanStatus::UnknownError,
            Self::Cancelled => SpanStatus::Cancelled,
            Self::Answered(_, Some(code)) => grpc_span_status(*code),
            Self::Answered(status, None) => span_status(*status),
        }
    }
}

/// A call whose future was dropped was cancelled.
impl Drop for OutboundCall {
    fn drop(&mut self) {
        if !self.is_over {
            self.end(&Outcome::Cancelled);
        }
    }
}

/// As in OpenTelemetry's and Sentry's conventions for HTTP.
fn span_status(status: StatusCode) -> SpanStatus {
    match status.as_u16() {
        401 => SpanStatus::Unauthenticated,
        403 => SpanStatus::PermissionDenied,
        404 => SpanStatus::NotFound,
        409 => SpanStatus::AlreadyExists,
        429 => SpanStatus::ResourceExhausted,
        499 => SpanStatus::Cancelled,
        400..=498 => SpanStatus::InvalidArgument,
        501 => SpanStatus::Unimplemented,
        503 => SpanStatus::Unavailable,
        504 => SpanStatus::DeadlineExceeded,
        500..=599 => SpanStatus::InternalError,
        _ => SpanStatus::Ok,
    }
}

/// Sentry's statuses of spans are those of gRPC.
fn grpc_span_status(code: i32) -> SpanStatus {
    match code {
        0 => SpanStatus::Ok,
        1 => SpanStatus::Cancelled,
        3 => SpanStatus::InvalidArgument,
        4 => SpanStatus::DeadlineExceeded,
        5 => SpanStatus::NotFound,
        6 => SpanStatus::AlreadyExists,
        7 => SpanStatus::PermissionDenied,
        8 => SpanStatus::ResourceExhausted,
        9 => SpanStatus::FailedPrecondition,
        10 => SpanStatus::Aborted,
        11 => SpanStatus::OutOfRange,
        12 => SpanStatus::Unimplemented,
        13 => SpanStatus::InternalError,
        14 => SpanStatus::Unavailable,
        15 => SpanStatus::DataLoss,
        16 => SpanStatus::Unauthenticated,
        _ => SpanStatus::UnknownError,
    }
}

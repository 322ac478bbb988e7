//! What an outbound request leaves in Sentry: a breadcrumb, a span and, where it fails, an event.

use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use sentry::protocol::{
    Breadcrumb, Event, Exception, Level, Map, Mechanism, Request as EventRequest, SpanStatus, Url,
    Value,
};
use sentry::{Hub, Span};

use crate::failures::{Rules, is_grpc};
use crate::report::{CLIENT_MECHANISM, PEER_TAG, fingerprint, peer_id, response_context};
use crate::urls::{scrub, without_secrets};
use crate::{TAG, TransactionId};

/// What is watched of an outbound request, from its call to its response, its error or its drop.
pub(crate) struct OutboundCall {
    hub: Arc<Hub>,
    started: Instant,
    request: OutboundParts,
    breadcrumb: bool,
    rules: Option<Arc<Rules>>,
    header_name: HeaderName,
    span: Option<Span>,
    is_over: bool,
}

/// What an outbound request was.
pub(crate) struct OutboundParts {
    pub(crate) id: Option<TransactionId>,
    pub(crate) method: Method,
    pub(crate) url: OutboundUrl,
}

/// Where an outbound request goes: in full where that is known, or its path alone.
pub(crate) enum OutboundUrl {
    Full(Url),
    Path(String),
}

impl OutboundUrl {
    /// Without user, password, query and fragment.
    fn new(url: &str) -> Self {
        match url.parse().ok().and_then(without_secrets) {
            Some(url) => Self::Full(url),
            None => Self::Path(url.split(['?', '#']).next().unwrap_or_default().to_owned()),
        }
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Full(url) => url.as_str(),
            Self::Path(path) => path,
        }
    }

    fn host(&self) -> &str {
        match self {
            Self::Full(url) => url.host_str().unwrap_or_default(),
            Self::Path(_) => "",
        }
    }
}

/// What an [`OutboundCall`] is to leave behind.
pub(crate) struct Wanted<'a> {
    pub(crate) breadcrumb: bool,
    pub(crate) rules: Option<&'a Arc<Rules>>,
    pub(crate) span: bool,
    /// Where a response would name another ID.
    pub(crate) header_name: &'a HeaderName,
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
        let hub = Hub::current();
        // A fork tells the span, since another thread may be changing the scope of the hub itself.
        let parent = wanted.span.then(|| Hub::new_from_top(&hub));
        let parent = parent.and_then(|hub| hub.configure_scope(|scope| scope.get_span()));
        if !wanted.breadcrumb && wanted.rules.is_none() && parent.is_none() {
            return None;
        }
        let url = OutboundUrl::new(&url());
        let span = parent.map(|parent| {
            let span = parent.start_child("http.client", &format!("{method} {}", url.as_str()));
            let data = |key: &str, value: &str| span.set_data(key, value.into());
            data("http.request.method", method.as_str());
            data("url.full", url.as_str());
            if let OutboundUrl::Full(url) = &url {
                data("server.address", url.host_str().unwrap_or_default());
            }
            span
        });
        Some(Box::new(Self {
            hub,
            started: Instant::now(),
            request: OutboundParts { id: id.cloned(), method: method.clone(), url },
            breadcrumb: wanted.breadcrumb,
            rules: wanted.rules.cloned(),
            header_name: wanted.header_name.clone(),
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
            if let Ok(value) = HeaderValue::from_str(&value) {
                let _ = headers.try_insert(HeaderName::from_static(name), value);
            }
        }
    }

    pub(crate) fn responded(mut self: Box<Self>, status: StatusCode, headers: &HeaderMap) {
        let rules = self.rules.take();
        let grpc = rules
            .as_ref()
            .filter(|_| is_grpc(headers))
            .and_then(|rules| rules.grpc_failure(headers));
        self.end(Some(status), None);
        let message = match grpc {
            _ if rules.is_some_and(|rules| rules.status_fails(status)) => {
                format!("HTTP Client Error with status code: {}", status.as_u16())
            }
            Some(code) => format!("gRPC Client Error with status code: {code}"),
            None => return,
        };
        let exception =
            Exception { ty: "Error".into(), value: Some(message.clone()), ..Exception::default() };
        let mut event = Event {
            fingerprint: self.fingerprint(message.clone()),
            message: Some(message),
            exception: vec![exception].into(),
            level: Level::Error,
            ..Event::default()
        };
        event.contexts.insert("response".to_owned(), response_context(status).into());
        if let Some(peer) = peer_id(headers, &self.header_name, self.request.id.as_ref()) {
            event.tags.insert(PEER_TAG.to_owned(), peer.to_string());
        }
        self.capture(event);
    }

    /// `error` is `None` where its type cannot be read.
    pub(crate) fn failed(mut self: Box<Self>, error: Option<&(dyn Error + 'static)>) {
        let rules = self.rules.take();
        let reason = error.map(|error| scrub(&error.to_string()));
        self.end(None, Some(reason.as_deref().unwrap_or("error")));
        if let (Some(error), Some(_)) = (error, rules) {
            let mut event = sentry::event_from_error(error);
            for exception in &mut event.exception {
                exception.value = exception.value.as_deref().map(scrub);
            }
            // The root of the chain tells one kind of trouble from another.
            let root = event.exception.first().map(|root| root.ty.clone());
            event.fingerprint = self.fingerprint(root.unwrap_or_default());
            self.capture(event);
        }
    }

    /// One issue for each method, host and outcome.
    fn fingerprint(&self, outcome: String) -> Cow<'static, [Cow<'static, str>]> {
        let name = format!("{} {}", self.request.method, self.request.url.host());
        fingerprint(["http.client".to_owned(), name, outcome])
    }

    fn capture(&self, mut event: Event<'static>) {
        // Handled: the caller has the error, and a release is not to count it as a crash.
        let mechanism =
            Mechanism { ty: CLIENT_MECHANISM.into(), handled: Some(true), ..Mechanism::default() };
        if let Some(exception) = event.exception.values.last_mut() {
            exception.mechanism = Some(mechanism);
        }
        let url = match &self.request.url {
            OutboundUrl::Full(url) => Some(url.clone()),
            OutboundUrl::Path(_) => None,
        };
        let method = Some(self.request.method.to_string());
        event.request = Some(EventRequest { method, url, ..EventRequest::default() });
        if let Some(id) = &self.request.id {
            event.tags.insert(TAG.to_owned(), id.to_string());
        }
        self.hub.capture_event(event);
    }

    /// Finishes the span and leaves the breadcrumb.
    fn end(&mut self, status: Option<StatusCode>, reason: Option<&str>) {
        self.is_over = true;
        if let Some(span) = self.span.take() {
            if let Some(status) = status {
                span.set_data("http.response.status_code", status.as_u16().into());
            }
            span.set_status(match status {
                Some(status) => span_status(status),
                None if reason.is_some() => SpanStatus::UnknownError,
                None => SpanStatus::Cancelled,
            });
            span.finish();
        }
        if self.breadcrumb {
            self.hub.add_breadcrumb(self.breadcrumb(status, reason));
        }
    }

    fn breadcrumb(&self, status: Option<StatusCode>, reason: Option<&str>) -> Breadcrumb {
        let mut data: Map<String, Value> = Map::new();
        data.insert("method".to_owned(), self.request.method.as_str().into());
        data.insert("url".to_owned(), self.request.url.as_str().into());
        let duration = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        data.insert("duration_ms".to_owned(), duration.into());
        match status {
            Some(status) => data.insert("status_code".to_owned(), status.as_u16().into()),
            None => data.insert("reason".to_owned(), reason.unwrap_or("cancelled").into()),
        };
        let level = match status {
            Some(status) if status.is_server_error() => Level::Error,
            Some(status) if status.is_client_error() => Level::Warning,
            Some(_) => Level::Info,
            None if reason.is_some() => Level::Error,
            None => Level::Warning,
        };
        Breadcrumb {
            ty: "http".into(),
            category: Some("http".into()),
            level,
            data,
            ..Breadcrumb::default()
        }
    }
}

/// A call whose future was dropped was cancelled.
impl Drop for OutboundCall {
    fn drop(&mut self) {
        if !self.is_over {
            self.end(None, None);
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

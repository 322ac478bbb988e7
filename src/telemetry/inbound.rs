//! The failure of an inbound request, as an event.

use std::error::Error;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};

use http::{HeaderMap, Method, Request, StatusCode};
use sentry::Hub;
use sentry::protocol::{Event, Level, Request as EventRequest, TraceContext, Url};

use crate::failures::{Rules, is_grpc};
use crate::scope::hub::span_of;
use crate::scope::with_current;
use crate::telemetry::report::{
    PEER_TAG, SERVER_MECHANISM, capture, event_from, fingerprint, hides_a_failure, known_method,
    response_context, set_mechanism,
};
use crate::telemetry::trace::IncomingTrace;
use crate::telemetry::urls::without_secrets;
use crate::{TAG, TransactionId, TransactionIdScope};

/// What is noted while a request is handled, for the report of its failure.
#[derive(Default)]
pub(crate) struct Notes {
    /// Set by the first event that makes a report superfluous.
    is_reported: AtomicBool,
    /// Of the span that the request is handled in, which is over when the report is made.
    trace: OnceLock<TraceContext>,
}

impl Notes {
    /// Takes note of an event that is captured in a request under its ID. One that a fork captures
    /// is not of the request itself, so that it does not stand for the request's failure.
    pub(crate) fn note_current(event: &Event<'_>) {
        with_current(|scope| {
            if let Some(notes) = scope.notes()
                && event.tags.get(TAG).is_some_and(|tag| *scope.id() == tag.as_str())
                && hides_a_failure(event)
            {
                notes.is_reported.store(true, Relaxed);
            }
        });
    }

    /// Takes note of the first span that is active on `hub`.
    pub(crate) fn note_span(&self, hub: impl AsRef<Hub>) {
        if self.trace.get().is_none()
            && let Some(span) = span_of(hub)
        {
            let TraceContext { trace_id, span_id, parent_span_id, op, .. } =
                span.get_trace_context();
            let trace =
                TraceContext { trace_id, span_id, parent_span_id, op, ..TraceContext::default() };
            let _ = self.trace.set(trace);
        }
    }
}

/// How often it is looked for the span that a request is handled in.
const MAX_LOOKS: u8 = 16;

/// An inbound request whose failure is worth an event.
pub(crate) struct InboundCall {
    rules: Arc<Rules>,
    method: Method,
    /// The method and the route; where the route is not known, the path.
    name: String,
    /// Whether the name holds the route, and not a path, which the client chose.
    is_route: bool,
    url: Option<Url>,
    incoming: Option<IncomingTrace>,
    waits: u8,
}

impl InboundCall {
    pub(crate) fn new<B>(request: &Request<B>, rules: &Arc<Rules>, trusts_caller: bool) -> Self {
        Self {
            rules: Arc::clone(rules),
            method: request.method().clone(),
            name: name_of(request),
            is_route: matched_route(request).is_some(),
            url: inbound_url(request),
            incoming: if trusts_caller { IncomingTrace::of(request.headers()) } else { None },
            waits: 0,
        }
    }

    /// The request waits for something, perhaps in the span of a layer such as `SentryHttpLayer`,
    /// which takes it off the scope again before there is a response.
    pub(crate) fn wait(&mut self, scope: &TransactionIdScope) {
        // A look takes a fork of the hub: not at each of the polls of a long wait.
        if self.waits < MAX_LOOKS
            && let (Some(notes), Some(hub)) = (scope.notes(), scope.hub())
        {
            self.waits += 1;
            notes.note_span(hub);
        }
    }

    /// Reports the head of a response where it is a failure. Returns itself where the end of the
    /// body has yet to tell.
    pub(crate) fn responded(
        self: Box<Self>,
        scope: &TransactionIdScope,
        status: StatusCode,
        headers: &HeaderMap,
        peer: Option<&TransactionId>,
    ) -> Option<Box<Self>> {
        if self.rules.status_fails(status) {
            self.answered(scope, &status.to_string(), Some(status), peer);
        } else if is_grpc(headers) {
            match self.rules.grpc_failure(headers) {
                Some(code) => self.answered_grpc(scope, code, peer),
                None if !headers.contains_key("grpc-status") => return Some(self),
                None => {}
            }
        }
        None
    }

    /// Reports the trailers of a gRPC response where they tell of a failure.
    pub(crate) fn ended(self, scope: &TransactionIdScope, trailers: &HeaderMap) {
        if let Some(code) = self.rules.grpc_failure(trailers) {
            self.answered_grpc(scope, code, None);
        }
    }

    fn answered_grpc(self, scope: &TransactionIdScope, code: i32, peer: Option<&TransactionId>) {
        self.answered(scope, &format!("gRPC {code}"), None, peer);
    }

    /// Reports the error of the inner service.
    pub(crate) fn failed(self, scope: &TransactionIdScope, error: &(dyn Error + 'static)) {
        let (mut event, root) = event_from(error);
        set_mechanism(&mut event, SERVER_MECHANISM);
        self.capture(scope, event, root);
    }

    fn answered(
        self,
        scope: &TransactionIdScope,
        answer: &str,
        status: Option<StatusCode>,
        peer: Option<&TransactionId>,
    ) {
        let message = format!("{} answered {answer}", self.name);
        let mut event = Event { message: Some(message), level: Level::Error, ..Event::default() };
        if let Some(status) = status {
            event.contexts.insert("response".to_owned(), response_context(status).into());
        }
        if let Some(peer) = peer {
            event.tags.insert(PEER_TAG.to_owned(), peer.to_string());
        }
        self.capture(scope, event, answer.to_owned());
    }

    /// One issue for each route and outcome, whatever IDs the events carry. Without a route, one for
    /// each method and outcome: a client can invent paths, also those of gRPC, and must not be able to
    /// create issues.
    fn capture(self, scope: &TransactionIdScope, mut event: Event<'static>, outcome: String) {
        let Some(hub) = scope.hub() else { return };
        let notes = scope.notes();
        if notes.is_some_and(|notes| notes.is_reported.load(Relaxed)) {
            return;
        }
        let name = self.name;
        // A span that is still active speaks for itself. Without any trace here it is that of the
        // process, as for all else that the request captured.
        if span_of(hub).is_none()
            && let Some(trace) = notes
                .and_then(|notes| notes.trace.get().cloned())
                .or_else(|| self.incoming?.continued_by(&*hub.client()?))
        {
            event.contexts.insert("trace".to_owned(), trace.into());
        }
        let request = EventRequest {
            method: Some(self.method.to_string()),
            url: self.url,
            ..EventRequest::default()
        };
        let group =
            if self.is_route { name.clone() } else { known_method(&self.method).to_owned() };
        let grouping = fingerprint(["http.server".to_owned(), group, outcome]);
        let id = scope.id().clone();
        // What is cloned in there is so once: a processor may run often, and this one does not.
        scope.run(|| {
            capture(hub, event, grouping, move |event| {
                // Under the ID that was echoed, whatever a handler calls by the name of the tag.
                event.tags.insert(TAG.to_owned(), id.to_string());
                event.request.get_or_insert_with(|| request.clone());
                event.transaction.get_or_insert_with(|| name.clone());
            });
        });
    }
}

/// The method and the route of a request; where the route is not known, its path.
pub(crate) fn name_of<B>(request: &Request<B>) -> String {
    let place = matched_route(request).unwrap_or(request.uri().path());
    format!("{} {place}", known_method(request.method()))
}

/// The route that axum matched.
#[cfg_attr(not(feature = "axum"), allow(clippy::unnecessary_wraps))]
fn matched_route<B>(request: &Request<B>) -> Option<&str> {
    #[cfg(feature = "axum")]
    return request
        .extensions()
        .get::<axum::extract::MatchedPath>()
        .map(axum::extract::MatchedPath::as_str);
    #[cfg(not(feature = "axum"))]
    {
        let _ = request;
        None
    }
}

/// As far as a request says where it was sent to. Behind a proxy the scheme is a guess.
fn inbound_url<B>(request: &Request<B>) -> Option<Url> {
    let uri = request.uri();
    let host = request.headers().get(http::header::HOST);
    let authority = match uri.authority() {
        Some(authority) => authority.as_str(),
        None => host?.to_str().ok()?,
    };
    let scheme = uri.scheme_str().unwrap_or("http");
    without_secrets(format!("{scheme}://{authority}{}", uri.path()).parse().ok()?)
}

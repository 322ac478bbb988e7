//! The failure of an inbound request, as an event.

use std::error::Error;
use std::sync::Arc;

use http::{HeaderMap, Method, Request, StatusCode};
use sentry::protocol::{Event, Level, Request as EventRequest, TraceContext, Url};
use sentry::{Hub, TransactionContext};

use crate::failures::{Rules, is_grpc};
use crate::report::{PEER_TAG, event_from, fingerprint, response_context};
use crate::urls::without_secrets;
use crate::{TransactionId, TransactionIdScope};

/// An inbound request whose failure is worth an event.
pub(crate) struct InboundCall {
    rules: Arc<Rules>,
    method: Method,
    route: String,
    /// Whether `route` is one of a few, rather than the path that a client chose.
    is_route: bool,
    url: Option<Url>,
    /// The trace that the request continues.
    sentry_trace: Option<String>,
}

impl InboundCall {
    pub(crate) fn new<B>(request: &Request<B>, rules: &Arc<Rules>) -> Self {
        let matched = matched_route(request);
        let sentry_trace = request.headers().get("sentry-trace");
        Self {
            rules: Arc::clone(rules),
            method: request.method().clone(),
            // A method of gRPC is a path.
            is_route: matched.is_some() || is_grpc(request.headers()),
            route: matched.unwrap_or_else(|| request.uri().path().to_owned()),
            url: inbound_url(request),
            sentry_trace: sentry_trace.and_then(|trace| trace.to_str().ok()).map(str::to_owned),
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
                Some(code) => self.answered(scope, &format!("gRPC {code}"), None, peer),
                None if !headers.contains_key("grpc-status") => return Some(self),
                None => {}
            }
        }
        None
    }

    /// Reports the trailers of a gRPC response where they tell of a failure.
    pub(crate) fn ended(self, scope: &TransactionIdScope, trailers: &HeaderMap) {
        if let Some(code) = self.rules.grpc_failure(trailers) {
            self.answered(scope, &format!("gRPC {code}"), None, None);
        }
    }

    /// Reports the error of the inner service.
    pub(crate) fn failed(self, scope: &TransactionIdScope, error: &(dyn Error + 'static)) {
        let (event, root) = event_from(error);
        self.capture(scope, event, root);
    }

    fn answered(
        self,
        scope: &TransactionIdScope,
        answer: &str,
        status: Option<StatusCode>,
        peer: Option<&TransactionId>,
    ) {
        let message = format!("{} {} answered {answer}", self.method, self.route);
        let mut event = Event { message: Some(message), level: Level::Error, ..Event::default() };
        if let Some(status) = status {
            event.contexts.insert("response".to_owned(), response_context(status).into());
        }
        if let Some(peer) = peer {
            event.tags.insert(PEER_TAG.to_owned(), peer.to_string());
        }
        self.capture(scope, event, answer.to_owned());
    }

    /// One issue for each route and outcome, whatever IDs the events carry. Without a route, Sentry's
    /// own grouping knows better than a path that holds an order's number.
    fn capture(self, scope: &TransactionIdScope, mut event: Event<'static>, outcome: String) {
        let Some(hub) = scope.hub().filter(|_| !scope.is_reported()) else { return };
        let name = format!("{} {}", self.method, self.route);
        event.logger = Some("tower_transaction_id".to_owned());
        // On a fork, so that whoever knows better comes first: what the handler set on its scope,
        // and how sentry-tower describes requests.
        let hub = Hub::new_from_top(hub);
        let has_span = hub.configure_scope(|scope| scope.get_span().is_some());
        if !has_span {
            event.contexts.insert("trace".to_owned(), self.trace(&name).into());
        }
        let request = EventRequest {
            method: Some(self.method.to_string()),
            url: self.url,
            ..EventRequest::default()
        };
        let grouping =
            self.is_route.then(|| fingerprint(["http.server".to_owned(), name.clone(), outcome]));
        hub.configure_scope(|scope| {
            scope.add_event_processor(move |mut event| {
                event.request.get_or_insert_with(|| request.clone());
                event.transaction.get_or_insert_with(|| name.clone());
                if let Some(grouping) =
                    grouping.clone().filter(|_| *event.fingerprint == ["{{ default }}"])
                {
                    event.fingerprint = grouping;
                }
                Some(event)
            });
        });
        scope.run(|| hub.capture_event(event));
    }

    /// The request's own trace, or else one of its own: by that of the process, Sentry would tie
    /// strangers together.
    fn trace(&self, name: &str) -> TraceContext {
        let headers = self.sentry_trace.iter().map(|trace| ("sentry-trace", trace.as_str()));
        let trace = TransactionContext::continue_from_headers(name, "http.server", headers);
        TraceContext {
            trace_id: trace.trace_id(),
            span_id: trace.span_id(),
            op: Some("http.server".to_owned()),
            ..TraceContext::default()
        }
    }
}

/// The route that axum matched.
#[cfg_attr(not(feature = "axum"), allow(clippy::unnecessary_wraps))]
fn matched_route<B>(request: &Request<B>) -> Option<String> {
    #[cfg(feature = "axum")]
    return request
        .extensions()
        .get::<axum::extract::MatchedPath>()
        .map(|matched| matched.as_str().to_owned());
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

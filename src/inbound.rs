//! The failure of an inbound request, as an event.

use std::error::Error;
use std::sync::Arc;

use http::{HeaderMap, Method, Request, StatusCode};
use sentry::Hub;
use sentry::protocol::{Event, Level, Request as EventRequest, Url};

use crate::failures::{Rules, is_grpc};
use crate::report::{PEER_TAG, fingerprint, response_context};
use crate::urls::without_secrets;
use crate::{TransactionId, TransactionIdScope};

/// An inbound request whose failure is worth an event.
pub(crate) struct InboundCall {
    rules: Arc<Rules>,
    method: Method,
    route: String,
    url: Option<Url>,
}

impl InboundCall {
    pub(crate) fn new<B>(request: &Request<B>, rules: &Arc<Rules>) -> Self {
        Self {
            rules: Arc::clone(rules),
            method: request.method().clone(),
            route: route(request),
            url: inbound_url(request),
        }
    }

    /// Reports the head of a response where it is a failure. Returns itself where the end of the
    /// body has yet to tell.
    pub(crate) fn responded(
        self,
        scope: &TransactionIdScope,
        status: StatusCode,
        headers: &HeaderMap,
        peer: Option<&TransactionId>,
    ) -> Option<Self> {
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
        let mut event = sentry::event_from_error(error);
        let kind = event.exception.last().map(|exception| exception.ty.clone());
        self.capture(scope, &mut event, kind.unwrap_or_default());
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
        self.capture(scope, &mut event, answer.to_owned());
    }

    /// One issue for each route and outcome, whatever IDs the events carry.
    fn capture(self, scope: &TransactionIdScope, event: &mut Event<'static>, outcome: String) {
        let Some(hub) = scope.hub().filter(|_| !scope.is_reported()) else { return };
        let name = format!("{} {}", self.method, self.route);
        event.fingerprint = fingerprint(["http.server".to_owned(), name.clone(), outcome]);
        event.transaction = Some(name);
        // On a fork, so that whoever describes requests better, such as sentry-tower, comes first.
        let hub = Hub::new_from_top(hub);
        let request = EventRequest {
            method: Some(self.method.to_string()),
            url: self.url,
            ..EventRequest::default()
        };
        hub.configure_scope(|scope| {
            scope.add_event_processor(move |mut event| {
                event.request.get_or_insert_with(|| request.clone());
                Some(event)
            });
        });
        scope.run(|| hub.capture_event(std::mem::take(event)));
    }
}

/// The route that axum matched, or else the path. Never the query.
fn route<B>(request: &Request<B>) -> String {
    #[cfg(feature = "axum")]
    if let Some(matched) = request.extensions().get::<axum::extract::MatchedPath>() {
        return matched.as_str().to_owned();
    }
    request.uri().path().to_owned()
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

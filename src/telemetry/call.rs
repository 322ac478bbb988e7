//! Reports the failure of an outbound call as an event, and renders a call as a span.

use std::any::type_name;
use std::error::Error;
use std::sync::Arc;

use http::{Method, StatusCode};
use sentry::protocol::{Event, Exception, Request, SpanStatus, Url};
use sentry::{Hub, Span, TransactionOrSpan};

use crate::TransactionId;
use crate::scope::record::{Outcome, Target};
use crate::telemetry::report::{
    CLIENT_MECHANISM, PEER_TAG, capture, event_from, fingerprint, known_method, response_context,
    set_mechanism,
};
use crate::telemetry::status::{grpc_status, http_status};

/// A call that failed, and the hub and the ID of its report.
pub(crate) struct CallReport<'a> {
    pub(crate) hub: &'a Arc<Hub>,
    pub(crate) id: Option<&'a TransactionId>,
    pub(crate) method: &'a Method,
    pub(crate) target: &'a Target,
}

impl CallReport<'_> {
    /// Reports an answer by its status or, if `grpc` is given, by its gRPC code.
    pub(crate) fn answered(
        &self,
        status: StatusCode,
        grpc: Option<i32>,
        peer: Option<&TransactionId>,
    ) {
        let outcome = match grpc {
            None => status.to_string(),
            Some(code) => format!("gRPC {code}"),
        };
        let mut event = Event::default();
        event.contexts.insert("response".to_owned(), response_context(status).into());
        if let Some(peer) = peer {
            event.tags.insert(PEER_TAG.to_owned(), peer.to_string());
        }
        self.capture(event, &outcome, outcome.clone());
    }

    /// Reports an error. Where the type of the error, `E`, cannot be read, `error` is `None`, and the
    /// report has the name of the type.
    pub(crate) fn failed<E>(&self, error: Option<&(dyn Error + 'static)>) {
        let Some(error) = error else {
            let ty = type_name::<E>();
            return self.capture(Event::default(), ty, ty.to_owned());
        };
        let (event, root) = event_from(error);
        let text = event.exception.last().and_then(|exception| exception.value.clone());
        self.capture(event, text.as_ref().unwrap_or(&root), root.clone());
    }

    /// Captures `event`. Sentry makes one issue for each method, host and outcome, and the title
    /// from the last exception: `POST kitchen.internal: 500 Internal Server Error`.
    fn capture(&self, mut event: Event<'static>, text: &str, outcome: String) {
        let url = Url::parse(&self.target.url()).ok();
        let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
        let name = format!("{} {host}", known_method(self.method)).trim_end().to_owned();
        event.message = Some(format!("{name}: {text}"));
        let value = Some(text.to_owned());
        event.exception.values.push(Exception { ty: name.clone(), value, ..Exception::default() });
        set_mechanism(&mut event, CLIENT_MECHANISM);
        let grouping = fingerprint(["http.client".to_owned(), name, outcome]);
        let method = Some(self.method.to_string());
        event.request = Some(Request { method, url, ..Request::default() });
        if let Some(id) = self.id {
            event.tags.insert(TransactionId::TAG.to_owned(), id.to_string());
        }
        capture(self.hub, event, grouping, |_| ());
    }
}

/// Starts the span of a call, as a child of `parent`.
pub(crate) fn start_span(parent: &TransactionOrSpan, method: &Method, target: &Target) -> Span {
    let url = target.url();
    let span = parent.start_child("http.client", &format!("{} {url}", known_method(method)));
    let data = |key: &str, value: &str| span.set_data(key, value.into());
    data("http.request.method", method.as_str());
    data("url.full", &url);
    if let Ok(url) = Url::parse(&url) {
        data("server.address", url.host_str().unwrap_or_default());
    }
    span
}

pub(crate) fn finish_span(span: Span, outcome: &Outcome) {
    if let Outcome::Answered(status, grpc) = outcome {
        span.set_data("http.response.status_code", status.as_u16().into());
        if let Some(code) = grpc {
            span.set_data("rpc.grpc.status_code", (*code).into());
        }
    }
    span.set_status(match outcome {
        Outcome::Failed(_) => SpanStatus::UnknownError,
        Outcome::Cancelled => SpanStatus::Cancelled,
        Outcome::Answered(_, Some(code)) => grpc_status(*code),
        Outcome::Answered(status, None) => http_status(*status),
    });
    span.finish();
}

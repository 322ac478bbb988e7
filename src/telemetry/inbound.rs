//! Reports the failure of an inbound request as an event.

use std::error::Error;

use http::StatusCode;
use sentry::Hub;
use sentry::protocol::{Event, TraceContext};

use crate::TransactionId;
use crate::scope::TransactionIdScope;
use crate::scope::hub::span_of;
use crate::scope::pool::Work;
use crate::telemetry::report::{
    PEER_TAG, capture, event_from, fingerprint, known_method, opaque_error, response_context,
    set_mechanism,
};
use crate::telemetry::request::{protocol_request, route_name};
use crate::telemetry::subject::Subject;

/// The answer of a request that failed.
pub(crate) enum Answer {
    Status(StatusCode),
    Grpc(i32),
}

impl TransactionIdScope {
    /// Reports an answer that is a failure. `peer` is the ID in the answer, if it is another valid ID.
    pub(crate) fn report_answer(&self, answer: &Answer, peer: Option<&TransactionId>) {
        let mut event = Event::default();
        let outcome = match answer {
            Answer::Status(status) => {
                event.contexts.insert("response".to_owned(), response_context(*status).into());
                status.to_string()
            }
            Answer::Grpc(code) => format!("gRPC {code}"),
        };
        if let Some(peer) = peer {
            event.tags.insert(PEER_TAG.to_owned(), peer.to_string());
        }
        self.report(event, outcome, |name, outcome| Some(format!("{name} answered {outcome}")));
    }

    /// Reports the error of the inner service. Where the type of the error, `E`, cannot be read, `error`
    /// is `None`, and the name of the type has to do.
    pub(crate) fn report_error<E>(&self, error: Option<&(dyn Error + 'static)>) {
        let (event, root) = error.map_or_else(opaque_error::<E>, event_from);
        self.report(event, root, |_, _| None);
    }

    /// Captures `event`, unless the failure is reported already. Sentry makes one issue for each route
    /// and outcome, whatever IDs the events carry. Without a route, it makes one for each method and
    /// outcome: a client can invent paths, also gRPC paths, and must not be able to create issues.
    fn report(
        &self,
        mut event: Event<'static>,
        outcome: String,
        message: impl FnOnce(&str, &str) -> Option<String>,
    ) {
        let work @ Work { hub: Some(hub), record, .. } = self.work() else { return };
        if record.is_reported() {
            return;
        }
        let Some(Subject { name, op, origin }) = record.subject() else { return };
        let group = match &record.request {
            Some(request) => {
                route_name(request).unwrap_or_else(|| known_method(&request.method).to_owned())
            }
            None => name.clone(),
        };
        set_mechanism(&mut event, &origin);
        event.message = message(&name, &outcome);
        // The SDK adds the trace of a span that is still active.
        if let Some(trace) = record.span.get()
            && span_of(hub).is_none()
        {
            event.contexts.insert("trace".to_owned(), (**trace).clone().into());
        }
        let grouping = fingerprint([op.to_owned(), group, outcome]);
        let sends_pii = hub.client().is_some_and(|client| client.options().send_default_pii);
        let request = record.request.as_ref().map(|request| protocol_request(request, sends_pii));
        let id = work.id().clone();
        // The closure clones, since a processor may run often. This processor runs once.
        self.run(|| {
            capture(hub, event, grouping, move |event| {
                // The tag is the ID that was echoed, even if a handler set a tag of this name.
                event.tags.insert(TransactionId::TAG.to_owned(), id.to_string());
                event.request = event.request.take().or_else(|| request.clone());
                event.transaction.get_or_insert_with(|| name.clone());
            });
        });
    }
}

impl Work {
    /// Takes note of the first span that is active on `hub`.
    pub(crate) fn note_span(&self, hub: impl AsRef<Hub>) {
        if self.record.span.get().is_none()
            && let Some(span) = span_of(hub)
        {
            let TraceContext { trace_id, span_id, parent_span_id, op, .. } =
                span.get_trace_context();
            let trace =
                TraceContext { trace_id, span_id, parent_span_id, op, ..TraceContext::default() };
            let _ = self.record.span.set(Box::new(trace));
        }
    }
}

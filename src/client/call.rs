//! Records an outbound call, from its start to its response, its error or its drop.

use std::error::Error;
use std::mem;
use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderMap, Method, StatusCode};
use sentry::{Hub, Span, TransactionOrSpan};

use crate::failures::{Failures, grpc_answer};
use crate::header::IdHeader;
use crate::scope::alive::hub_is_alive;
use crate::scope::current_scope;
use crate::scope::hub::span_of;
use crate::scope::record::{Call, Outcome, Target};
use crate::telemetry::call::{CallReport, finish_span, start_span};
use crate::telemetry::report::peer_id;
use crate::{TransactionId, TransactionIdScope};

/// A call that is under way.
pub(crate) struct OutboundCall {
    started: SystemTime,
    method: Method,
    target: Target,
    /// The scope that records the call.
    scope: Option<TransactionIdScope>,
    failures: Option<Box<Watch>>,
    span: Option<Span>,
    is_over: bool,
}

/// Holds the rules and the data for the report of a failure.
struct Watch {
    rules: Failures,
    hub: Arc<Hub>,
    id: Option<TransactionId>,
    /// The header in which a response may name another ID.
    header: IdHeader,
}

/// The settings of the layer that records a call.
pub(crate) struct Recording<'a> {
    pub(crate) breadcrumb: bool,
    pub(crate) failures: Option<&'a Failures>,
    pub(crate) span: bool,
    pub(crate) header: &'a IdHeader,
}

impl OutboundCall {
    /// Starts the record of a call. Returns `None` if there is nothing to record.
    pub(crate) fn start(
        id: Option<&TransactionId>,
        method: &Method,
        target: impl FnOnce() -> Target,
        recording: &Recording<'_>,
    ) -> Option<Box<Self>> {
        // Outside any scope, a breadcrumb would show in later requests of the thread.
        let scope = if recording.breadcrumb { current_scope() } else { None };
        let scope = scope.filter(|scope| scope.hub().is_some());
        let needs_hub = recording.failures.is_some() || recording.span;
        // A thread that ends has no hub, and can report nothing.
        let hub = if needs_hub && hub_is_alive() { Some(Hub::current()) } else { None };
        let parent = if recording.span { hub.as_ref().and_then(span_of) } else { None };
        let failures = recording.failures.zip(hub).map(|(rules, hub)| {
            let header = recording.header.clone();
            Box::new(Watch { rules: rules.clone(), hub, id: id.cloned(), header })
        });
        if scope.is_none() && failures.is_none() && parent.is_none() {
            return None;
        }
        let target = target();
        Some(Box::new(Self {
            started: SystemTime::now(),
            span: parent.map(|parent| start_span(&parent, method, &target)),
            method: method.clone(),
            target,
            scope,
            failures,
            is_over: false,
        }))
    }

    /// Returns the span of the call. The call has a span if a span was active when the call started.
    pub(crate) fn span(&self) -> Option<TransactionOrSpan> {
        self.span.clone().map(TransactionOrSpan::from)
    }

    pub(crate) fn responded(&mut self, status: StatusCode, headers: &HeaderMap) {
        let grpc = grpc_answer(headers);
        self.end(Outcome::Answered(status, grpc));
        let Some(watch) = &self.failures else { return };
        let fails = watch.rules.has_status(status);
        let grpc = grpc.filter(|code| watch.rules.has_grpc_code(*code));
        if fails || grpc.is_some() {
            let peer = peer_id(headers, &watch.header, watch.id.as_ref());
            self.report(watch).answered(status, grpc.filter(|_| !fails), peer.as_ref());
        }
    }

    /// Records that the call failed. `error` is `None` if the layer cannot read errors of type `E`.
    pub(crate) fn failed<E>(&mut self, error: Option<&(dyn Error + 'static)>) {
        self.end(Outcome::Failed(error.map(|error| error.to_string().into())));
        if let Some(watch) = &self.failures {
            self.report(watch).failed::<E>(error);
        }
    }

    fn report<'a>(&'a self, watch: &'a Watch) -> CallReport<'a> {
        let Self { method, target, .. } = self;
        CallReport { hub: &watch.hub, id: watch.id.as_ref(), method, target }
    }

    /// Finishes the span, and records the call in the scope.
    fn end(&mut self, outcome: Outcome) {
        self.is_over = true;
        if let Some(span) = self.span.take() {
            finish_span(span, &outcome);
        }
        let Some(scope) = self.scope.take() else { return };
        let (method, target) = if self.failures.is_some() {
            (self.method.clone(), self.target.clone())
        } else {
            // Only the report of a failure would need the method and the target later.
            (mem::take(&mut self.method), mem::take(&mut self.target))
        };
        let (started, ended) = (self.started, SystemTime::now());
        scope.record_call(Call { method, target, started, ended, outcome });
    }
}

/// Records a call as cancelled if its future is dropped before the call ends.
impl Drop for OutboundCall {
    fn drop(&mut self) {
        if !self.is_over {
            self.end(Outcome::Cancelled);
        }
    }
}

//! Measures a request as one of Sentry's performance transactions.

use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use http::StatusCode;
use sentry::protocol::SpanStatus;
use sentry::{Transaction, TransactionContext};

use crate::random;
use crate::scope::TransactionIdScope;
use crate::scope::record::{Performance, Record};
use crate::telemetry::request::protocol_request;
use crate::telemetry::status::{grpc_status, http_status};
use crate::telemetry::subject::Subject;

impl TransactionIdScope {
    /// Starts the performance transaction of the recorded request or message, and makes it the active span
    /// of the scope's hub. Does nothing if the client makes no transactions.
    pub(crate) fn start_performance(&mut self) {
        let work = self.work();
        let Some(hub) = work.hub.as_ref().filter(|_| work.options.traces) else { return };
        let Some(Subject { name, op, origin }) = work.record.subject() else { return };
        let context = match work.record.incoming_trace.as_deref() {
            Some(trace) => TransactionContext::continue_from_headers(&name, op, trace.pairs()),
            None => TransactionContext::new_with_trace_id(&name, op, random::bytes().into()),
        };
        let transaction = hub.start_transaction(context);
        hub.configure_scope(|scope| scope.set_span(Some(transaction.clone().into())));
        let is_sampled = is_sampled(&transaction);
        if is_sampled {
            // The origin is set at the start, so that events name it as well.
            transaction.set_origin(&origin);
            if work.record.message.as_ref().is_some_and(|kind| kind.category() == "queue") {
                transaction.set_data("messaging.destination.name", name.into());
            }
        }
        self.work_mut().performance = Some(Box::new(Performance {
            transaction,
            is_sampled,
            has_panicked: AtomicBool::new(false),
            ended: OnceLock::new(),
        }));
    }
}

/// Whether a transaction is going to be sent. The deprecated method returns the same for a deferred
/// decision as for a negative one. Here the difference does not matter.
#[allow(deprecated)]
fn is_sampled(transaction: &Transaction) -> bool {
    transaction.is_sampled()
}

impl Performance {
    /// Takes note of the head of the response.
    pub(crate) fn answered(&self, status: StatusCode, grpc: Option<i32>) {
        if !self.is_sampled {
            return;
        }
        self.transaction.set_data("http.response.status_code", status.as_u16().into());
        match grpc {
            Some(code) => self.answered_grpc(code),
            None => self.set_status(http_status(status)),
        }
    }

    /// Takes note of the status of a gRPC response, in its headers or its trailers.
    pub(crate) fn answered_grpc(&self, code: i32) {
        if self.is_sampled {
            self.transaction.set_data("rpc.grpc.status_code", code.into());
            self.transaction.set_status(grpc_status(code));
        }
    }

    /// Sets `status`, unless a handler has set a status.
    fn set_status(&self, status: SpanStatus) {
        if self.transaction.get_status().is_none() {
            self.transaction.set_status(status);
        }
    }

    /// Takes note of the end of the response.
    pub(crate) fn end(&self) {
        let _ = self.ended.set(SystemTime::now());
    }

    /// Takes note that the message was processed, or that its service failed.
    pub(crate) fn processed(&self, is_ok: bool) {
        if self.is_sampled {
            self.set_status(if is_ok { SpanStatus::Ok } else { SpanStatus::InternalError });
        }
        self.end();
    }

    /// Takes note that the inner service or the body of the response failed.
    pub(crate) fn failed(&self) {
        if self.is_sampled {
            self.transaction.set_status(SpanStatus::UnknownError);
        }
        self.end();
    }

    /// Finishes the transaction. If no end was noted before, a handler panicked or the client left.
    pub(crate) fn finish(self, record: &Record, sends_pii: bool) {
        let Self { transaction, is_sampled, has_panicked, ended } = self;
        if !is_sampled {
            return transaction.finish();
        }
        if let Some(request) = &record.request {
            transaction.set_request(protocol_request(request, sends_pii));
        }
        if let Some(ended) = ended.into_inner() {
            transaction.finish_with_timestamp(ended);
        } else {
            // A panic that nobody catches drops the request while the thread unwinds.
            let panics = has_panicked.into_inner() || std::thread::panicking();
            transaction.set_status(if panics {
                SpanStatus::InternalError
            } else {
                SpanStatus::Cancelled
            });
            transaction.finish();
        }
    }
}

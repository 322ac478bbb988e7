//! Decides on the ID of a message, and opens its scope.

use std::sync::Arc;

use crate::TransactionId;
use crate::decision::{Decision, log_refusal};
use crate::messages::context::MessageContext;
use crate::scope::hub::BaseHub;
use crate::scope::record::MessageKind;
use crate::scope::{Opening, TransactionIdScope};

/// The settings of the layer.
pub(crate) struct Config<M> {
    /// The kind of all messages, unless `name_with` names each.
    pub(crate) kind: Arc<MessageKind>,
    pub(crate) name_with: Option<Arc<Name<M>>>,
    read: Arc<Read<M>>,
    /// `None` trusts every message.
    pub(crate) trusts: Option<Arc<Trusts<M>>>,
    pub(crate) base: Option<Arc<BaseHub>>,
    pub(crate) captures_errors: bool,
    /// Whether the layer measures each message as a performance transaction.
    pub(crate) measures: bool,
    #[cfg(feature = "tracing")]
    pub(crate) make_span: Option<Arc<MakeSpan<M>>>,
}

type Read<M> = dyn Fn(&M) -> MessageContext + Send + Sync;
type Name<M> = dyn Fn(&M) -> Arc<str> + Send + Sync;
type Trusts<M> = dyn Fn(&M) -> bool + Send + Sync;
#[cfg(feature = "tracing")]
type MakeSpan<M> = dyn Fn(&M, &TransactionId) -> tracing::Span + Send + Sync;

impl<M> Config<M> {
    pub(crate) fn new(name: Arc<str>, read: Arc<Read<M>>) -> Self {
        Self {
            kind: Arc::new(MessageKind { name, op: "queue.process" }),
            name_with: None,
            read,
            trusts: None,
            base: None,
            captures_errors: false,
            measures: false,
            #[cfg(feature = "tracing")]
            make_span: None,
        }
    }

    /// Opens the scope of `message`.
    pub(crate) fn open(&self, message: &M, measures: bool) -> TransactionIdScope {
        let MessageContext { id, trace } = (self.read)(message);
        let brings = trace.is_some() || matches!(id, Some(Ok(_)));
        let trusts = self.trusts.as_ref().is_none_or(|trusts| brings && trusts(message));
        let decision = Decision::on(id, trusts, TransactionId::generate);
        let refused = decision.refused();
        let Decision { id, origin, upstream } = decision;
        let opening = Opening {
            base: self.base.as_deref(),
            origin: Some(origin),
            upstream: upstream.as_ref(),
            ..Opening::default()
        };
        let mut scope = TransactionIdScope::open(id, &opening, || true);
        if let Some(hub) = scope.hub() {
            let trace = trace.filter(|_| trusts);
            // The span of a connection, or of the worker, is no parent of a message that brings its own.
            if trace.is_some() && self.base.is_none() && scope.work().options.traces {
                hub.configure_scope(|scope| scope.set_span(None));
            }
            let kind = match &self.name_with {
                Some(name) => Arc::new(MessageKind { name: name(message), op: self.kind.op }),
                None => Arc::clone(&self.kind),
            };
            let record = &mut scope.work_mut().record;
            record.message = Some(kind);
            record.incoming_trace = trace;
            if measures {
                scope.start_performance();
            }
        }
        #[cfg(feature = "tracing")]
        if let Some(make_span) = &self.make_span {
            scope.make_span(|id| make_span(message, id));
        }
        if let Some(why) = refused {
            scope.run(|| log_refusal(why));
        }
        scope
    }
}

impl<M> Clone for Config<M> {
    fn clone(&self) -> Self {
        Self {
            kind: Arc::clone(&self.kind),
            name_with: self.name_with.clone(),
            read: Arc::clone(&self.read),
            trusts: self.trusts.clone(),
            base: self.base.clone(),
            captures_errors: self.captures_errors,
            measures: self.measures,
            #[cfg(feature = "tracing")]
            make_span: self.make_span.clone(),
        }
    }
}

//! The tracing span of a scope, which log lines show.
//!
//! A scope enters its span *before* it switches the hub. sentry-tracing forks the current hub each time
//! that a span is entered, and anything set on the fork is lost when the span is left. In this order the
//! scope's own hub is current, not the fork, so nothing that a handler sets is lost.

#[cfg(feature = "tracing")]
use std::mem;

#[cfg(feature = "tracing")]
use crate::scope::alive::has_subscriber;

/// The span of a scope, if it has one.
#[derive(Clone, Default)]
pub(crate) struct ScopeSpan {
    #[cfg(feature = "tracing")]
    span: Option<tracing::Span>,
}

impl ScopeSpan {
    /// Enters the span, if there is one. Returns whether [`exit`](Self::exit) has to follow on this
    /// thread.
    #[cfg_attr(not(feature = "tracing"), allow(clippy::unused_self))]
    pub(crate) fn enter(&self) -> bool {
        #[cfg(feature = "tracing")]
        let entered = self.span.as_ref().and_then(|span| {
            span.with_subscriber(|(id, dispatch)| has_subscriber(|| dispatch.enter(id)))
        });
        #[cfg(not(feature = "tracing"))]
        let entered = None;
        entered == Some(true)
    }

    #[cfg_attr(not(feature = "tracing"), allow(clippy::unused_self))]
    pub(crate) fn is_some(&self) -> bool {
        #[cfg(feature = "tracing")]
        let span = self.span.as_ref();
        #[cfg(not(feature = "tracing"))]
        let span: Option<()> = None;
        span.is_some()
    }
}

#[cfg(feature = "tracing")]
impl ScopeSpan {
    pub(crate) fn new(span: tracing::Span) -> Self {
        Self { span: Some(span) }
    }

    /// Drops the handle of the span. If it is the last handle, this ends the span.
    pub(crate) fn end(&mut self) {
        if !has_subscriber(|| self.span = None) {
            mem::forget(self.span.take());
        }
    }

    pub(crate) fn exit(&self) {
        if let Some(span) = &self.span {
            span.with_subscriber(|(id, dispatch)| dispatch.exit(id));
        }
    }
}

#[cfg(not(feature = "tracing"))]
#[allow(clippy::unused_self)]
impl ScopeSpan {
    pub(crate) fn exit(&self) {}

    pub(crate) fn end(&mut self) {}
}

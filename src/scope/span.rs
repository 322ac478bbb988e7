//! The tracing span of a scope, which log lines show.
//!
//! A scope enters its span *before* it switches the hub. sentry-tracing forks the current hub each time
//! that a span is entered; below the scope's own hub, such a fork cannot take anything along that a
//! handler sets on it.

/// The span of a scope, if it has one.
#[derive(Clone, Default)]
pub(crate) struct ScopeSpan {
    #[cfg(feature = "tracing")]
    span: Option<tracing::Span>,
}

#[cfg(feature = "tracing")]
impl ScopeSpan {
    pub(crate) fn new(span: tracing::Span) -> Self {
        Self { span: Some(span) }
    }

    pub(crate) fn is_some(&self) -> bool {
        self.span.is_some()
    }

    /// To be followed by [`exit`](Self::exit) on the same thread.
    pub(crate) fn enter(&self) {
        if let Some(span) = &self.span {
            span.with_subscriber(|(id, dispatch)| dispatch.enter(id));
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
    pub(crate) fn is_some(&self) -> bool {
        false
    }

    pub(crate) fn enter(&self) {}

    pub(crate) fn exit(&self) {}
}

//! Whose IDs the server layer keeps, and whose traces it continues.

use std::fmt;
use std::sync::Arc;

use http::Request;

use crate::RequestHead;
use crate::server::request::has_trace;

/// Decides whose transaction IDs a [`BindTransactionIdLayer`](crate::BindTransactionIdLayer) keeps, and
/// whose traces it continues.
#[derive(Clone)]
pub struct Trust(TrustKind);

#[derive(Clone)]
enum TrustKind {
    Always,
    Never,
    When(Arc<Decide>),
}

type Decide = dyn Fn(RequestHead<'_>) -> bool + Send + Sync;

impl Trust {
    /// Trusts every caller. This is the default, so that the ID of a browser's request is found here too.
    #[must_use]
    pub fn always() -> Self {
        Self(TrustKind::Always)
    }

    /// Trusts no caller, for an edge that faces the public. Behind the edge, it would break the chain.
    #[must_use]
    pub fn never() -> Self {
        Self(TrustKind::Never)
    }

    /// Trusts a caller if `decide` returns `true` for the request.
    ///
    /// The layer calls `decide` for each request that brings a valid ID or a `sentry-trace`, unless an
    /// outer layer has bound the request. `decide` may look at a header that your proxy sets, or at an
    /// extension such as axum's `ConnectInfo`.
    ///
    /// ```
    /// use std::net::SocketAddr;
    /// use axum::extract::ConnectInfo;
    /// use tower_transaction_id::{BindTransactionIdLayer, Trust};
    ///
    /// let layer = BindTransactionIdLayer::new().trust(Trust::when(|request| {
    ///     let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    ///     peer.is_some_and(|ConnectInfo(peer)| peer.ip().is_loopback())
    /// }));
    /// ```
    ///
    /// axum sets this extension only for an app that is served as
    /// `app.into_make_service_with_connect_info::<SocketAddr>()`. Otherwise this closure trusts no caller.
    #[must_use]
    pub fn when<F>(decide: F) -> Self
    where
        F: Fn(RequestHead<'_>) -> bool + Send + Sync + 'static,
    {
        Self(TrustKind::When(Arc::new(decide)))
    }

    /// Returns whether the caller of `request` is trusted. Does not call `decide` for a request that brings
    /// neither a valid ID nor a trace.
    pub(crate) fn accepts<B>(&self, request: &Request<B>, brings_id: bool) -> bool {
        match &self.0 {
            TrustKind::Always => true,
            TrustKind::Never => false,
            TrustKind::When(_) if !brings_id && !has_trace(request.headers()) => false,
            TrustKind::When(decide) => decide(RequestHead::of(request)),
        }
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            TrustKind::Always => "Trust::always()",
            TrustKind::Never => "Trust::never()",
            TrustKind::When(_) => "Trust::when(..)",
        })
    }
}

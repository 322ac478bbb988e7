//! Whose IDs the server layer keeps.

use std::fmt;
use std::sync::Arc;

use http::{Extensions, HeaderMap, Request};

/// Whose transaction IDs a [`BindTransactionIdLayer`](crate::BindTransactionIdLayer) keeps.
#[derive(Clone)]
pub struct Trust(TrustKind);

#[derive(Clone)]
enum TrustKind {
    Always,
    Never,
    When(Arc<Decide>),
}

type Decide = dyn Fn(&HeaderMap, &Extensions) -> bool + Send + Sync;

impl Trust {
    /// Every caller's. The default: to correlate what a browser did is the purpose.
    #[must_use]
    pub fn always() -> Self {
        Self(TrustKind::Always)
    }

    /// No caller's, for an edge that faces the public. Further inside it would break the chain.
    #[must_use]
    pub fn never() -> Self {
        Self(TrustKind::Never)
    }

    /// As `decide` says of each request that brings a valid ID: by a header that your proxy sets,
    /// or by an extension such as axum's `ConnectInfo`.
    ///
    /// ```
    /// use std::net::SocketAddr;
    /// use axum::extract::ConnectInfo;
    /// use tower_transaction_id::{BindTransactionIdLayer, Trust};
    ///
    /// let layer = BindTransactionIdLayer::new().trust(Trust::when(|_headers, extensions| {
    ///     let peer = extensions.get::<ConnectInfo<SocketAddr>>();
    ///     peer.is_some_and(|ConnectInfo(peer)| peer.ip().is_loopback())
    /// }));
    /// ```
    #[must_use]
    pub fn when<F>(decide: F) -> Self
    where
        F: Fn(&HeaderMap, &Extensions) -> bool + Send + Sync + 'static,
    {
        Self(TrustKind::When(Arc::new(decide)))
    }

    pub(crate) fn accepts<B>(&self, request: &Request<B>) -> bool {
        match &self.0 {
            TrustKind::Always => true,
            TrustKind::Never => false,
            TrustKind::When(decide) => decide(request.headers(), request.extensions()),
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

//! The stacks of layers that this crate replaces.

use std::task::{Context, Poll};

use http::Request;
use sentry_tower::{NewSentryLayer, SentryHttpLayer};
use tower::layer::util::{Identity, Stack};
use tower::{Layer, Service, ServiceBuilder};
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_transaction_id::{TransactionId, X_TRANSACTION_ID};

/// The layers in the order that works: the hub outermost, then the ID, and the tag innermost.
pub(crate) type Lite<B> = Stack<
    SetTagLayer,
    Stack<
        PropagateRequestIdLayer,
        Stack<SetRequestIdLayer<MakeRequestUuid>, Stack<NewSentryLayer<Request<B>>, Identity>>,
    >,
>;

pub(crate) type Peer<B> = Stack<
    SetTagLayer,
    Stack<
        PropagateRequestIdLayer,
        Stack<
            SetRequestIdLayer<MakeRequestUuid>,
            Stack<SentryHttpLayer, Stack<NewSentryLayer<Request<B>>, Identity>>,
        >,
    >,
>;

pub(crate) fn lite<B>() -> Lite<B> {
    ServiceBuilder::new()
        .layer(NewSentryLayer::new_from_top())
        .layer(SetRequestIdLayer::new(X_TRANSACTION_ID, MakeRequestUuid))
        .layer(PropagateRequestIdLayer::new(X_TRANSACTION_ID))
        .layer(SetTagLayer)
        .into_inner()
}

/// With `measures`, each request is a performance transaction.
pub(crate) fn peer<B>(measures: bool) -> Peer<B> {
    let http = SentryHttpLayer::new();
    ServiceBuilder::new()
        .layer(NewSentryLayer::new_from_top())
        .layer(if measures { http.enable_transaction() } else { http })
        .layer(SetRequestIdLayer::new(X_TRANSACTION_ID, MakeRequestUuid))
        .layer(PropagateRequestIdLayer::new(X_TRANSACTION_ID))
        .layer(SetTagLayer)
        .into_inner()
}

/// The layer that users write by hand: sets the tag to the ID of the request.
#[derive(Clone, Copy)]
pub(crate) struct SetTagLayer;

impl<S> Layer<S> for SetTagLayer {
    type Service = SetTag<S>;

    fn layer(&self, inner: S) -> SetTag<S> {
        SetTag { inner }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct SetTag<S> {
    inner: S,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for SetTag<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if let Some(id) = request.headers().get(X_TRANSACTION_ID)
            && let Ok(id) = id.to_str()
        {
            sentry::configure_scope(|scope| scope.set_tag(TransactionId::TAG, id));
        }
        self.inner.call(request)
    }
}

//! The stacks of layers that this crate replaces.

use http::{HeaderValue, Request};
use sentry_tower::{NewSentryLayer, SentryHttpLayer};
use tower::layer::util::{Identity, Stack};
use tower::{Layer, Service, ServiceBuilder};
use tower_http::request_id::{
    MakeRequestId, PropagateRequestIdLayer, RequestId, SetRequestIdLayer,
};
use tower_transaction_id::{TransactionId, X_TRANSACTION_ID};
use uuid::Uuid;

use std::task::{Context, Poll};

/// In the order that works: the hub outermost, then the ID, and the tag innermost.
pub(crate) type Lite<M, B> = Stack<
    SetTagLayer,
    Stack<
        PropagateRequestIdLayer,
        Stack<SetRequestIdLayer<M>, Stack<NewSentryLayer<Request<B>>, Identity>>,
    >,
>;

pub(crate) type Peer<M, B> = Stack<
    SetTagLayer,
    Stack<
        PropagateRequestIdLayer,
        Stack<
            SetRequestIdLayer<M>,
            Stack<SentryHttpLayer, Stack<NewSentryLayer<Request<B>>, Identity>>,
        >,
    >,
>;

pub(crate) fn lite<M: MakeRequestId, B>(make_id: M) -> Lite<M, B> {
    ServiceBuilder::new()
        .layer(NewSentryLayer::new_from_top())
        .layer(SetRequestIdLayer::new(X_TRANSACTION_ID, make_id))
        .layer(PropagateRequestIdLayer::new(X_TRANSACTION_ID))
        .layer(SetTagLayer)
        .into_inner()
}

pub(crate) fn peer<M: MakeRequestId, B>(make_id: M) -> Peer<M, B> {
    ServiceBuilder::new()
        .layer(NewSentryLayer::new_from_top())
        .layer(SentryHttpLayer::new())
        .layer(SetRequestIdLayer::new(X_TRANSACTION_ID, make_id))
        .layer(PropagateRequestIdLayer::new(X_TRANSACTION_ID))
        .layer(SetTagLayer)
        .into_inner()
}

/// `MakeRequestUuid` as it is where this crate is not: `Uuid::new_v4` asks the kernel each time.
/// Here cargo unifies the features of `uuid` and hands our fast generator to everyone.
#[derive(Clone, Copy)]
pub(crate) struct KernelUuid;

impl MakeRequestId for KernelUuid {
    fn make_request_id<B>(&mut self, _: &Request<B>) -> Option<RequestId> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the kernel has random numbers");
        let uuid = uuid::Builder::from_random_bytes(bytes).into_uuid();
        Some(RequestId::new(in_a_header(uuid)))
    }
}

/// As `MakeRequestUuid` does.
fn in_a_header(uuid: Uuid) -> HeaderValue {
    uuid.to_string().parse().expect("a UUID makes a header value")
}

/// The layer that everyone writes by hand: sets the tag to the ID of the request.
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

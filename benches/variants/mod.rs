//! The things that the benches compare: the [variants](Variant), the [cases](Case), and the
//! [subjects](subjects), each a variant in a case.

#![allow(dead_code, reason = "each bench uses its part")]
#![allow(clippy::struct_excessive_bools, reason = "a case is a set of switches")]

pub(crate) mod allocations;
pub(crate) mod callgrind;
pub(crate) mod cases;
pub(crate) mod client;
pub(crate) mod exchange;
pub(crate) mod http2;
pub(crate) mod report;
pub(crate) mod sentry_client;
pub(crate) mod stacks;
pub(crate) mod table;

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use sentry::Hub;
use tower::{Layer, Service};
use tower_transaction_id::messages::{BindMessageLayer, MessageContext};
use tower_transaction_id::{BindTransactionIdLayer, Failures};

pub(crate) use cases::Case;
use exchange::NoBody;

/// The layers around the inner service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    /// No layer.
    Bare,
    /// `NewSentryLayer`, `SetRequestId`, `PropagateRequestId` and a layer that sets the tag.
    Lite,
    /// `Lite` with `SentryHttpLayer`.
    Peer,
    /// `BindTransactionIdLayer::new().record_request(false)`, without a report of the failure.
    Ours,
    /// `Ours` with `.hub(base)`.
    OursBase,
    /// `BindTransactionIdLayer::new().capture_failures(..)`, which also records the request, on a client
    /// with `TransactionIdIntegration`.
    FullDefault,
    /// `FullDefault` with `.hub(base)`.
    Full,
    /// `BindMessageLayer` with `.hub(base)`, which takes the request for a message of any protocol.
    Message,
}

impl Variant {
    pub(crate) const ALL: [Self; 7] = [
        Self::Bare,
        Self::Lite,
        Self::Peer,
        Self::Ours,
        Self::OursBase,
        Self::FullDefault,
        Self::Full,
    ];

    /// `bare`, and the variants that can make a performance transaction of each request.
    pub(crate) const MEASURING: [Self; 4] = [Self::Bare, Self::Peer, Self::FullDefault, Self::Full];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Lite => "lite",
            Self::Peer => "peer",
            Self::Ours => "ours",
            Self::OursBase => "ours+base",
            Self::FullDefault => "full+default",
            Self::Full => "full",
            Self::Message => "message",
        }
    }

    /// A hub for the requests of this variant, if the client of the thread's hub is the wrong one.
    fn hub(self, case: &Case) -> Option<Arc<Hub>> {
        (matches!(self, Self::FullDefault | Self::Full) && case.sentry).then(|| {
            let hub = Hub::new_from_top(Hub::current());
            hub.bind_client(Some(sentry_client::with_integration(case.transactions)));
            Arc::new(hub)
        })
    }
}

/// Serves requests. Makes each request, and drops its response.
pub(crate) struct Subject {
    serve: Box<dyn FnMut() + Send>,
    hub: Option<Arc<Hub>>,
}

impl Subject {
    /// Serves on the hub of the thread.
    pub(crate) fn new(serve: impl FnMut() + Send + 'static) -> Self {
        Self { serve: Box::new(serve), hub: None }
    }

    /// Serves `requests` requests, one after the other. Switches to the hub once for all of them, so the
    /// switch costs next to nothing.
    pub(crate) fn serve(&mut self, requests: u32) {
        let Self { serve, hub } = self;
        on(hub.clone(), || (0..requests).for_each(|_| serve()));
    }
}

fn on<R>(hub: Option<Arc<Hub>>, f: impl FnOnce() -> R) -> R {
    match hub {
        Some(hub) => Hub::run(hub, f),
        None => f(),
    }
}

/// `variant` around the inner service of `case`. Make and call it inside [`Case::run`].
pub(crate) fn subject(variant: Variant, case: &Case) -> Subject {
    subjects(variant, case, 1).remove(0)
}

/// Clones of one service. The connections or threads of a server have such clones.
pub(crate) fn subjects(variant: Variant, case: &Case, count: usize) -> Vec<Subject> {
    let subjects = with_service(variant, case, exchange::Clones { case, count });
    let with_hub = |subject| Subject { hub: variant.hub(case), ..subject };
    subjects.into_iter().map(with_hub).collect()
}

/// Calls `visit` with `variant` around the inner service of `case`, on a hub with the right client.
pub(crate) fn with_service<V: Visit>(variant: Variant, case: &Case, visit: V) -> V::Output {
    let inner = exchange::inner_service(case);
    let bare = || BindTransactionIdLayer::new().record_request(false);
    let measures = case.transactions.is_some();
    let full = || {
        let layer = BindTransactionIdLayer::new().capture_failures(Failures::new());
        layer.measure_performance(measures)
    };
    let message = || {
        let read = |request: &Request<NoBody>| MessageContext::from(request.headers());
        BindMessageLayer::new("orders", read)
    };
    on(variant.hub(case), || match variant {
        Variant::Bare => visit.visit(&inner),
        Variant::Lite => visit.visit(&stacks::lite().layer(inner)),
        Variant::Peer => visit.visit(&stacks::peer(measures).layer(inner)),
        Variant::Ours => visit.visit(&bare().layer(inner)),
        Variant::OursBase => visit.visit(&bare().hub(Hub::current()).layer(inner)),
        Variant::FullDefault => visit.visit(&full().layer(inner)),
        Variant::Full => visit.visit(&full().hub(Hub::current()).layer(inner)),
        Variant::Message => visit.visit(&message().hub(Hub::current()).layer(inner)),
    })
}

/// A function that takes any service of a bench.
pub(crate) trait Visit {
    type Output;

    fn visit<S, B>(self, service: &S) -> Self::Output
    where
        S: Service<Request<NoBody>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + 'static,
        B: Body<Data = Bytes, Error = Infallible>;
}

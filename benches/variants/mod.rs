//! What the benches compare, defined once: the [variants](Variant), the [cases](Case) they meet,
//! and the [subjects](subjects) that come of both.

#![allow(dead_code, reason = "each bench uses its part")]
#![allow(clippy::struct_excessive_bools, reason = "a case is a set of switches")]

pub(crate) mod allocations;
pub(crate) mod callgrind;
pub(crate) mod cases;
pub(crate) mod client;
pub(crate) mod exchange;
pub(crate) mod report;
pub(crate) mod sentry_client;
pub(crate) mod stacks;
pub(crate) mod table;

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use sentry::Hub;
use tower::{Layer, Service};
use tower_transaction_id::BindTransactionIdLayer;

pub(crate) use cases::Case;
use exchange::NoBody;
use stacks::KernelUuid;
use tower_http::request_id::MakeRequestUuid;

/// What stands around the inner service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    /// Nothing.
    Bare,
    /// `NewSentryLayer`, `SetRequestId`, `PropagateRequestId` and a layer that sets the tag.
    Lite,
    /// The same with `SentryHttpLayer`.
    Peer,
    /// `lite` with the random generator of this crate.
    LiteFast,
    /// `peer` with the random generator of this crate.
    PeerFast,
    /// `BindTransactionIdLayer::new()`.
    Ours,
    /// `BindTransactionIdLayer::new().hub(base)`.
    OursBase,
}

impl Variant {
    pub(crate) const MAIN: [Self; 5] =
        [Self::Bare, Self::Lite, Self::Peer, Self::Ours, Self::OursBase];
    pub(crate) const ALL: [Self; 7] = [
        Self::Bare,
        Self::Lite,
        Self::Peer,
        Self::LiteFast,
        Self::PeerFast,
        Self::Ours,
        Self::OursBase,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Lite => "lite",
            Self::Peer => "peer",
            Self::LiteFast => "lite+fast",
            Self::PeerFast => "peer+fast",
            Self::Ours => "ours",
            Self::OursBase => "ours+base",
        }
    }
}

/// Serves one request, from its making to the drop of its response.
pub(crate) type Subject = Box<dyn FnMut() + Send>;

/// `variant` around the inner service of `case`. To be made, and called, inside [`Case::run`].
pub(crate) fn subject(variant: Variant, case: &Case) -> Subject {
    subjects(variant, case, 1).remove(0)
}

/// Clones of one service, as the connections or the threads of a server have.
pub(crate) fn subjects(variant: Variant, case: &Case, count: usize) -> Vec<Subject> {
    with_service(variant, case, exchange::Clones { case, count })
}

/// Shows `variant` around the inner service of `case` to `visit`.
pub(crate) fn with_service<V: Visit>(variant: Variant, case: &Case, visit: V) -> V::Output {
    let inner = exchange::inner_service(case);
    match variant {
        Variant::Bare => visit.visit(&inner),
        Variant::Lite => visit.visit(&stacks::lite(KernelUuid).layer(inner)),
        Variant::Peer => visit.visit(&stacks::peer(KernelUuid).layer(inner)),
        Variant::LiteFast => visit.visit(&stacks::lite(MakeRequestUuid).layer(inner)),
        Variant::PeerFast => visit.visit(&stacks::peer(MakeRequestUuid).layer(inner)),
        Variant::Ours => visit.visit(&BindTransactionIdLayer::new().layer(inner)),
        Variant::OursBase => {
            visit.visit(&BindTransactionIdLayer::new().hub(Hub::current()).layer(inner))
        }
    }
}

/// A function of any service of a bench.
pub(crate) trait Visit {
    type Output;

    fn visit<S, B>(self, service: &S) -> Self::Output
    where
        S: Service<Request<NoBody>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + 'static,
        B: Body<Data = Bytes, Error = Infallible>;
}

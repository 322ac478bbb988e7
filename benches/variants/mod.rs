//! What the benches compare, defined once: the [variants](Variant), the [cases](Case) they meet,
//! and the [subjects](subjects) that come of both.

#![allow(dead_code, reason = "each bench uses its part")]

pub(crate) mod allocations;
pub(crate) mod callgrind;
pub(crate) mod cases;
pub(crate) mod client;
pub(crate) mod exchange;
pub(crate) mod report;
pub(crate) mod sentry_client;
pub(crate) mod stacks;
pub(crate) mod table;

use sentry::Hub;
use tower::Layer;
use tower_transaction_id::BindTransactionIdLayer;

pub(crate) use cases::Case;
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
pub(crate) type Subject = Box<dyn FnMut()>;

/// `variant` around the inner service of `case`. To be made, and called, inside [`Case::run`].
pub(crate) fn subject(variant: Variant, case: &Case) -> Subject {
    let inner = exchange::inner_service(case);
    match variant {
        Variant::Bare => exchange::subject(inner, case),
        Variant::Lite => exchange::subject(stacks::lite(KernelUuid).layer(inner), case),
        Variant::Peer => exchange::subject(stacks::peer(KernelUuid).layer(inner), case),
        Variant::LiteFast => exchange::subject(stacks::lite(MakeRequestUuid).layer(inner), case),
        Variant::PeerFast => exchange::subject(stacks::peer(MakeRequestUuid).layer(inner), case),
        Variant::Ours => exchange::subject(BindTransactionIdLayer::new().layer(inner), case),
        Variant::OursBase => {
            let layer = BindTransactionIdLayer::new().hub(Hub::current());
            exchange::subject(layer.layer(inner), case)
        }
    }
}

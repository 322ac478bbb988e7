//! The kinds of outbound requests that the benches send through the client layer.

use tower::Layer;
use tower_transaction_id::{
    AllowedHosts, InjectTransactionIdLayer, TransactionId, TransactionIdScope,
};

use super::exchange::{self, ID, MakeRequest};
use super::{Case, Subject};

/// One kind of outbound request.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools)] // each a fact of its own
pub(crate) struct ClientCase {
    pub(crate) name: &'static str,
    pub(crate) sentry: bool,
    /// The call is made inside the scope of a request. Else the layer has to generate an ID.
    in_scope: bool,
    /// The request already has the current ID.
    forwarded: bool,
    allowed: bool,
    breadcrumbs: bool,
}

const INJECT: ClientCase = ClientCase {
    name: "inject",
    sentry: true,
    in_scope: true,
    forwarded: false,
    allowed: true,
    breadcrumbs: false,
};

impl ClientCase {
    pub(crate) const INJECT_ON: Self = INJECT;
    pub(crate) const INJECT_OFF: Self = Self { name: "inject, off", sentry: false, ..INJECT };

    pub(crate) const ALL: [Self; 7] = [
        INJECT,
        Self::INJECT_OFF,
        Self { name: "inject, breadcrumb", breadcrumbs: true, ..INJECT },
        Self { name: "keep", forwarded: true, ..INJECT },
        Self { name: "host not allowed", allowed: false, ..INJECT },
        Self { name: "host not allowed, forwarded", allowed: false, forwarded: true, ..INJECT },
        Self { name: "outside: generate", in_scope: false, ..INJECT },
    ];

    /// As [`Case::run`], and inside the scope of a request if the case has `in_scope`.
    pub(crate) fn run<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        let surroundings = Case { sentry: self.sentry, ..Case::READ_ON };
        surroundings.run(|| {
            if self.in_scope {
                let id = TransactionId::try_from(ID).expect("the ID of the benches is valid");
                TransactionIdScope::new(id).run(f)
            } else {
                f()
            }
        })
    }

    /// The bare client, or the client with the layer. Make and call it inside [`ClientCase::run`].
    pub(crate) fn subject(&self, with_layer: bool) -> Subject {
        let uri =
            if self.allowed { "http://kitchen.internal/cook" } else { "http://other.test/cook" };
        let make = MakeRequest::to(uri, self.forwarded.then_some(ID));
        let mut inner = exchange::inner_service(&Case::READ_ON);
        if with_layer {
            let hosts = AllowedHosts::only(["bakery.internal", "kitchen.internal"]).expect("hosts");
            let layer = InjectTransactionIdLayer::new(hosts).breadcrumbs(self.breadcrumbs);
            let mut service = layer.layer(inner);
            Subject::new(move || exchange::exchange(&mut service, make.request()))
        } else {
            Subject::new(move || exchange::exchange(&mut inner, make.request()))
        }
    }
}

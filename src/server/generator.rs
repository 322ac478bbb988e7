//! Generates the ID of a request, as the layer was asked to.

#[cfg(feature = "tower-http")]
use std::mem;
use std::sync::Arc;

use http::Request;

#[cfg(feature = "tower-http")]
use crate::tower_http::MakePerService;
use crate::{MakeTransactionId, RequestHead, TransactionId};

/// The generator of one service.
#[derive(Default)]
pub(crate) enum Generator {
    #[default]
    Random,
    /// One for all services of a layer.
    Shared(Arc<dyn MakeTransactionId>),
    /// One for each service, as tower-http has it.
    #[cfg(feature = "tower-http")]
    PerService(Box<dyn MakePerService>),
}

impl Generator {
    pub(crate) fn make<B>(&mut self, request: &mut Request<B>) -> TransactionId {
        let id = match self {
            Self::Random => None,
            Self::Shared(make) => make.make(RequestHead::of(request)),
            #[cfg(feature = "tower-http")]
            Self::PerService(make) => with_head(request, |head| make.make(head)),
        };
        id.unwrap_or_else(TransactionId::mint)
    }
}

impl Clone for Generator {
    fn clone(&self) -> Self {
        match self {
            Self::Random => Self::Random,
            Self::Shared(make) => Self::Shared(Arc::clone(make)),
            #[cfg(feature = "tower-http")]
            Self::PerService(make) => Self::PerService(make.boxed_clone()),
        }
    }
}

/// Shows `look` the request without its body. A `MakeRequestId` takes a request with a body of any
/// type, but a trait object can name only one.
#[cfg(feature = "tower-http")]
fn with_head<B, R>(request: &mut Request<B>, look: impl FnOnce(&Request<()>) -> R) -> R {
    let mut head = Request::new(());
    let mut swap = |head: &mut Request<()>| {
        mem::swap(head.method_mut(), request.method_mut());
        mem::swap(head.uri_mut(), request.uri_mut());
        mem::swap(head.version_mut(), request.version_mut());
        mem::swap(head.headers_mut(), request.headers_mut());
        mem::swap(head.extensions_mut(), request.extensions_mut());
    };
    swap(&mut head);
    let looked = look(&head);
    swap(&mut head);
    looked
}

//! Generates the ID of a request.

#[cfg(feature = "tower-http")]
use std::mem;
use std::sync::Arc;

use http::Request;

#[cfg(feature = "tower-http")]
use crate::tower_http::MakePerService;
use crate::{RequestHead, TransactionId};

/// Generates the IDs of requests that bring none, for
/// [`BindTransactionIdLayer::make_id`](crate::BindTransactionIdLayer::make_id).
///
/// Closures implement it, and so can a type of your own:
///
/// ```
/// use tower_transaction_id::{BindTransactionIdLayer, RequestHead, TransactionId};
///
/// /// A prefix names the service that generated the ID.
/// fn from_the_shop(_: RequestHead<'_>) -> Option<TransactionId> {
///     format!("shop-{}", TransactionId::generate()).parse().ok()
/// }
///
/// let layer = BindTransactionIdLayer::new().make_id(from_the_shop);
/// ```
///
/// Several threads may call a generator at the same time. A generator of tower-http may have a state of
/// its own: pass it to `BindTransactionIdLayer::make_request_id` (feature `tower-http`).
#[diagnostic::on_unimplemented(
    message = "`{Self}` makes no transaction IDs",
    note = "a closure does: `|request: RequestHead<'_>| -> Option<TransactionId>`",
    note = "for a `MakeRequestId` of tower-http 0.7 call `make_request_id`, with the feature `tower-http`"
)]
pub trait MakeTransactionId: Send + Sync + 'static {
    /// Generates the ID for `request`. If `None` is returned, [`TransactionId::generate`] makes the ID.
    fn make(&self, request: RequestHead<'_>) -> Option<TransactionId>;
}

impl<F> MakeTransactionId for F
where
    F: Fn(RequestHead<'_>) -> Option<TransactionId> + Send + Sync + 'static,
{
    fn make(&self, request: RequestHead<'_>) -> Option<TransactionId> {
        self(request)
    }
}

/// The generator of one service.
#[derive(Default)]
pub(crate) enum Generator {
    #[default]
    Random,
    /// All services of a layer share one generator.
    Shared(Arc<dyn MakeTransactionId>),
    /// Each service has its own generator, as in tower-http.
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
        id.unwrap_or_else(TransactionId::generate)
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

/// Calls `look` with the request without its body. A `MakeRequestId` takes a request with a body of any
/// type, but a trait object can name only one body type.
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

//! Adapts tower-http's generators of request IDs to this crate.

use http::Request;
use tower_http::request_id::MakeRequestId;

use crate::TransactionId;

/// A tower-http `MakeRequestId` that belongs to one service. A clone of the service has its own clone.
pub(crate) trait MakePerService: Send + Sync {
    fn make(&mut self, request: &Request<()>) -> Option<TransactionId>;
    fn boxed_clone(&self) -> Box<dyn MakePerService>;
}

impl<M: MakeRequestId + Clone + Send + Sync + 'static> MakePerService for M {
    fn make(&mut self, request: &Request<()>) -> Option<TransactionId> {
        self.make_request_id(request)?.into_header_value().try_into().ok()
    }

    fn boxed_clone(&self) -> Box<dyn MakePerService> {
        Box::new(self.clone())
    }
}

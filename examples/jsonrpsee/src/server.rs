//! The server: opens a scope for each call.

use std::collections::HashMap;
use std::sync::Arc;

use jsonrpsee::core::middleware::{Batch, BatchEntry, Notification, Request, RpcServiceT};
use jsonrpsee::server::{BatchResponseBuilder, Extensions, HttpRequest, MethodResponse};
use serde_json::value::RawValue;
use tower_transaction_id::messages::{BindMessageLayer, MessageContext};
use tower_transaction_id::{TransactionId, TransactionIdScope};

/// Names the tag that all calls of one connection have in common.
pub const CONNECTION_TAG: &str = "connection_transaction_id";

/// The scope of the request that opened the connection. It outlives the request.
#[derive(Clone)]
struct Connection(Arc<TransactionIdScope>);

/// Keeps the scope of a request for the calls that arrive in it. jsonrpsee clones the extensions of the
/// request into each of these calls. This runs inside [`BindTransactionIdLayer`].
///
/// [`BindTransactionIdLayer`]: tower_transaction_id::BindTransactionIdLayer
pub fn remember_connection<B>(mut request: HttpRequest<B>) -> HttpRequest<B> {
    if let Some(scope) = TransactionIdScope::fork_current() {
        if let Some(hub) = scope.hub() {
            // The scopes of the calls fork this hub, and so inherit the tag.
            hub.configure_scope(|hub| {
                hub.set_tag(CONNECTION_TAG, scope.id());
                // The span of the request ends with the response 101. Each call has its own trace.
                hub.set_span(None);
            });
        }
        request.extensions_mut().insert(Connection(Arc::new(scope)));
    }
    request
}

/// Runs each call in a scope of its own.
#[derive(Clone, Debug)]
pub struct BindCall<S> {
    service: S,
    calls: BindMessageLayer<MessageContext>,
    max_response_size: usize,
}

impl<S> BindCall<S> {
    /// Wraps `service`. `max_response_size` limits the responses to a batch, in bytes: jsonrpsee's own
    /// limit does not see them, because this middleware takes a batch apart.
    pub fn new(service: S, max_response_size: usize) -> Self {
        // Without `.hub(..)`, the scope of a call forks the current hub: that of the connection.
        let calls = BindMessageLayer::new("call", MessageContext::clone);
        Self { service, calls, max_response_size }
    }

    /// Opens the scope of a call inside the scope of its connection, whose user and tags it inherits.
    fn scope_of(&self, params: Option<&RawValue>, extensions: &Extensions) -> TransactionIdScope {
        let context = context_of(params);
        let open = || self.calls.scope(&context);
        match extensions.get::<Connection>() {
            Some(Connection(connection)) => connection.run(open),
            None => open(),
        }
    }
}

impl<S> RpcServiceT for BindCall<S>
where
    S: RpcServiceT<MethodResponse = MethodResponse> + Clone + Send + Sync + 'static,
{
    type MethodResponse = MethodResponse;
    type NotificationResponse = S::NotificationResponse;
    type BatchResponse = MethodResponse;

    fn call<'a>(
        &self,
        call: Request<'a>,
    ) -> impl Future<Output = Self::MethodResponse> + Send + 'a {
        let service = self.service.clone();
        // An async block, since a method that is not async runs as soon as `service.call` is called.
        self.scope_of(call.params.as_deref(), call.extensions())
            .bind(async move { service.call(call).await })
    }

    fn notification<'a>(
        &self,
        call: Notification<'a>,
    ) -> impl Future<Output = Self::NotificationResponse> + Send + 'a {
        let service = self.service.clone();
        self.scope_of(call.params.as_deref(), call.extensions())
            .bind(async move { service.notification(call).await })
    }

    /// Handles the calls of a batch one by one, as jsonrpsee does. If the batch went to `service`, its
    /// calls would pass by this middleware.
    fn batch<'a>(&self, batch: Batch<'a>) -> impl Future<Output = Self::BatchResponse> + Send + 'a {
        let this = self.clone();
        async move {
            let mut responses = BatchResponseBuilder::new_with_limit(this.max_response_size);
            let mut has_notification = false;
            for entry in batch {
                let response = match entry {
                    Ok(BatchEntry::Call(call)) => this.call(call).await,
                    Ok(BatchEntry::Notification(call)) => {
                        this.notification(call).await;
                        has_notification = true;
                        continue;
                    }
                    Err(invalid) => {
                        let (error, id) = invalid.into_parts();
                        MethodResponse::error(id, error)
                    }
                };
                if let Err(too_large) = responses.append(response) {
                    return too_large;
                }
            }
            if responses.is_empty() && has_notification {
                return MethodResponse::notification();
            }
            MethodResponse::from_batch(responses.finish())
        }
    }
}

/// Reads what a call brings. The ID is a member of its params; params by position have no room for one.
fn context_of(params: Option<&RawValue>) -> MessageContext {
    let id_in = |params: &RawValue| -> Option<String> {
        let members: HashMap<String, &RawValue> = serde_json::from_str(params.get()).ok()?;
        serde_json::from_str(members.get(TransactionId::TAG)?.get()).ok()
    };
    let current = TransactionId::current();
    // A request over HTTP has the call as its body, and its ID is that of the call. A call on a WebSocket
    // runs in a task of its own, where no ID is current.
    let id = params.and_then(id_in).or_else(|| current.map(|id| id.to_string()));
    MessageContext::of_id(id.as_deref())
}

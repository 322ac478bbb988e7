//! The client: sends an ID with each call.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jsonrpsee::core::middleware::{Batch, Notification, Request, RpcServiceT};
use serde_json::value::{RawValue, to_raw_value};
use tower_transaction_id::TransactionId;

/// Adds the current ID to the params of each call that brings no ID of its own. Outside a scope, each call
/// gets a new ID, and so does each call of a batch.
#[derive(Clone, Debug)]
pub struct InjectCall<S> {
    service: S,
}

impl<S> InjectCall<S> {
    /// Wraps `service`.
    pub fn new(service: S) -> Self {
        Self { service }
    }
}

impl<S: RpcServiceT> RpcServiceT for InjectCall<S> {
    type MethodResponse = S::MethodResponse;
    type NotificationResponse = S::NotificationResponse;
    type BatchResponse = S::BatchResponse;

    fn call<'a>(
        &self,
        mut call: Request<'a>,
    ) -> impl Future<Output = Self::MethodResponse> + Send + 'a {
        if let Some(params) = with_id(call.params.as_deref()) {
            call.params = Some(Cow::Owned(params));
        }
        self.service.call(call)
    }

    fn notification<'a>(
        &self,
        mut call: Notification<'a>,
    ) -> impl Future<Output = Self::NotificationResponse> + Send + 'a {
        if let Some(params) = with_id(call.params.as_deref()) {
            call.params = Some(Cow::Owned(params));
        }
        self.service.notification(call)
    }

    fn batch<'a>(
        &self,
        mut batch: Batch<'a>,
    ) -> impl Future<Output = Self::BatchResponse> + Send + 'a {
        for call in batch.iter_mut().flatten() {
            if let Some(params) = with_id(call.params().map(Cow::as_ref)) {
                call.set_params(Some(params));
            }
        }
        self.service.batch(batch)
    }
}

/// Returns named params with an ID. Returns `None` for params by position, which have no room for an ID:
/// the server then generates one.
fn with_id(params: Option<&RawValue>) -> Option<Box<RawValue>> {
    let params = params.map_or("{}", RawValue::get);
    let mut members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(params).ok()?;
    if !members.contains_key(TransactionId::TAG) {
        let id = TransactionId::current().unwrap_or_else(TransactionId::generate);
        members.insert(TransactionId::TAG.to_owned(), to_raw_value(id.as_str()).ok()?);
    }
    to_raw_value(&members).ok()
}

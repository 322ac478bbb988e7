//! The integration: sets the ID on logs and metrics, which have no tags, and completes events.

use std::sync::Arc;

use sentry::protocol::Event;
use sentry::{ClientOptions, Integration};

use crate::TransactionId;
use crate::scope::current::current_slot;
use crate::scope::hub::INTEGRATION;

/// Puts the transaction ID on Sentry's logs and metrics, which have no tags. Add it last to the client's
/// options.
///
/// ```
/// use tower_transaction_id::TransactionIdIntegration;
///
/// let options = sentry::ClientOptions::new()
///     .before_send_log(|log| Some(log)) // your own still runs, after the attribute is set
///     .add_integration(TransactionIdIntegration::new());
/// ```
///
/// In a scope, the integration
///
/// - sets the attribute `transaction_id` on structured **logs** and **metrics** that have none, and puts
///   them into the trace of the scope;
/// - sets the tag on **events** that are captured through another hub, and completes these events;
/// - does not let an event that `before_send` discards stand for the failure of its request.
///
/// The [guide](crate::guide::sentry) has a table of all telemetry with and without the integration.
#[derive(Clone, Debug, Default)]
pub struct TransactionIdIntegration(());

impl TransactionIdIntegration {
    /// Creates the integration.
    #[must_use]
    pub fn new() -> Self {
        Self(())
    }
}

impl Integration for TransactionIdIntegration {
    fn name(&self) -> &'static str {
        INTEGRATION
    }

    fn setup(&self, options: &mut ClientOptions) {
        let own = options.before_send_log.take();
        options.before_send_log = Some(Arc::new(move |mut log| {
            if let Some(slot) = current_slot() {
                let work = slot.work();
                let key = TransactionId::TAG.to_owned();
                log.attributes.entry(key).or_insert_with(|| work.id().as_str().into());
                let replaced = log.trace_id.and_then(|trace_id| work.replace_fallback(trace_id));
                log.trace_id = replaced.or(log.trace_id);
            }
            pass_on(own.as_deref(), log)
        }));
        let own = options.before_send_metric.take();
        options.before_send_metric = Some(Arc::new(move |mut metric| {
            if let Some(slot) = current_slot() {
                let work = slot.work();
                let key = TransactionId::TAG.into();
                metric.attributes.entry(key).or_insert_with(|| work.id().as_str().into());
                metric.trace_id = work.replace_fallback(metric.trace_id).unwrap_or(metric.trace_id);
            }
            pass_on(own.as_deref(), metric)
        }));
        let own = options.before_send.take();
        options.before_send = Some(Arc::new(move |event| {
            let event = pass_on(own.as_deref(), event)?;
            if let Some(slot) = current_slot() {
                slot.note(&event);
            }
            Some(event)
        }));
    }

    fn process_event(
        &self,
        mut event: Event<'static>,
        options: &ClientOptions,
    ) -> Option<Event<'static>> {
        // A client that is being built sends a made-up event through its integrations.
        if event.sdk.is_some()
            && let Some(slot) = current_slot()
        {
            let id = slot.work().id().as_str();
            event.tags.entry(TransactionId::TAG.to_owned()).or_insert_with(|| id.to_owned());
            slot.complete(&mut event, options);
        }
        Some(event)
    }
}

/// Passes `item` through the user's own callback, if there is one.
fn pass_on<T>(own: Option<&(dyn Fn(T) -> Option<T> + Send + Sync)>, item: T) -> Option<T> {
    match own {
        Some(own) => own(item),
        None => Some(item),
    }
}

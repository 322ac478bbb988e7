//! What Sentry has no tag for: logs, metrics, and where an ID came from.

use std::sync::Arc;

use sentry::protocol::{Context, Event, Map, Value};
use sentry::{ClientOptions, Integration};

use crate::scope::with_current;
use crate::telemetry::inbound::Notes;
use crate::{InvalidTransactionId, TAG, TransactionId};

/// Completes the transaction ID in Sentry. Add it last to the client's options.
///
/// ```
/// use tower_transaction_id::TransactionIdIntegration;
///
/// let options = sentry::ClientOptions::new()
///     .before_send_log(|log| Some(log)) // your own still runs, after the attribute is set
///     .add_integration(TransactionIdIntegration::new());
/// ```
///
/// It asks the thread which [`TransactionId`] is current, and with that
///
/// - sets the attribute `transaction_id` on structured **logs** and **metrics**, where they have
///   none: Sentry gives them no tags;
/// - tags **events** that were captured inside a scope through some other hub;
/// - adds the context `transaction_id` to events: whether the ID was `inbound` or `minted`, and why
///   one that came in was not kept;
/// - has an error that `before_send` discards not count as the report of its request's failure.
///
/// The [table of the crate](crate#sentry) tells which telemetry has the ID without it, and which
/// only with it.
#[derive(Clone, Debug, Default)]
pub struct TransactionIdIntegration(());

impl TransactionIdIntegration {
    /// The integration.
    #[must_use]
    pub fn new() -> Self {
        Self(())
    }
}

impl Integration for TransactionIdIntegration {
    fn name(&self) -> &'static str {
        "transaction-id"
    }

    fn setup(&self, options: &mut ClientOptions) {
        let own = options.before_send_log.take();
        options.before_send_log = Some(Arc::new(move |mut log| {
            if let Some(id) = TransactionId::current() {
                log.attributes.entry(TAG.to_owned()).or_insert_with(|| id.as_str().into());
            }
            match &own {
                Some(own) => own(log),
                None => Some(log),
            }
        }));
        let own = options.before_send.take();
        options.before_send = Some(Arc::new(move |event| {
            let event = match &own {
                Some(own) => own(event)?,
                None => event,
            };
            Notes::note_current(&event);
            Some(event)
        }));
        let own = options.before_send_metric.take();
        options.before_send_metric = Some(Arc::new(move |mut metric| {
            if let Some(id) = TransactionId::current() {
                metric.attributes.entry(TAG.into()).or_insert_with(|| id.as_str().into());
            }
            match &own {
                Some(own) => own(metric),
                None => Some(metric),
            }
        }));
    }

    fn process_event(
        &self,
        mut event: Event<'static>,
        _: &ClientOptions,
    ) -> Option<Event<'static>> {
        // A client that is being built sends a made-up event through its integrations.
        if event.sdk.is_some() {
            with_current(|scope| {
                let id = scope.id().as_str();
                let tag = event.tags.entry(TAG.to_owned()).or_insert_with(|| id.to_owned());
                if tag != id {
                    return;
                }
                if let Some(origin) = scope.origin() {
                    event.contexts.entry(TAG.to_owned()).or_insert_with(|| origin.context());
                }
            });
        }
        Some(event)
    }
}

/// Where the ID of a scope came from.
#[derive(Clone, Copy)]
pub(crate) enum Origin {
    Inbound,
    Minted(Option<Refusal>),
}

/// Why an ID that came in was not kept.
#[derive(Clone, Copy)]
pub(crate) enum Refusal {
    Invalid(InvalidTransactionId),
    Untrusted,
}

impl Origin {
    fn context(self) -> Context {
        let mut context = Map::new();
        let mut set = |key: &str, value: Value| context.insert(key.to_owned(), value);
        match self {
            Self::Inbound => set("source", "inbound".into()),
            Self::Minted(_) => set("source", "minted".into()),
        };
        match self {
            Self::Minted(Some(Refusal::Invalid(why))) => {
                set("refused", why.rule().to_string().into());
                set("refused_length", why.value_len().into());
            }
            Self::Minted(Some(Refusal::Untrusted)) => {
                set("refused", "not trusted".into());
            }
            Self::Inbound | Self::Minted(None) => {}
        }
        Context::Other(context)
    }
}

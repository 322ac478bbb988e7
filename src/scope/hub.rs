//! Where the hub of a scope comes from, and what a hub tells of its ID.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use sentry::protocol::Transaction;
use sentry::{Client, Hub, Scope, TransactionOrSpan};

use crate::scope::{UPSTREAM_TAG, hub_is_alive};
use crate::telemetry::inbound::Notes;
use crate::{TAG, TransactionId, TransactionIdIntegration};

/// A client and a scope as they were when a layer was given its hub: what each request starts from.
pub(crate) struct BaseHub {
    client: Arc<Client>,
    scope: Scope,
    key: u64,
}

impl BaseHub {
    /// `None` for a hub without an enabled client. A span that is active now is no parent of
    /// requests to come.
    pub(crate) fn new(hub: impl AsRef<Hub>) -> Option<Self> {
        static KEYS: AtomicU64 = AtomicU64::new(0);
        let hub = Hub::new_from_top(hub);
        let client = hub.client().filter(|client| client.is_enabled())?;
        let has_integration = has_integration(&hub);
        let scope = hub.configure_scope(|scope| {
            scope.set_span(None);
            // If this is called in a request.
            scope.remove_tag(UPSTREAM_TAG);
            if !has_integration {
                note_events(scope);
            }
            scope.clone()
        });
        Some(Self { client, scope, key: KEYS.fetch_add(1, Relaxed) })
    }

    /// Tells it from every other base.
    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.client.is_enabled()
    }

    /// A hub whose scope `prepare` completes.
    pub(crate) fn fork(&self, prepare: impl FnOnce(&mut Scope)) -> Hub {
        let mut scope = self.scope.clone();
        prepare(&mut scope);
        Hub::new(Some(Arc::clone(&self.client)), Arc::new(scope))
    }

    /// A hub whose scope is tagged with `id` and nothing else. The scope is that of `lent`, if there
    /// is one, and is left there for the next request.
    ///
    /// A clone of the base's scope would count up a dozen references that all threads share. While
    /// `lent` holds it too, whoever changes the hub's scope changes a copy.
    pub(crate) fn lend(&self, lent: &mut Option<Arc<Scope>>, id: &TransactionId) -> Hub {
        let scope = lent.get_or_insert_with(|| Arc::new(self.scope.clone()));
        // In place, unless something of an earlier request still refers to it.
        Arc::make_mut(scope).set_tag(TAG, id.as_str());
        Hub::new(Some(Arc::clone(&self.client)), Arc::clone(scope))
    }
}

/// The active span of `hub`. A fork tells it, since another thread may be changing the scope of the
/// hub itself.
pub(crate) fn span_of(hub: impl AsRef<Hub>) -> Option<TransactionOrSpan> {
    Hub::new_from_top(hub).configure_scope(|scope| scope.get_span())
}

/// A fork of the current hub, where it has an enabled client; with `watch`, one whose events are
/// noted.
pub(crate) fn fork_current(watch: bool, prepare: impl FnOnce(&mut Scope)) -> Option<Hub> {
    if !hub_is_alive() {
        return None;
    }
    Hub::with_active(|current| {
        let hub = Hub::new_from_top(current);
        let note = watch && !has_integration(&hub);
        hub.configure_scope(|scope| {
            prepare(scope);
            if note {
                note_events(scope);
            }
        });
        Some(hub)
    })
}

/// Has a request take note of its events. Where the integration is installed, it does this, after
/// `before_send`.
fn note_events(scope: &mut Scope) {
    scope.add_event_processor(|event| {
        Notes::note_current(&event);
        Some(event)
    });
}

fn has_integration(hub: &Hub) -> bool {
    hub.with_integration(|_: &TransactionIdIntegration| true)
}

impl TransactionId {
    /// The tag `transaction_id` of `hub`'s current scope, where it is a valid ID.
    ///
    /// # Deadlock
    ///
    /// Takes the lock of `hub`: called from `before_breadcrumb` or from a closure given to
    /// `add_breadcrumb` on the same hub, it never returns.
    #[must_use]
    pub fn from_hub(hub: &Hub) -> Option<Self> {
        // A scope tells its tags only by applying them. This is done on a fork, since another
        // thread may be changing the scope of the hub itself.
        let tag = Hub::new_from_top(HubRef(hub)).configure_scope(|scope| {
            let mut sheet = Transaction::default();
            scope.apply_to_transaction(&mut sheet);
            sheet.tags.remove(TAG)
        });
        tag?.parse().ok()
    }
}

/// `Arc<Hub>` can be forked, and `&Hub` cannot.
struct HubRef<'a>(&'a Hub);

impl AsRef<Hub> for HubRef<'_> {
    fn as_ref(&self) -> &Hub {
        self.0
    }
}

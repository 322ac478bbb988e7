//! Where the hub of a scope comes from, and which ID a hub is tagged with.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use sentry::protocol::{Event, TraceId, Transaction};
use sentry::types::Uuid;
use sentry::{Client, ClientOptions, Hub, Scope, TransactionOrSpan};

use crate::TransactionId;
use crate::scope::alive::hub_is_alive;
use crate::scope::current::{current_slot, with_current};
use crate::scope::record::{RecordOptions, ScopeHub};

/// The name of [`TransactionIdIntegration`](crate::TransactionIdIntegration), by which it is found.
pub(crate) const INTEGRATION: &str = "transaction-id";

/// The tag of a valid ID that a request brought and that was not trusted.
const UPSTREAM_TAG: &str = "upstream_transaction_id";

/// The tags of a scope.
pub(crate) struct Tags<'a> {
    pub(crate) id: &'a TransactionId,
    /// A valid ID that was not trusted.
    pub(crate) upstream: Option<TransactionId>,
    /// Whether the scope belongs to the same request as the current one.
    pub(crate) is_fork: bool,
}

impl Tags<'_> {
    fn set(&self, scope: &mut Scope) {
        scope.set_tag(TransactionId::TAG, self.id.as_str());
        if let Some(upstream) = &self.upstream {
            scope.set_tag(UPSTREAM_TAG, upstream.as_str());
        } else if !self.is_fork {
            // Of the request around this one, if there is one.
            scope.remove_tag(UPSTREAM_TAG);
        }
    }
}

/// A client and a scope as they were when a layer was given its hub: each request starts from these.
pub(crate) struct BaseHub {
    client: Arc<Client>,
    scope: Scope,
    key: u64,
    options: RecordOptions,
}

impl BaseHub {
    /// `None` for a hub without an enabled client. A span that is active now is no parent of
    /// requests to come.
    pub(crate) fn new(hub: impl AsRef<Hub>) -> Option<Self> {
        static KEYS: AtomicU64 = AtomicU64::new(0);
        let hub = Hub::new_from_top(hub);
        let client = hub.client().filter(|client| client.is_enabled())?;
        let scope = hub.configure_scope(|scope| {
            scope.set_span(None);
            // If this is called in a request.
            scope.remove_tag(UPSTREAM_TAG);
            if !has_integration(client.options()) {
                complete_events(scope);
            }
            scope.clone()
        });
        let fallback_trace = fallback_trace(&hub);
        let options = RecordOptions { fallback_trace, ..RecordOptions::of(client.options()) };
        Some(Self { client, scope, key: KEYS.fetch_add(1, Relaxed), options })
    }

    /// Distinguishes it from every other base.
    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.client.is_enabled()
    }

    /// A hub of its own for the scope with `tags`.
    ///
    /// With the ID alone, the scope is that of `lent`, if there is one, and is left there for the
    /// next request. A clone of the base's scope would count up a dozen references that all threads
    /// share. While `lent` holds it too, a change of the hub's scope changes a copy.
    pub(crate) fn fork(&self, lent: &mut Option<Arc<Scope>>, tags: &Tags<'_>) -> ScopeHub {
        let scope = if tags.upstream.is_some() {
            let mut scope = self.scope.clone();
            tags.set(&mut scope);
            Arc::new(scope)
        } else {
            let scope = lent.get_or_insert_with(|| Arc::new(self.scope.clone()));
            // In place, unless something of an earlier request still refers to it.
            Arc::make_mut(scope).set_tag(TransactionId::TAG, tags.id.as_str());
            Arc::clone(scope)
        };
        let hub = Arc::new(Hub::new(Some(Arc::clone(&self.client)), scope));
        ScopeHub { hub, options: self.options, completes_events: true }
    }
}

/// A fork of the current hub, where it has an enabled client. `completes_events` has its events
/// completed from the record; without the integration, this takes an event processor.
pub(crate) fn fork_current(
    completes_events: impl FnOnce() -> bool,
    tags: &Tags<'_>,
) -> Option<ScopeHub> {
    if !hub_is_alive() {
        return None;
    }
    Hub::with_active(|current| {
        let completes_events = completes_events();
        let inherits = completes_events
            && with_current(|work| {
                work.completes_events.load(Relaxed)
                    && work.hub.as_ref().is_some_and(|hub| Arc::ptr_eq(hub, current))
            }) == Some(true);
        Some(fork(current, completes_events, inherits, tags))
    })
}

/// A fork of the hub of a scope whose events are completed or not, and so are those of the fork.
pub(crate) fn fork_of(hub: &Arc<Hub>, completes_events: bool, tags: &Tags<'_>) -> ScopeHub {
    fork(hub, true, completes_events, tags)
}

fn fork(parent: &Arc<Hub>, completes_events: bool, inherits: bool, tags: &Tags<'_>) -> ScopeHub {
    let hub = Hub::new_from_top(parent);
    let client = hub.client();
    let options = client.as_deref().map(Client::options);
    let is_complete = inherits || options.is_some_and(has_integration);
    hub.configure_scope(|scope| {
        tags.set(scope);
        if completes_events && !is_complete {
            complete_events(scope);
        }
    });
    ScopeHub {
        hub: Arc::new(hub),
        options: options.map(RecordOptions::of).unwrap_or_default(),
        completes_events: completes_events || is_complete,
    }
}

/// Has the events of `scope` completed from the record of the scope in which they are captured.
/// Where the integration is installed, it does this.
pub(crate) fn complete_events(scope: &mut Scope) {
    scope.add_event_processor(|mut event| {
        if is_first_look(&event)
            && let Some(slot) = current_slot()
            && let Some(client) = slot.work().hub.as_ref().and_then(|hub| hub.client())
        {
            slot.complete(&mut event, client.options());
            slot.note(&event);
        }
        Some(event)
    });
}

/// Whether an event is seen for the first time. Forks of a fork have the processor several times.
fn is_first_look(event: &Event<'_>) -> bool {
    thread_local! {
        static LAST: Cell<Uuid> = const { Cell::new(Uuid::nil()) };
    }
    LAST.replace(event.event_id) != event.event_id
}

fn has_integration(options: &ClientOptions) -> bool {
    options.integrations.iter().any(|integration| integration.name() == INTEGRATION)
}

/// The trace of the events of `hub` if no span is active: that of the process, as a rule.
pub(crate) fn fallback_trace(hub: &Hub) -> Option<TraceId> {
    let header = Hub::new_from_top(HubRef(hub)).configure_scope(|scope| {
        scope.set_span(None);
        scope.iter_trace_propagation_headers().next()
    });
    // The SDK shows a trace only as the value of this header.
    let (_, sentry_trace) = header?;
    sentry_trace.split('-').next()?.parse().ok()
}

/// The active span of `hub`. It is read from a fork, since another thread may be changing the scope
/// of the hub itself.
pub(crate) fn span_of(hub: impl AsRef<Hub>) -> Option<TransactionOrSpan> {
    Hub::new_from_top(hub).configure_scope(|scope| scope.get_span())
}

impl TransactionId {
    /// Returns the tag `transaction_id` of `hub`'s current scope, if it is a valid ID.
    ///
    /// # Deadlock
    ///
    /// The function takes the lock of `hub`. It never returns if `before_breadcrumb`, or a closure of
    /// `add_breadcrumb`, calls it for the same hub.
    #[must_use]
    pub fn from_hub(hub: &Hub) -> Option<Self> {
        // A scope shows its tags only by applying them. This is done on a fork, since another
        // thread may be changing the scope of the hub itself.
        let tag = Hub::new_from_top(HubRef(hub)).configure_scope(|scope| {
            let mut sheet = Transaction::default();
            scope.apply_to_transaction(&mut sheet);
            sheet.tags.remove(Self::TAG)
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

//! Makes the hub of a scope, and reads the ID with which a hub is tagged.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};

use sentry::protocol::{Event, TraceId, Transaction};
use sentry::types::Uuid;
use sentry::{Client, Hub, Scope, TransactionOrSpan};

use crate::TransactionId;
use crate::scope::alive::{has_integration, hub_is_alive};
use crate::scope::current::{current_slot, with_current};
use crate::scope::record::{RecordOptions, ScopeHub};

/// The name by which [`TransactionIdIntegration`](crate::TransactionIdIntegration) is found.
pub(crate) const INTEGRATION: &str = "transaction-id";

/// The tag of a valid ID that a request brought and that was not trusted.
const UPSTREAM_TAG: &str = "upstream_transaction_id";

/// Whether a scope of this process has ever had [`UPSTREAM_TAG`]. Before that, no hub has the tag, and its
/// removal would cost each request two hashes.
static HAS_UPSTREAM: AtomicBool = AtomicBool::new(false);

/// The tags of a scope.
pub(crate) struct Tags<'a> {
    pub(crate) id: &'a TransactionId,
    /// A valid ID that was not trusted.
    pub(crate) upstream: Option<&'a TransactionId>,
    /// Whether the scope is a fork, and so belongs to the same request as its parent.
    pub(crate) is_fork: bool,
}

impl Tags<'_> {
    fn set(&self, scope: &mut Scope) {
        scope.set_tag(TransactionId::TAG, self.id.as_str());
        if let Some(upstream) = self.upstream {
            HAS_UPSTREAM.store(true, Relaxed);
            scope.set_tag(UPSTREAM_TAG, upstream.as_str());
        } else if !self.is_fork && HAS_UPSTREAM.load(Relaxed) {
            // The parent hub may have the tag of another request, inside which this scope is opened.
            scope.remove_tag(UPSTREAM_TAG);
        }
    }
}

/// The client and the scope of a layer's hub, as they were when the layer got the hub. Each request starts
/// from these.
pub(crate) struct BaseHub {
    client: Arc<Client>,
    scope: Scope,
    key: u64,
    options: RecordOptions,
}

impl BaseHub {
    /// Copies the client and the scope of the hub that a user gives to a layer. Warns if it has no client.
    pub(crate) fn given(hub: impl AsRef<Hub>) -> Option<Arc<Self>> {
        // An operator may choose a client without a DSN. A hub without a client mostly means that `init`
        // is called later.
        #[cfg(feature = "tracing")]
        if hub.as_ref().client().is_none() {
            tracing::warn!(
                "the base hub has no Sentry client, and is not used: call sentry::init first"
            );
        }
        Self::new(hub).map(Arc::new)
    }

    /// Copies the client and the scope of `hub`. Returns `None` if the hub has no enabled client. A span
    /// that is active now is left out, since it is not the parent of later requests.
    fn new(hub: impl AsRef<Hub>) -> Option<Self> {
        static KEYS: AtomicU64 = AtomicU64::new(0);
        let hub = Hub::new_from_top(hub);
        let client = hub.client().filter(|client| client.is_enabled())?;
        let scope = hub.configure_scope(|scope| {
            scope.set_span(None);
            // The tag is there if this is called inside a request.
            scope.remove_tag(UPSTREAM_TAG);
            if !has_integration(client.options(), INTEGRATION) {
                complete_events(scope);
            }
            scope.clone()
        });
        let fallback_trace = fallback_trace(&hub);
        let options = RecordOptions { fallback_trace, ..RecordOptions::of(client.options()) };
        Some(Self { client, scope, key: KEYS.fetch_add(1, Relaxed), options })
    }

    /// Returns the number that distinguishes this base from every other base.
    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.client.is_enabled()
    }

    /// Makes a hub whose scope is the base's scope with `tags`.
    ///
    /// If the ID is the only tag, the hub shares the scope in `lent`, which stays there for the next
    /// request (an empty `lent` is filled). A clone of the base's scope would count up a dozen references
    /// that all threads share. As long as `lent` holds the scope too, a change of the hub's scope changes
    /// a copy.
    pub(crate) fn fork(&self, lent: &mut Option<Arc<Scope>>, tags: &Tags<'_>) -> ScopeHub {
        let scope = if tags.upstream.is_some() {
            let mut scope = self.scope.clone();
            tags.set(&mut scope);
            Arc::new(scope)
        } else {
            let scope = lent.get_or_insert_with(|| Arc::new(self.scope.clone()));
            // Changes the scope in place, unless something of an earlier request still refers to it.
            Arc::make_mut(scope).set_tag(TransactionId::TAG, tags.id.as_str());
            Arc::clone(scope)
        };
        let hub = Arc::new(Hub::new(Some(Arc::clone(&self.client)), scope));
        ScopeHub { hub, options: self.options, completes_events: true }
    }
}

/// Forks the current hub if it has an enabled client. If `completes_events` returns `true`, the events of
/// the fork are completed from the record. Without the integration, this takes an event processor.
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

/// Forks the hub of a scope. The events of the fork are always completed from the record. If the events of
/// `hub` are, as `completes_events` says, the fork inherits the event processor and needs no second one.
pub(crate) fn fork_of(hub: &Arc<Hub>, completes_events: bool, tags: &Tags<'_>) -> ScopeHub {
    fork(hub, true, completes_events, tags)
}

fn fork(parent: &Arc<Hub>, completes_events: bool, inherits: bool, tags: &Tags<'_>) -> ScopeHub {
    let hub = Hub::new_from_top(parent);
    let client = hub.client();
    let options = client.as_deref().map(Client::options);
    let is_complete =
        inherits || options.is_some_and(|options| has_integration(options, INTEGRATION));
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

/// Adds an event processor to `scope`. It completes each event from the record of the transaction scope in
/// which the event is captured. If the integration is installed, it does this instead.
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

/// Returns whether this processor sees an event for the first time on the thread. Forks of a fork may have
/// the processor several times.
fn is_first_look(event: &Event<'_>) -> bool {
    thread_local! {
        static LAST: Cell<Uuid> = const { Cell::new(Uuid::nil()) };
    }
    LAST.replace(event.event_id) != event.event_id
}

/// Returns the trace that events of `hub` get if no span is active. As a rule, this is the trace of the
/// process.
pub(crate) fn fallback_trace(hub: &Hub) -> Option<TraceId> {
    let header = Hub::new_from_top(HubRef(hub)).configure_scope(|scope| {
        scope.set_span(None);
        scope.iter_trace_propagation_headers().next()
    });
    // The SDK shows a trace only as the value of this header.
    let (_, sentry_trace) = header?;
    sentry_trace.split('-').next()?.parse().ok()
}

/// Returns the active span of `hub`. The function reads the span from a fork, since another thread may be
/// changing the scope of the hub itself.
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
        // A scope shows its tags only by applying them to something. A fork is read, since another
        // thread may be changing the scope of the hub itself.
        let tag = Hub::new_from_top(HubRef(hub)).configure_scope(|scope| {
            let mut sheet = Transaction::default();
            scope.apply_to_transaction(&mut sheet);
            sheet.tags.remove(Self::TAG)
        });
        tag?.parse().ok()
    }
}

/// Makes a `&Hub` forkable: `Hub::new_from_top` takes an `Arc<Hub>`, but no `&Hub`.
struct HubRef<'a>(&'a Hub);

impl AsRef<Hub> for HubRef<'_> {
    fn as_ref(&self) -> &Hub {
        self.0
    }
}

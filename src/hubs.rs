//! Where the hub of a scope comes from, and what a hub tells of its ID.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use sentry::protocol::Transaction;
use sentry::{Client, Hub, Scope};

use crate::{TAG, TransactionId};

/// A client and a scope as they were when a layer was given its hub: what each request starts from.
pub(crate) struct BaseHub {
    client: Arc<Client>,
    scope: Scope,
    key: u64,
}

impl BaseHub {
    /// `None` for a hub without a client.
    pub(crate) fn new(hub: impl AsRef<Hub>) -> Option<Self> {
        static KEYS: AtomicU64 = AtomicU64::new(0);
        let hub = Hub::new_from_top(hub);
        let client = hub.client()?;
        let scope = hub.configure_scope(|scope| scope.clone());
        Some(Self { client, scope, key: KEYS.fetch_add(1, Relaxed) })
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

    /// A hub whose scope is tagged with `id` and nothing else, and the means to use that scope for
    /// another request when it is free again.
    ///
    /// A clone of the base's scope would count up a dozen references that all threads share.
    pub(crate) fn lend(&self, id: &TransactionId) -> (Hub, Lent) {
        let mut scope = take_spare(self.key).unwrap_or_else(|| Arc::new(self.scope.clone()));
        // Nobody else has a spare scope, so that this copies nothing.
        Arc::make_mut(&mut scope).set_tag(TAG, id.as_str());
        let hub = Hub::new(Some(Arc::clone(&self.client)), Arc::clone(&scope));
        (hub, Lent { base: self.key, scope: Some(scope) })
    }
}

/// How many scopes a thread keeps for its next requests.
const SPARES: usize = 32;

thread_local! {
    static SPARE_SCOPES: RefCell<Vec<(u64, Arc<Scope>)>> = const { RefCell::new(Vec::new()) };
}

fn take_spare(base: u64) -> Option<Arc<Scope>> {
    let taken = SPARE_SCOPES.try_with(|spares| {
        let mut spares = spares.borrow_mut();
        let at = spares.iter().rposition(|(of, _)| *of == base)?;
        Some(spares.swap_remove(at).1)
    });
    taken.ok().flatten()
}

/// A scope that is to be used again once nothing of its request is left.
///
/// While this reference is held, whoever changes the hub's scope changes a copy. Only a scope that
/// nobody else refers to any more is kept: a task or a fork that still captures keeps its own.
#[derive(Clone)]
pub(crate) struct Lent {
    base: u64,
    scope: Option<Arc<Scope>>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(mut scope) = self.scope.take() else { return };
        if Arc::get_mut(&mut scope).is_none() {
            return;
        }
        let evicted = SPARE_SCOPES.try_with(|spares| {
            let mut spares = spares.borrow_mut();
            // The first may be of a base that is no more.
            let evicted = (spares.len() == SPARES).then(|| spares.swap_remove(0));
            spares.push((self.base, scope));
            evicted
        });
        // A scope holds foreign code, which must not find the list borrowed.
        drop(evicted);
    }
}

/// Where the current hub has an enabled client.
pub(crate) fn fork_current(prepare: impl FnOnce(&mut Scope)) -> Option<Hub> {
    let current = Hub::current();
    if !current.client()?.is_enabled() {
        return None;
    }
    let hub = Hub::new_from_top(current);
    hub.configure_scope(prepare);
    Some(hub)
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

//! Holds the memory of a scope, and lets later scopes of the thread reuse it.
//!
//! A scope is entered for each poll and each frame, so one reference holds all of its memory. New memory
//! for each request would cost an allocation and, with a base hub, a clone of the base's scope. So a
//! thread keeps the memory, with the copy of the base's scope, and may keep it for longer than the
//! server lives.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use sentry::{Hub, HubSwitchGuard, Scope};

use crate::TransactionId;
use crate::header::IdHeader;
use crate::scope::alive::hub_is_alive_in_drop;
use crate::scope::record::{Calls, Performance, Record, RecordOptions, ScopeHub};
use crate::scope::span::ScopeSpan;

/// The number of slots that a thread keeps.
const SPARES: usize = 32;

thread_local! {
    static POOL: RefCell<Vec<Arc<Slot>>> = const { RefCell::new(Vec::new()) };
}

/// The memory of one scope.
pub(crate) struct Slot {
    work: Work,
    pub(crate) calls: Calls,
    /// The copy of the base's scope that the hub shares, for as long as nobody changes the hub's scope.
    pub(crate) lent: Option<Arc<Scope>>,
    /// The base hub that `lent` came from.
    base: Option<u64>,
}

/// The content of a scope. A `Work` is large, so it is filled in place.
#[derive(Default)]
pub(crate) struct Work {
    /// `None` only in the pool.
    id: Option<TransactionId>,
    pub(crate) hub: Option<Arc<Hub>>,
    /// The header that is read or set by the layer that opened the scope.
    pub(crate) header: Option<IdHeader>,
    pub(crate) options: RecordOptions,
    /// Whether the events of the hub are completed from the record.
    pub(crate) completes_events: AtomicBool,
    pub(crate) record: Record,
    pub(crate) span: ScopeSpan,
    pub(crate) performance: Option<Box<Performance>>,
    /// The scope of the request that this scope continues in another task.
    pub(crate) rest_of: Option<Arc<Slot>>,
}

impl Work {
    pub(crate) fn id(&self) -> &TransactionId {
        self.id.as_ref().expect("a scope outside the pool is open")
    }

    #[inline]
    pub(crate) fn open(&mut self, id: TransactionId, hub: Option<ScopeHub>) {
        self.id = Some(id);
        if let Some(ScopeHub { hub, options, completes_events }) = hub {
            self.hub = Some(hub);
            self.options = options;
            *self.completes_events.get_mut() = completes_events;
        }
    }

    /// Drops everything that belongs to one scope, and keeps the memory.
    fn reset(&mut self) {
        self.end();
        self.id = None;
        self.hub = None;
        self.header = None;
        self.options = RecordOptions::default();
        *self.completes_events.get_mut() = false;
        self.record.reset();
        self.rest_of = None;
    }

    fn end(&mut self) {
        if self.performance.is_some() || self.span.is_some() {
            self.end_under_hub();
        }
    }

    /// Ends the span and the transaction under the scope's hub. Sentry gives a transaction the tags of the
    /// hub that is current when the transaction is finished. The transaction of a tracing span is finished
    /// when the last handle of the span is dropped.
    #[cold]
    fn end_under_hub(&mut self) {
        let _hub = self.hub.clone().filter(|_| hub_is_alive_in_drop()).map(HubSwitchGuard::new);
        self.span.end();
        if let Some(performance) = self.performance.take() {
            performance.finish(&self.record, self.options.sends_pii);
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.end();
    }
}

impl Slot {
    /// Returns a slot of `base`, for a scope that is about to be opened. Nothing else refers to the slot.
    #[inline]
    pub(crate) fn take(base: Option<u64>) -> Arc<Self> {
        let spare = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            let at = pool.iter().rposition(|spare| spare.base == base)?;
            Some(pool.swap_remove(at))
        });
        spare.ok().flatten().unwrap_or_else(|| {
            Arc::new(Self { work: Work::default(), calls: Calls::default(), lent: None, base })
        })
    }

    /// Keeps the memory for a later scope of the thread, if nothing else refers to it.
    pub(crate) fn recycle(mut slot: Arc<Self>) {
        let Some(unique) = Arc::get_mut(&mut slot) else { return };
        unique.work.reset();
        unique.calls.clear();
        let evicted = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            // The first slot may belong to a base that no longer exists.
            let evicted = (pool.len() == SPARES).then(|| pool.swap_remove(0));
            pool.push(slot);
            evicted
        });
        // Dropped only here: a hub's scope holds foreign code, which must not find the pool borrowed.
        drop(evicted);
    }

    pub(crate) fn work(&self) -> &Work {
        &self.work
    }

    pub(crate) fn work_mut(&mut self) -> &mut Work {
        &mut self.work
    }

    /// Copies all values out of the buffers that they share with the request.
    pub(crate) fn unshare(&mut self) {
        self.work.id = self.work.id.as_ref().map(TransactionId::unshared);
        self.work.record.unshare();
        self.calls.unshare();
    }
}

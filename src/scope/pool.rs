//! The memory of a scope, and its reuse by later scopes of the thread.
//!
//! A scope is entered for each poll and each frame, so one reference holds all of it. To make its
//! memory anew for each request would cost an allocation and, with a base hub, a clone of the base's
//! scope. So the copy that a base lent is kept for longer than the server lives.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use sentry::{Hub, Scope};

use crate::TransactionId;
use crate::header::IdHeader;
use crate::scope::alive::hub_is_alive;
use crate::scope::record::{Calls, Performance, Record, RecordOptions};
use crate::scope::span::ScopeSpan;

/// The number of slots that a thread keeps.
const SPARES: usize = 32;

thread_local! {
    static POOL: RefCell<Vec<Arc<Slot>>> = const { RefCell::new(Vec::new()) };
}

/// The memory of one scope.
pub(crate) struct Slot {
    /// `None` only in the pool.
    work: Option<Work>,
    pub(crate) calls: Calls,
    /// The scope that the hub has of its base, for as long as nobody changes it.
    pub(crate) lent: Option<Arc<Scope>>,
    /// The base hub that `lent` came from.
    base: Option<u64>,
}

/// The content of a scope that is open.
pub(crate) struct Work {
    pub(crate) id: TransactionId,
    pub(crate) hub: Option<Arc<Hub>>,
    /// The header that the layer which opened it reads or sets.
    pub(crate) header: Option<IdHeader>,
    /// Whether the layer trusts the caller of its request.
    pub(crate) trusts_caller: bool,
    pub(crate) options: RecordOptions,
    /// Whether the events of the hub are completed from the record.
    pub(crate) completes_events: AtomicBool,
    pub(crate) record: Record,
    pub(crate) span: ScopeSpan,
    pub(crate) performance: Option<Performance>,
    /// The scope of the request that this one continues in another task.
    pub(crate) rest_of: Option<Arc<Slot>>,
}

/// Sentry gives a transaction the tags of the hub that is current when it is finished. That of a
/// tracing span is finished when the last handle of the span is dropped.
impl Drop for Work {
    fn drop(&mut self) {
        if (self.performance.is_some() || self.span.is_some())
            && let Some(hub) = self.hub.take().filter(|_| hub_is_alive())
        {
            Hub::run(hub, || {
                self.span = ScopeSpan::default();
                if let Some(performance) = self.performance.take() {
                    performance.finish(&self.record, self.options.sends_pii);
                }
            });
        }
    }
}

impl Slot {
    /// A slot of `base` that nobody else refers to, for a scope that is about to be opened.
    pub(crate) fn take(base: Option<u64>) -> Arc<Self> {
        let spare = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            let at = pool.iter().rposition(|spare| spare.base == base)?;
            Some(pool.swap_remove(at))
        });
        spare.ok().flatten().unwrap_or_else(|| {
            Arc::new(Self { work: None, calls: Calls::default(), lent: None, base })
        })
    }

    /// Keeps the memory for a later scope of the thread, if nobody else refers to it.
    pub(crate) fn recycle(mut slot: Arc<Self>) {
        let Some(unique) = Arc::get_mut(&mut slot) else { return };
        unique.reset();
        let evicted = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            // The first may be of a base that is no more.
            let evicted = (pool.len() == SPARES).then(|| pool.swap_remove(0));
            pool.push(slot);
            evicted
        });
        // A hub's scope holds foreign code, which must not find the pool borrowed.
        drop(evicted);
    }

    /// Drops everything that belongs to one scope, and keeps its memory.
    fn reset(&mut self) {
        self.work = None;
        self.calls.clear();
    }

    pub(crate) fn open(&mut self, work: Work) {
        self.work = Some(work);
    }

    pub(crate) fn work(&self) -> &Work {
        self.work.as_ref().expect("a slot outside the pool is open")
    }

    pub(crate) fn work_mut(&mut self) -> &mut Work {
        self.work.as_mut().expect("a slot outside the pool is open")
    }

    /// Copies all values out of the buffers that they share with the request.
    pub(crate) fn unshare(&mut self) {
        let work = self.work_mut();
        work.id = work.id.unshared();
        work.record.unshare();
        self.calls.unshare();
    }
}

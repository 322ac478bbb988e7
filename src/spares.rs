//! What a thread keeps of a request that is over, for the next one.
//!
//! A scope is entered for each poll and each frame, so it is held by one reference; and to make it
//! anew for each request would cost an allocation and, with a base hub, a clone of its scope.

use std::cell::RefCell;
use std::sync::Arc;

use crate::scope::Inner;

/// How many a thread keeps.
const SPARES: usize = 32;

thread_local! {
    static ALL: RefCell<Vec<(Option<u64>, Arc<Inner>)>> = const { RefCell::new(Vec::new()) };
}

/// One that served requests of the same base hub, which is what its parts came from.
pub(crate) fn take(base: Option<u64>) -> Option<Arc<Inner>> {
    let taken = ALL.try_with(|spares| {
        let mut spares = spares.borrow_mut();
        let at = spares.iter().rposition(|(of, _)| *of == base)?;
        Some(spares.swap_remove(at).1)
    });
    taken.ok().flatten()
}

/// Has a scope serve again once this is dropped, if nothing else refers to it by then: a task that
/// is still at work keeps the scope for itself.
pub(crate) struct Reuse {
    base: Option<u64>,
    inner: Option<Arc<Inner>>,
}

impl Reuse {
    pub(crate) fn new(base: Option<u64>, inner: Arc<Inner>) -> Self {
        Self { base, inner: Some(inner) }
    }
}

impl Drop for Reuse {
    fn drop(&mut self) {
        let Some(mut inner) = self.inner.take() else { return };
        let Some(unshared) = Arc::get_mut(&mut inner) else { return };
        unshared.clear();
        let evicted = ALL.try_with(|spares| {
            let mut spares = spares.borrow_mut();
            // The first may be of a base that is no more.
            let evicted = (spares.len() == SPARES).then(|| spares.swap_remove(0));
            spares.push((self.base, inner));
            evicted
        });
        // A hub's scope holds foreign code, which must not find the list borrowed.
        drop(evicted);
    }
}

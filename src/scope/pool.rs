//! What a thread keeps of a request that is over, for the next one.
//!
//! A scope is entered for each poll and each frame, so it is held by one reference; and to make it
//! anew for each request would cost an allocation and, with a base hub, a clone of its scope. What
//! that scope holds is thus kept for longer than the server lives.

use std::cell::RefCell;
use std::sync::Arc;

use crate::scope::Inner;

/// How many a thread keeps.
const SPARES: usize = 32;

thread_local! {
    static ALL: RefCell<Vec<Arc<Inner>>> = const { RefCell::new(Vec::new()) };
}

/// One that served requests of the same base hub, which is what its parts came from; and that nobody
/// else refers to.
pub(crate) fn take(base: Option<u64>) -> Option<Arc<Inner>> {
    let taken = ALL.try_with(|spares| {
        let mut spares = spares.borrow_mut();
        let at = spares.iter().rposition(|spare| spare.base() == base)?;
        Some(spares.swap_remove(at))
    });
    taken.ok().flatten()
}

/// Keeps a scope that nobody refers to any more.
pub(crate) fn put(inner: Arc<Inner>) {
    let evicted = ALL.try_with(|spares| {
        let mut spares = spares.borrow_mut();
        // The first may be of a base that is no more.
        let evicted = (spares.len() == SPARES).then(|| spares.swap_remove(0));
        spares.push(inner);
        evicted
    });
    // A hub's scope holds foreign code, which must not find the list borrowed.
    drop(evicted);
}

//! The scope that the thread is in.
//!
//! This is the only file that switches Sentry's hub or sets the scope of a thread. Every scope that
//! is entered is left again on the way out, by return or by panic, so nothing outlives the work it
//! belongs to.

use std::cell::Cell;
use std::mem::{self, ManuallyDrop};
use std::sync::Arc;

use sentry::HubSwitchGuard;

use crate::TransactionId;
use crate::scope::alive::{hub_is_alive, hub_is_alive_in_drop};
use crate::scope::pool::{Slot, Work};

thread_local! {
    /// This thread-local has no destructor, so it is there until the very end of the thread, and quicker to
    /// reach. Every scope that is entered is left again, so at the end there is no scope to destroy.
    static CURRENT: Cell<ManuallyDrop<Option<Arc<Slot>>>> =
        const { Cell::new(ManuallyDrop::new(None)) };
}

impl TransactionId {
    /// Returns the ID of the scope that this thread is in, such as that of the request being handled.
    ///
    /// Returns `None` outside any scope, such as in a spawned task that is not
    /// [bound](crate::InScope::fork). The function takes no lock and allocates nothing. It is safe in Sentry's
    /// callbacks and in a `Drop`.
    ///
    /// ```
    /// use tower_transaction_id::TransactionId;
    ///
    /// /// Called anywhere below a handler.
    /// fn message() -> String {
    ///     match TransactionId::current() {
    ///         Some(id) => format!("tell support this: {id}"),
    ///         None => "this is no request".to_owned(),
    ///     }
    /// }
    /// # assert_eq!(message(), "this is no request");
    /// ```
    #[must_use]
    pub fn current() -> Option<Self> {
        with_current(|work| work.id().clone())
    }
}

/// Calls `look` with the scope that this thread is in. Meanwhile no scope is current, so `look` must not
/// call foreign code.
pub(crate) fn with_current<R>(look: impl FnOnce(&Work) -> R) -> Option<R> {
    let slot = replace_current(None);
    let looked = slot.as_deref().map(|slot| look(slot.work()));
    replace_current(slot);
    looked
}

/// Returns the scope that this thread is in. The scope stays current, so the caller may call foreign code.
pub(crate) fn current_slot() -> Option<Arc<Slot>> {
    let slot = replace_current(None);
    let copy = slot.clone();
    replace_current(slot);
    copy
}

/// Keeps a scope current until this guard is dropped. Without a scope, the guard changes nothing.
///
/// The guard stays private to the crate: held across an `.await`, it would give its ID to the work that
/// the thread polls next.
pub(crate) struct Entered<'a> {
    /// The scope changes places with the scope that was current, and moves back when the guard is
    /// dropped. So no reference is counted.
    place: Option<&'a mut Option<Arc<Slot>>>,
    hub: Option<HubSwitchGuard>,
    has_span: bool,
}

impl<'a> Entered<'a> {
    // This function and those below run for each frame of a body. Inlined, they cost half as much as
    // when they are called.
    #[allow(clippy::inline_always)] // rustc does not inline this function on a hint alone
    #[inline(always)]
    pub(crate) fn new(place: &'a mut Option<Arc<Slot>>) -> Self {
        Self::enter(place, hub_is_alive)
    }

    /// Enters the scope to drop a value.
    #[inline]
    pub(crate) fn to_drop(place: &'a mut Option<Arc<Slot>>) -> Self {
        Self::enter(place, hub_is_alive_in_drop)
    }

    #[allow(clippy::inline_always)] // as above
    #[inline(always)]
    fn enter(place: &'a mut Option<Arc<Slot>>, hub_is_alive: impl Fn() -> bool) -> Self {
        let Some(slot) = place else {
            return Self { place: None, hub: None, has_span: false };
        };
        let Work { hub, span, .. } = slot.work();
        let can_switch = (hub.is_some() || span.is_some()) && hub_is_alive();
        let has_span = can_switch && span.is_some() && span.enter();
        let hub = hub.as_ref().filter(|_| can_switch);
        let hub = hub.map(|hub| HubSwitchGuard::new(Arc::clone(hub)));
        swap_current(place);
        Self { place: Some(place), hub, has_span }
    }
}

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        let Some(place) = &mut self.place else { return };
        swap_current(place);
        if self.has_span {
            exit_span(place.as_deref(), self.hub.take());
        }
    }
}

/// Switches the hub back, then leaves the span: the reverse of the order in which they were entered.
#[cold]
fn exit_span(slot: Option<&Slot>, hub: Option<HubSwitchGuard>) {
    drop(hub);
    if let Some(slot) = slot {
        slot.work().span.exit();
    }
}

#[inline]
fn swap_current(place: &mut Option<Arc<Slot>>) {
    let slot = place.take();
    // `place` is `None` here, so `forget` loses nothing. The compiler does not know that, and would check
    // for something to drop.
    mem::forget(mem::replace(place, replace_current(slot)));
}

#[inline]
fn replace_current(slot: Option<Arc<Slot>>) -> Option<Arc<Slot>> {
    ManuallyDrop::into_inner(CURRENT.replace(ManuallyDrop::new(slot)))
}

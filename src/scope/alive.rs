//! Whether the thread still has a Sentry hub.
//!
//! A thread that ends destroys its thread-locals. `Hub::current` panics from then on, and a panic in
//! a destructor ends the process.

use std::cell::Cell;
use std::panic::{self, PanicHookInfo};
use std::sync::{Mutex, PoisonError};
use std::{ptr, thread};

use sentry::Hub;

thread_local! {
    /// Whether `CANARY` was reached on this thread.
    static HAS_CANARY: Cell<bool> = const { Cell::new(false) };

    /// Reachable only while Sentry's own thread-local is. A thread destroys its locals in the
    /// reverse order of their first use, and the hub was used before. (std does not promise the order;
    /// the platforms of the tests keep it.)
    static CANARY: Canary = {
        // A subscriber has thread-locals as well, which a scope with a span needs.
        #[cfg(feature = "tracing")]
        drop(tracing::Span::current());
        HAS_CANARY.set(true);
        Canary
    };

    static IS_PROBING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread still has a hub.
pub(crate) fn hub_is_alive() -> bool {
    if HAS_CANARY.get() {
        // A hub may outlive its canary for a moment.
        return CANARY.try_with(|_| ()).is_ok() || probe_hub();
    }
    // Even the first use on a thread may be in a destructor that runs after the hub's.
    probe_hub() && CANARY.try_with(|_| ()).is_ok()
}

/// Asks a thread that may be ending for its hub.
///
/// sentry-core offers no way to ask but one that panics, and Sentry's panic hook then panics as well,
/// which aborts the process. So a hook around all others keeps quiet about this one panic, which is
/// caught. Where that is impossible (`panic = "abort"`, or in a thread that is unwinding) the hub of a
/// thread that may be ending counts as lost.
#[cold]
fn probe_hub() -> bool {
    if cfg!(not(panic = "unwind")) {
        // A thread without a canary is most probably not ending.
        if !HAS_CANARY.get() {
            drop(Hub::current());
        }
        return !HAS_CANARY.get();
    }
    if thread::panicking() {
        return false;
    }
    wrap_panic_hook();
    IS_PROBING.set(true);
    let is_alive = panic::catch_unwind(|| drop(Hub::current())).is_ok();
    IS_PROBING.set(false);
    is_alive
}

/// Puts the quiet hook around all others, unless it is there: Sentry's may have been installed since.
fn wrap_panic_hook() {
    static OURS: Mutex<usize> = Mutex::new(0);
    let mut ours = OURS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut hook = panic::take_hook();
    if address(&hook) != *ours {
        hook = Box::new(move |info| {
            if !IS_PROBING.get() {
                hook(info);
            }
        });
        *ours = address(&hook);
    }
    panic::set_hook(hook);
}

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

fn address(hook: &Hook) -> usize {
    ptr::from_ref::<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>(&**hook).addr()
}

struct Canary;

impl Drop for Canary {
    // A local without a destructor would be reachable for ever.
    fn drop(&mut self) {}
}

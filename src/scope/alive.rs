//! Whether the thread still has a Sentry hub.
//!
//! A thread that ends destroys its thread-locals. `Hub::current` panics from then on, and a panic in
//! a destructor ends the process.

use std::any::Any;
use std::cell::Cell;
#[cfg(feature = "tracing")]
use std::panic::AssertUnwindSafe;
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
        HAS_CANARY.set(true);
        Canary
    };

    static IS_PROBING: Cell<bool> = const { Cell::new(false) };

    static SUBSCRIBER: Cell<Subscriber> = const { Cell::new(Subscriber::NotInUse) };
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

/// Runs `f`, which uses thread-locals of a tracing subscriber. Returns `false` if one of them is gone,
/// since the thread ends. From then on, the subscriber is left alone on this thread.
///
/// A subscriber cannot be asked for its thread-locals, and makes them in any order. So the panic of such
/// a local is caught, and the quiet hook hides it. Any other panic of the subscriber goes on.
#[cfg(feature = "tracing")]
pub(crate) fn has_subscriber(f: impl FnOnce()) -> bool {
    let before = SUBSCRIBER.get();
    if before == Subscriber::Gone {
        return false;
    }
    SUBSCRIBER.set(Subscriber::InUse);
    let result = panic::catch_unwind(AssertUnwindSafe(f));
    let is_gone = result.as_ref().is_err_and(|panic| is_of_lost_local(&**panic));
    SUBSCRIBER.set(if is_gone { Subscriber::Gone } else { before });
    match result {
        Err(panic) if !is_gone => panic::resume_unwind(panic),
        _ => !is_gone,
    }
}

/// What is known of the subscriber on a thread.
#[derive(Clone, Copy, PartialEq)]
enum Subscriber {
    NotInUse,
    #[cfg(feature = "tracing")]
    InUse,
    #[cfg(feature = "tracing")]
    Gone,
}

/// Whether a panic is that of `LocalKey::with` on a thread-local that is gone.
fn is_of_lost_local(panic: &(dyn Any + Send)) -> bool {
    let text = panic.downcast_ref::<String>();
    text.is_some_and(|text| text.starts_with("cannot access a Thread Local Storage value"))
}

/// Puts the quiet hook around all others, unless it is there: Sentry's may have been installed since.
fn wrap_panic_hook() {
    static OURS: Mutex<usize> = Mutex::new(0);
    let mut ours = OURS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut hook = panic::take_hook();
    if address(&hook) != *ours {
        hook = Box::new(move |info| {
            let is_hidden = IS_PROBING.get()
                || SUBSCRIBER.get() != Subscriber::NotInUse && is_of_lost_local(info.payload());
            if !is_hidden {
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

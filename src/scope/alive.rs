//! Checks whether the thread still has a Sentry hub.
//!
//! A thread that ends destroys its thread-locals. `Hub::current` panics from then on, and a panic in
//! a destructor ends the process.

use std::any::Any;
use std::cell::Cell;
#[cfg(feature = "tracing")]
use std::panic::AssertUnwindSafe;
use std::panic::{self, PanicHookInfo};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::{ptr, thread};

use sentry::{ClientOptions, Hub};

/// Whether some hub was seen whose client has Sentry's panic integration. The integration set its hook
/// before that, and sets it once in a process.
static SENTRYS_HOOK_IS_SET: AtomicBool = AtomicBool::new(false);

/// Whether the quiet hook was put around Sentry's hook.
static IS_WRAPPED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Whether this thread has used `CANARY`.
    static HAS_CANARY: Cell<bool> = const { Cell::new(false) };

    /// Is reachable only while Sentry's own thread-local is reachable. A thread destroys its locals in
    /// the reverse order of their first use, and the thread used the hub before the canary. (std does not
    /// promise this order; the platforms of the tests keep it.)
    static CANARY: Canary = {
        HAS_CANARY.set(true);
        Canary
    };

    static IS_PROBING: Cell<bool> = const { Cell::new(false) };

    static SUBSCRIBER: Cell<Subscriber> = const { Cell::new(Subscriber::NotInUse) };
}

/// Returns whether this thread still has a hub.
#[inline]
pub(crate) fn hub_is_alive() -> bool {
    is_alive(false)
}

/// Does the same as [`hub_is_alive`] in a destructor. If this is the thread's first use of the crate, the
/// thread is probably ending.
#[inline]
pub(crate) fn hub_is_alive_in_drop() -> bool {
    is_alive(true)
}

#[inline]
fn is_alive(is_drop: bool) -> bool {
    if HAS_CANARY.get() {
        // A hub may outlive its canary for a moment.
        return CANARY.try_with(|_| ()).is_ok() || probe_hub(true);
    }
    // Even the first use on a thread may be in a destructor that runs after the hub's destructor.
    probe_hub(is_drop) && CANARY.try_with(|_| ()).is_ok()
}

/// Returns whether a thread that may be ending has a hub: asks for the hub, and catches the panic.
///
/// sentry-core can only be asked in a way that panics if the hub is gone. Sentry's panic hook then panics
/// as well, which aborts the process. So a panic hook around all others ignores this one panic. If the
/// panic cannot be caught (`panic = "abort"`, or the thread is unwinding), the hub of a thread that may be
/// ending counts as lost.
///
/// std has no way to wrap a hook in one step. A panic of another thread in between meets std's own hook,
/// and Sentry does not learn of it. So a thread's first use wraps the hook only until Sentry's hook is
/// inside. From then on, only a thread that seems to end looks for a hook that was set later.
#[cold]
#[inline(never)]
fn probe_hub(seems_to_end: bool) -> bool {
    if cfg!(not(panic = "unwind")) {
        return probe_unused_hub();
    }
    if thread::panicking() {
        return false;
    }
    if seems_to_end || !IS_WRAPPED.load(Relaxed) {
        wrap_panic_hook();
    }
    IS_PROBING.set(true);
    let hub = panic::catch_unwind(Hub::current);
    IS_PROBING.set(false);
    if hub.as_ref().is_ok_and(|hub| has_panic_integration(hub)) {
        SENTRYS_HOOK_IS_SET.store(true, Relaxed);
    }
    hub.is_ok()
}

/// Returns whether the thread has a hub, if no panic can be caught: a thread that has not used its canary
/// is most probably not ending.
fn probe_unused_hub() -> bool {
    if !HAS_CANARY.get() {
        drop(Hub::current());
    }
    !HAS_CANARY.get()
}

fn has_panic_integration(hub: &Hub) -> bool {
    hub.client().is_some_and(|client| has_integration(client.options(), "panic"))
}

/// Returns whether a client with these options has the integration `name`.
pub(crate) fn has_integration(options: &ClientOptions, name: &str) -> bool {
    options.integrations.iter().any(|integration| integration.name() == name)
}

/// Runs `f`, which uses thread-locals of a tracing subscriber. Returns `false` if such a thread-local is
/// gone because the thread ends. After that, the crate no longer calls the subscriber on this thread.
///
/// The crate cannot ask a subscriber for its thread-locals, and a subscriber makes them in any order. So
/// this function catches the panic of a lost thread-local, and the quiet hook hides the panic. Any other
/// panic of the subscriber continues.
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

/// The state of the subscriber on a thread.
#[derive(Clone, Copy, PartialEq)]
enum Subscriber {
    NotInUse,
    #[cfg(feature = "tracing")]
    InUse,
    #[cfg(feature = "tracing")]
    Gone,
}

/// Returns whether a panic comes from `LocalKey::with` on a thread-local that is gone.
fn is_of_lost_local(panic: &(dyn Any + Send)) -> bool {
    let text = panic.downcast_ref::<String>();
    text.is_some_and(|text| text.starts_with("cannot access a Thread Local Storage value"))
}

/// Puts the quiet hook around all others, unless it is already the outermost: Sentry's hook may have been
/// installed after it.
fn wrap_panic_hook() {
    static OURS: Mutex<usize> = Mutex::new(0);
    let mut ours = OURS.lock().unwrap_or_else(PoisonError::into_inner);
    // Read before the hook is taken, which may be the moment before Sentry's hook is set.
    let is_last = SENTRYS_HOOK_IS_SET.load(Relaxed);
    let mut hook = panic::take_hook();
    if address(&hook) != *ours {
        hook = Box::new(move |info| {
            let is_hidden = IS_PROBING.get()
                || (SUBSCRIBER.get() != Subscriber::NotInUse && is_of_lost_local(info.payload()));
            if !is_hidden {
                hook(info);
            }
        });
        *ours = address(&hook);
    }
    panic::set_hook(hook);
    if is_last {
        IS_WRAPPED.store(true, Relaxed);
    }
}

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

fn address(hook: &Hook) -> usize {
    ptr::from_ref::<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>(&**hook).addr()
}

struct Canary;

impl Drop for Canary {
    // A thread-local without a destructor would be reachable for ever.
    fn drop(&mut self) {}
}

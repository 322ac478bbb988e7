//! An ID and the hub that carries it, made current while something runs.
//!
//! This is the only place that switches Sentry's hub or says what is current on a thread. Whatever
//! is entered is left again on the way out, by return or by panic, so nothing outlives the work it
//! belongs to.

pub(crate) mod hub;
mod pool;

use std::cell::Cell;
use std::fmt;
use std::mem::{self, ManuallyDrop};
use std::panic;
use std::pin::Pin;
use std::sync::{Arc, Once};
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use sentry::{Hub, HubSwitchGuard, Scope};

use crate::header::IdHeader;
use crate::scope::hub::{BaseHub, fork_current};
use crate::telemetry::inbound::Notes;
use crate::telemetry::integration::Origin;
use crate::{TAG, TransactionId};

/// The tag of a valid ID that a request brought and that was not trusted.
pub(crate) const UPSTREAM_TAG: &str = "upstream_transaction_id";

thread_local! {
    /// Whatever enters a scope leaves it again, so that at the end of the thread there is nothing to
    /// destroy. A local without a destructor is there until the last, and quicker to reach.
    static CURRENT: Cell<ManuallyDrop<Option<TransactionIdScope>>> =
        const { Cell::new(ManuallyDrop::new(None)) };

    /// Reachable only while Sentry's own thread-local is. A thread destroys its locals in the
    /// reverse order of their first use, and the hub is used first here. (std does not promise the
    /// order; the platforms of the tests keep it.)
    static HUB_IS_ALIVE: HubIsAlive = {
        drop(Hub::current());
        HUB_WAS_USED.set(true);
        HubIsAlive
    };

    /// Whether `HUB_IS_ALIVE` was ever reached on this thread.
    static HUB_WAS_USED: Cell<bool> = const { Cell::new(false) };

    static IS_PROBING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread still has a hub. A thread that ends loses it, and `Hub::current` panics from
/// then on, which in a destructor ends the process.
pub(crate) fn hub_is_alive() -> bool {
    HUB_IS_ALIVE.try_with(|_| ()).is_ok() || probe_hub()
}

/// [`hub_is_alive`] for code that a destructor runs: this may be the first use of the crate on a
/// thread that has lost its hub already.
pub(crate) fn hub_is_alive_in_drop() -> bool {
    if HUB_WAS_USED.get() { hub_is_alive() } else { probe_hub() }
}

/// Asks a thread that may be ending for its hub.
///
/// sentry-core offers no way to ask but one that panics, and Sentry's panic hook then panics as well,
/// which aborts the process. So the hook is passed over for this one panic, and the panic caught.
/// Where neither is possible (`panic = "abort"`, or in a thread that is unwinding) the hub counts as
/// lost.
#[cold]
fn probe_hub() -> bool {
    static HOOK: Once = Once::new();
    if cfg!(not(panic = "unwind")) || std::thread::panicking() {
        return false;
    }
    HOOK.call_once(|| {
        let hook = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IS_PROBING.get() {
                hook(info);
            }
        }));
    });
    IS_PROBING.set(true);
    let is_alive = panic::catch_unwind(|| drop(Hub::current())).is_ok();
    IS_PROBING.set(false);
    is_alive
}

struct HubIsAlive;

impl Drop for HubIsAlive {
    // A local without a destructor would count as alive for ever.
    fn drop(&mut self) {}
}

/// A [`TransactionId`] and a Sentry hub of its own that carries it as the tag `transaction_id`.
///
/// The server layer opens one for each request. Open one by hand for work that no request
/// started, and [`fork`](Self::fork) one for work that outlives the request: a spawned task, a
/// blocking job, a thread, an upgraded connection.
///
/// Where no enabled Sentry client is bound when the scope is opened, it has no hub and leaves
/// Sentry alone for its whole life; the ID is current all the same.
///
/// ```
/// use tower_transaction_id::{TransactionId, TransactionIdScope};
///
/// let job = TransactionIdScope::new(TransactionId::mint());
/// job.run(|| {
///     // What Sentry captures here is tagged, and outbound calls carry the ID.
///     assert_eq!(TransactionId::current().as_ref(), Some(job.id()));
/// });
/// assert_eq!(TransactionId::current(), None);
/// ```
///
/// # At the end of a thread
///
/// A thread that ends destroys its thread-locals, and with them Sentry's hub. A future, a body or a
/// pending call that is dropped after that, since it was kept in an older thread-local, is still
/// dropped under its ID, but on no hub: Sentry captures nothing there. The hub also counts as lost
/// while such a thread unwinds, and with `panic = "abort"`, if the crate is used on that thread for
/// the first time, or after its own thread-locals are gone. To *open*, [run](Self::run) or poll in a
/// scope for the first time in a destructor that runs after the hub's panics as `Hub::current` does.
///
/// # Deadlock
///
/// Sentry holds its hub's lock while it calls `before_breadcrumb` and the closures that
/// `add_breadcrumb` takes. Opening or forking a scope in there never returns, as with most uses of
/// the hub. Reading [`TransactionId::current`] is safe everywhere.
#[derive(Clone)]
pub struct TransactionIdScope(Arc<Inner>);

pub(crate) struct Inner {
    id: TransactionId,
    hub: Option<Arc<Hub>>,
    /// Where the server or the client layer opened it.
    origin: Option<Origin>,
    /// The header that the layer which opened it reads or sets.
    header: Option<IdHeader>,
    /// Whether the layer trusts the caller of its request.
    trusts_caller: bool,
    /// For the report of the request's failure; only where failures are captured.
    notes: Option<Arc<Notes>>,
    /// The scope that `hub` has of its base, for as long as nobody changes it.
    lent: Option<Arc<Scope>>,
    /// The base hub that `lent` came from.
    base: Option<u64>,
}

impl Inner {
    fn new(base: Option<u64>) -> Self {
        let id = TransactionId::PLACEHOLDER;
        Self {
            id,
            hub: None,
            origin: None,
            header: None,
            trusts_caller: false,
            notes: None,
            lent: None,
            base,
        }
    }

    pub(crate) fn base(&self) -> Option<u64> {
        self.base
    }
}

/// How a layer opens the scope of a request.
#[derive(Default)]
pub(crate) struct Opening<'a> {
    /// What the hub comes from; else the current hub.
    pub(crate) base: Option<&'a BaseHub>,
    pub(crate) origin: Option<Origin>,
    pub(crate) header: Option<IdHeader>,
    pub(crate) trusts_caller: bool,
    /// A valid ID that was not trusted.
    pub(crate) upstream: Option<TransactionId>,
    /// Whether the scope is of the same request as the current one.
    pub(crate) is_fork: bool,
    /// For the events that report the request's failure.
    pub(crate) notes: Option<Arc<Notes>>,
}

impl Inner {
    /// Takes what `opening` holds, and makes the hub that it asks for.
    fn fill(&mut self, opening: Opening<'_>) {
        let Opening { base, origin, header, trusts_caller, upstream, is_fork, notes } = opening;
        (self.origin, self.header, self.trusts_caller) = (origin, header, trusts_caller);
        let watch = notes.is_some();
        self.notes = notes;
        let set_tags = |scope: &mut Scope| {
            scope.set_tag(TAG, self.id.as_str());
            if let Some(upstream) = &upstream {
                scope.set_tag(UPSTREAM_TAG, upstream.as_str());
            } else if !is_fork {
                // Of the request around this one, if there is one.
                scope.remove_tag(UPSTREAM_TAG);
            }
        };
        let hub = match base.filter(|base| base.is_enabled()) {
            Some(base) if upstream.is_some() => Some(base.fork(set_tags)),
            Some(base) => Some(base.lend(&mut self.lent, &self.id)),
            None => fork_current(watch, set_tags),
        };
        self.hub = hub.map(Arc::new);
    }
}

impl TransactionIdScope {
    /// A scope for `id`: forks the current hub, with its user, span, tags and breadcrumbs, and
    /// tags the fork.
    #[must_use]
    pub fn new(id: TransactionId) -> Self {
        Self::open(id, Opening::default())
    }

    /// A scope for a task of its own that belongs to the current work: the current ID and a fork
    /// of the current hub, so that what the task adds to its hub stays with the task.
    ///
    /// Without a current ID it is the tag of the current hub that counts, so that a task which was
    /// given only a hub (`bind_hub`), or set the tag by hand, belongs too. `None` where there is
    /// neither.
    ///
    /// ```
    /// # use tower_transaction_id::{TransactionId, TransactionIdScope};
    /// # let scope = TransactionIdScope::new(TransactionId::mint());
    /// # scope.run(|| {
    /// if let Some(scope) = TransactionIdScope::fork() {
    ///     std::thread::spawn(move || scope.run(|| { /* still the same transaction ID */ }));
    /// }
    /// # });
    /// ```
    #[must_use]
    pub fn fork() -> Option<Self> {
        Self::fork_with(|_| None)
    }

    /// A fork whose events are noted where `notes` of the current scope says.
    fn fork_with(notes: impl FnOnce(&Self) -> Option<Arc<Notes>>) -> Option<Self> {
        let mut opening = Opening { is_fork: true, ..Opening::default() };
        with_current(|current| {
            opening.origin = current.0.origin;
            opening.header.clone_from(&current.0.header);
            opening.trusts_caller = current.0.trusts_caller;
            opening.notes = notes(current);
        });
        // It may live long, and must not keep the headers of its request.
        Some(Self::open(ambient_id()?.unshared(), opening))
    }

    pub(crate) fn open(id: TransactionId, opening: Opening<'_>) -> Self {
        let base = opening.base.map(BaseHub::key);
        let mut inner = pool::take(base).unwrap_or_else(|| Arc::new(Inner::new(base)));
        // Nobody else refers to it.
        if let Some(inner) = Arc::get_mut(&mut inner) {
            inner.id = id;
            inner.fill(opening);
        }
        Self(inner)
    }

    /// Has the thread's next request use what this one needed, if nobody else refers to it.
    fn recycle(mut self) {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.hub = None;
            inner.notes = None;
            inner.header = None;
            // An ID may hold on to the headers of its request.
            inner.id = TransactionId::PLACEHOLDER;
            pool::put(self.0);
        }
    }

    /// The ID of this scope.
    #[must_use]
    pub fn id(&self) -> &TransactionId {
        &self.0.id
    }

    /// The hub of this scope: `None` where no enabled client was bound when it was opened.
    #[must_use]
    pub fn hub(&self) -> Option<&Arc<Hub>> {
        self.0.hub.as_ref()
    }

    pub(crate) fn origin(&self) -> Option<&Origin> {
        self.0.origin.as_ref()
    }

    pub(crate) fn notes(&self) -> Option<&Notes> {
        self.0.notes.as_deref()
    }

    pub(crate) fn trusts_caller(&self) -> bool {
        self.0.trusts_caller
    }

    /// Whether a layer opened it for `id` in the header that `header` names.
    pub(crate) fn is_of(&self, id: &TransactionId, header: &IdHeader) -> bool {
        self.id() == id && self.0.header.as_ref() == Some(header)
    }

    /// Runs `f` in this scope: its ID and its hub are current on this thread until `f` returns or
    /// panics. A future that `f` makes is polled later, and outside: [`bind`](Self::bind) that.
    ///
    /// Whatever this thread does meanwhile is in the scope. Give it no `block_on` of a runtime that
    /// polls the tasks of others on this thread, and give `bind` no `LocalSet`.
    pub fn run<R>(&self, f: impl FnOnce() -> R) -> R {
        let mut scope = Some(self.clone());
        let _entered = Entered::new(&mut scope);
        f()
    }

    /// Binds a future or a body to this scope: it is polled, and dropped, inside.
    ///
    /// What makes the future runs before, and outside: give it an `async` block. Of
    /// `scope.bind(client.call(request))` the `call`, in which the client layer reads the ID, would
    /// be left out.
    pub fn bind<T>(self, inner: T) -> InScope<T> {
        InScope { inner: Some(inner), scope: Some(self) }
    }
}

impl fmt::Debug for TransactionIdScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransactionIdScope")
            .field("id", self.id())
            .field("has_hub", &self.hub().is_some())
            .finish_non_exhaustive()
    }
}

impl TransactionId {
    /// The ID of the scope that this thread is in, such as that of the request being handled.
    ///
    /// No lock and no allocation; safe to call from Sentry's callbacks and from a `Drop`.
    #[must_use]
    pub fn current() -> Option<Self> {
        with_current(|scope| scope.id().clone())
    }
}

/// What `look` makes of the scope that this thread is in. It must not call foreign code, for which
/// no scope would be current.
pub(crate) fn with_current<R>(look: impl FnOnce(&TransactionIdScope) -> R) -> Option<R> {
    let scope = replace_current(None);
    let looked = scope.as_ref().map(look);
    replace_current(scope);
    looked
}

/// The current ID; without one, what the current hub is tagged with.
pub(crate) fn ambient_id() -> Option<TransactionId> {
    let tag = || if hub_is_alive() { TransactionId::from_hub(&Hub::current()) } else { None };
    TransactionId::current().or_else(tag)
}

/// Keeps a scope current until it is dropped; without a scope, changes nothing.
///
/// It stays private: held across an `.await`, it would hand its ID to whatever the thread polls
/// next.
struct Entered<'a> {
    /// The scope changes places with the one that was current, and moves back in the end: no
    /// reference is counted on the way.
    slot: Option<&'a mut Option<TransactionIdScope>>,
    _hub: Option<HubSwitchGuard>,
}

impl<'a> Entered<'a> {
    // Here and below: once for each frame of a body, in whose code it costs half of what it does
    // as a call.
    #[inline]
    fn new(slot: &'a mut Option<TransactionIdScope>) -> Self {
        Self::with_hub_if(slot, hub_is_alive)
    }

    /// [`new`](Self::new) for a destructor.
    fn in_drop(slot: &'a mut Option<TransactionIdScope>) -> Self {
        Self::with_hub_if(slot, hub_is_alive_in_drop)
    }

    #[inline]
    fn with_hub_if(
        slot: &'a mut Option<TransactionIdScope>,
        hub_is_alive: impl FnOnce() -> bool,
    ) -> Self {
        let Some(scope) = slot else {
            return Self { slot: None, _hub: None };
        };
        let hub = scope.hub().filter(|_| hub_is_alive());
        let hub = hub.map(|hub| HubSwitchGuard::new(Arc::clone(hub)));
        swap_current(slot);
        Self { slot: Some(slot), _hub: hub }
    }
}

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(slot) = &mut self.slot {
            swap_current(slot);
        }
    }
}

#[inline]
fn swap_current(slot: &mut Option<TransactionIdScope>) {
    let scope = slot.take();
    // What is forgotten is the `None` that is left. The compiler cannot know, and would have a look
    // for what to drop.
    mem::forget(mem::replace(slot, replace_current(scope)));
}

#[inline]
fn replace_current(scope: Option<TransactionIdScope>) -> Option<TransactionIdScope> {
    ManuallyDrop::into_inner(CURRENT.replace(ManuallyDrop::new(scope)))
}

pin_project! {
    /// A future or a body that is polled, and dropped, in a [`TransactionIdScope`].
    ///
    /// Made by [`TransactionIdScope::bind`] and [`InScope::fork`]; the server layer uses it for
    /// what it wraps. One that was made by `Default` is in no scope and passes everything on.
    #[derive(Debug)]
    #[must_use = "futures and bodies do nothing unless polled"]
    pub struct InScope<T> {
        // Taken only on the way out, so that the value can be dropped where it was polled.
        #[pin]
        inner: Option<T>,
        scope: Option<TransactionIdScope>,
    }

    impl<T> PinnedDrop for InScope<T> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if mem::needs_drop::<T>() {
                let _entered = Entered::in_drop(this.scope);
                this.inner.set(None);
            }
            if let Some(scope) = this.scope.take() {
                scope.recycle();
            }
        }
    }
}

impl<T> InScope<T> {
    /// Binds `inner` to a [fork](TransactionIdScope::fork) of the current scope; where there is
    /// none, it runs as it is.
    ///
    /// ```
    /// # async fn handler() {
    /// use tower_transaction_id::InScope;
    ///
    /// tokio::spawn(InScope::fork(async {
    ///     // Still the transaction ID of the request, on a hub of the task's own.
    /// }));
    /// # }
    /// ```
    pub fn fork(inner: T) -> Self {
        Self { inner: Some(inner), scope: TransactionIdScope::fork() }
    }

    /// Binds `inner`, which is the rest of the current request, to a fork of its scope, as
    /// [`fork`](Self::fork) does for a task beside the request.
    ///
    /// For a middleware that has a task of its own finish the request, even if the client leaves.
    /// An error that is captured in `inner` counts as the report of the request's failure, while one
    /// in a mere fork does not.
    ///
    /// ```
    /// # use std::convert::Infallible;
    /// use axum::{extract::Request, middleware::Next, response::{IntoResponse, Response}};
    /// use http::StatusCode;
    /// use tower_transaction_id::InScope;
    ///
    /// async fn finish_anyway(request: Request, next: Next) -> Response {
    ///     let rest = tokio::spawn(InScope::rest_of_request(next.run(request)));
    ///     rest.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
    /// }
    /// ```
    pub fn rest_of_request(inner: T) -> Self {
        let scope = TransactionIdScope::fork_with(|current| current.0.notes.clone());
        Self { inner: Some(inner), scope }
    }

    /// The scope, where it is in one.
    #[must_use]
    pub fn scope(&self) -> Option<&TransactionIdScope> {
        self.scope.as_ref()
    }

    /// Puts `inner` in `scope`.
    pub(crate) fn new(scope: Option<TransactionIdScope>, inner: T) -> Self {
        Self { inner: Some(inner), scope }
    }

    /// Makes a value inside `scope` and binds it.
    #[inline]
    pub(crate) fn start(mut scope: Option<TransactionIdScope>, make: impl FnOnce() -> T) -> Self {
        let entered = Entered::new(&mut scope);
        let inner = make();
        drop(entered);
        Self::new(scope, inner)
    }
}

impl<F: Future> InScope<F> {
    /// Polls the future. When it is ready, drops it, still inside the scope.
    #[inline]
    pub(crate) fn poll_to_end(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let _entered = Entered::new(this.scope);
        let future = this.inner.as_mut().as_pin_mut().expect("polled after it was ready");
        let output = ready!(future.poll(cx));
        this.inner.set(None);
        Poll::Ready(output)
    }

    /// Hands the scope on, to what the future came to.
    pub(crate) fn take_scope(self: Pin<&mut Self>) -> Option<TransactionIdScope> {
        self.project().scope.take()
    }
}

impl<T: Default> Default for InScope<T> {
    fn default() -> Self {
        Self::new(None, T::default())
    }
}

impl<F: Future> Future for InScope<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let _entered = Entered::new(this.scope);
        this.inner.as_pin_mut().expect("taken only on drop").poll(cx)
    }
}

impl<B: Body> Body for InScope<B> {
    type Data = B::Data;
    type Error = B::Error;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        let _entered = Entered::new(this.scope);
        match this.inner.as_pin_mut() {
            Some(inner) => inner.poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

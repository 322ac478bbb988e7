//! Makes an ID, and the hub that carries the ID, current while something runs.

pub(crate) mod alive;
pub(crate) mod current;
pub(crate) mod hub;
pub(crate) mod in_scope;
pub(crate) mod pool;
pub(crate) mod record;
mod span;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use sentry::Hub;

use crate::TransactionId;
use crate::header::IdHeader;
use crate::scope::alive::hub_is_alive;
#[cfg(feature = "tracing")]
use crate::scope::hub::span_of;
use crate::scope::hub::{BaseHub, Tags, complete_events, fork_current, fork_of};
use crate::scope::pool::{Slot, Work};
use crate::scope::record::{Call, Origin, ScopeHub};
#[cfg(feature = "tracing")]
use crate::scope::span::ScopeSpan;

/// Holds a [`TransactionId`] and a Sentry hub of its own, which has the ID as the tag `transaction_id`.
///
/// The server layer opens a scope for each request. Open one by hand for work that no request started, and
/// [fork](Self::fork_current) one for work that outlives the request: a spawned task, a blocking job, a
/// thread, an upgraded connection.
///
/// If no enabled Sentry client is bound when a scope is opened, the scope has no hub and leaves Sentry
/// alone for its whole life. The ID is current all the same.
///
/// ```
/// use tower_transaction_id::{TransactionId, TransactionIdScope};
///
/// let job = TransactionIdScope::new(TransactionId::generate());
/// job.run(|| {
///     // Events that are captured here have the tag, and outbound calls carry the ID.
///     assert_eq!(TransactionId::current().as_ref(), Some(job.id()));
/// });
/// assert_eq!(TransactionId::current(), None);
/// ```
///
/// A scope cannot be cloned, since two tasks that share a hub disturb each other. [`fork`](Self::fork) it
/// for another task.
///
/// # At the end of a thread
///
/// A thread that ends destroys its thread-locals, and with them Sentry's hub. A future, a body or a
/// pending call may be dropped after that, because an older thread-local holds it. Its ID is current while
/// it is dropped, but no hub is: Sentry captures nothing.
///
/// sentry-core has no way to ask whether a thread still has a hub: `Hub::current` panics if the hub is
/// gone. So the crate calls `Hub::current`, and catches the panic:
///
/// - The crate wraps the process's panic hook in a hook that ignores this panic. The first scopes do so,
///   until one finds Sentry's panic integration, whose hook is then inside. Without this integration, the
///   first scope of each thread does so. Later, a thread that seems to end looks for another hook once more.
/// - std cannot wrap a hook in one step. A panic on another thread at this moment meets std's own hook, and
///   Sentry does not learn of it. A hook that another thread sets at this moment is lost. So call
///   `sentry::init` and set your hooks before other threads use this crate.
/// - If you set a hook of your own later than these scopes, the hook sees this panic in one case: a
///   destructor of your own, at the end of a thread, is the thread's first use of the crate. So set a hook
///   that uses Sentry's hub at the start of the program.
/// - In a thread that uses the crate for the first time while it unwinds, the hub counts as lost.
/// - With `panic = "abort"` the hub counts as lost once the crate's own thread-locals are gone. A first use
///   after the hub's end aborts, as Sentry itself does.
///
/// # Deadlock
///
/// Sentry holds its hub's lock while it calls `before_breadcrumb` and the closures of `add_breadcrumb`.
/// Opening or forking a scope in one of these callbacks never returns, as with most uses of the hub.
/// [`TransactionId::current`] is safe everywhere.
pub struct TransactionIdScope(Arc<Slot>);

/// The parts from which a layer opens the scope of a request.
#[derive(Default)]
pub(crate) struct Opening<'a> {
    /// The base of the scope's hub. Without a base, the hub is a fork of the current hub.
    pub(crate) base: Option<&'a BaseHub>,
    pub(crate) origin: Option<Origin>,
    pub(crate) header: Option<&'a IdHeader>,
    /// A valid ID that was not trusted.
    pub(crate) upstream: Option<&'a TransactionId>,
}

impl TransactionIdScope {
    /// Opens a scope for `id`: forks the current hub, with its user, span, tags and breadcrumbs, and tags
    /// the fork.
    ///
    /// If no span is active, the events of the scope are in a trace of the scope's own.
    #[must_use]
    pub fn new(id: TransactionId) -> Self {
        Self::open(id, &Opening::default(), || true)
    }

    /// Forks the current scope for a task that belongs to the current work.
    ///
    /// The fork has the same ID, trace and span, and a fork of the current hub: the user and the tags that
    /// the task sets stay with the task. Without a current ID, the function takes the ID from the tag
    /// `transaction_id` of the current hub, so that a task with only a hub (`bind_hub`) belongs to the
    /// work, too. Returns `None` if there is neither.
    ///
    /// For futures and closures, [`InScope::fork`](crate::InScope::fork) and
    /// [`InScope::fork_fn`](crate::InScope::fork_fn) do the same in one step.
    ///
    /// ```
    /// # use tower_transaction_id::{TransactionId, TransactionIdScope};
    /// # let scope = TransactionIdScope::new(TransactionId::generate());
    /// # scope.run(|| {
    /// if let Some(scope) = TransactionIdScope::fork_current() {
    ///     // An upgraded connection, for example.
    ///     std::thread::spawn(move || scope.run(|| { /* still the same transaction ID */ }));
    /// }
    /// # });
    /// ```
    #[must_use]
    pub fn fork_current() -> Option<Self> {
        current_scope()
            .map_or_else(Self::of_current_hub, |current| Some(current.fork_onto_current()))
    }

    /// Forks this scope, whether it is current or not.
    ///
    /// ```
    /// use tower_transaction_id::{TransactionId, TransactionIdScope};
    ///
    /// let job = TransactionIdScope::new(TransactionId::generate());
    /// for part in 0..2 {
    ///     let scope = job.fork();
    ///     std::thread::spawn(move || scope.run(|| { /* part of the job */ }));
    /// }
    /// ```
    #[must_use]
    pub fn fork(&self) -> Self {
        let work = self.0.work();
        self.fork_with(|tags| {
            let completes_events = work.completes_events.load(Relaxed);
            work.hub.as_ref().map(|hub| fork_of(hub, completes_events, tags))
        })
    }

    /// Forks this scope, which is the current one, onto a fork of the current hub.
    fn fork_onto_current(&self) -> Self {
        // A scope without a hub leaves Sentry alone, and so does its fork.
        self.fork_with(|tags| {
            self.hub()?;
            fork_current(|| true, tags)
        })
    }

    /// Forks the current scope for a task that continues the request. An error that is captured in that
    /// task stands for the failure of the request.
    fn fork_for_rest() -> Option<Self> {
        let Some(current) = current_scope() else { return Self::of_current_hub() };
        let mut fork = current.fork_onto_current();
        fork.work_mut().rest_of = Some(current.0);
        Some(fork)
    }

    fn of_current_hub() -> Option<Self> {
        id_of_current_hub().map(Self::new)
    }

    /// Forks this scope onto the hub that `make_hub` makes. The fork may live long, so it keeps no buffer
    /// of the request's headers alive.
    fn fork_with(&self, make_hub: impl FnOnce(&Tags<'_>) -> Option<ScopeHub>) -> Self {
        let parent = self.0.work();
        let id = parent.id().unshared();
        let hub = make_hub(&Tags { id: &id, upstream: None, is_fork: true });
        let mut slot = Slot::take(None);
        let unique = Arc::get_mut(&mut slot).expect("a slot from the pool is unique");
        unique.calls.copy_from(&self.0.calls);
        if let Some(hub) = &hub {
            // Settles the trace of the parent before it is copied, so that both are in the same trace.
            parent.trace(hub.hub.client().as_deref());
        }
        let work = unique.work_mut();
        work.open(id, hub);
        work.header.clone_from(&parent.header);
        work.record = parent.record.fork();
        work.span = parent.span.clone();
        Self(slot)
    }

    /// Opens a scope for `id`. `completes_events` decides whether the events of the scope are completed
    /// from the record from the start. It is called only for a fork of the current hub: the events of a
    /// base hub are always completed.
    pub(crate) fn open(
        id: TransactionId,
        opening: &Opening<'_>,
        completes_events: impl FnOnce() -> bool,
    ) -> Self {
        let &Opening { base, origin, header, upstream } = opening;
        let mut slot = Slot::take(base.map(BaseHub::key));
        let unique = Arc::get_mut(&mut slot).expect("a slot from the pool is unique");
        let tags = Tags { id: &id, upstream, is_fork: false };
        let hub = match base.filter(|base| base.is_enabled()) {
            Some(base) => Some(base.fork(&mut unique.lent, &tags)),
            None => fork_current(completes_events, &tags),
        };
        let work = unique.work_mut();
        work.open(id, hub);
        work.header = header.cloned();
        work.record.origin = origin;
        Self(slot)
    }

    /// Enters `span` wherever this scope or a fork of it is current, so that log lines show the fields of
    /// the span.
    ///
    /// This is for jobs. The server layer has
    /// [`make_span_with`](crate::BindTransactionIdLayer::make_span_with).
    ///
    /// ```
    /// use tower_transaction_id::{TransactionId, TransactionIdScope};
    ///
    /// let scope = TransactionIdScope::new(TransactionId::generate());
    /// let span = scope.run(|| tracing::info_span!("job", transaction_id = %scope.id()));
    /// scope.with_span(span).run(|| tracing::info!("cooked")); // job{transaction_id=..}: cooked
    /// ```
    ///
    /// If sentry-tracing makes a Sentry span of `span`, the Sentry span becomes the active span of the
    /// scope's hub.
    #[cfg(feature = "tracing")]
    #[must_use]
    pub fn with_span(mut self, span: tracing::Span) -> Self {
        self.set_span(span);
        self
    }

    /// Makes a span inside the scope, where Sentry finds its hub.
    #[cfg(feature = "tracing")]
    pub(crate) fn make_span(&mut self, make: impl FnOnce(&TransactionId) -> tracing::Span) {
        let span = self.run(|| make(self.id()));
        self.set_span(span);
    }

    #[cfg(feature = "tracing")]
    fn set_span(&mut self, span: tracing::Span) {
        if self.work().options.traces
            && let Some(hub) = self.hub()
            && hub_is_alive()
            // sentry-tracing puts its span on the fork of the hub that it enters.
            && let Some(sentrys) = self.run(|| span.in_scope(|| span_of(Hub::current())))
        {
            hub.configure_scope(|scope| scope.set_span(Some(sentrys)));
        }
        if let Some(slot) = Arc::get_mut(&mut self.0) {
            slot.work_mut().span = ScopeSpan::new(span);
        }
    }

    /// Returns the ID of this scope.
    #[must_use]
    pub fn id(&self) -> &TransactionId {
        self.work().id()
    }

    /// Returns the hub of this scope, or `None` if no enabled client was bound when the scope was opened.
    #[must_use]
    pub fn hub(&self) -> Option<&Arc<Hub>> {
        self.work().hub.as_ref()
    }

    pub(crate) fn work(&self) -> &Work {
        self.0.work()
    }

    /// Ends the scope, and keeps its memory for a later scope of the thread.
    pub(crate) fn close(self) {
        Slot::recycle(self.0);
    }

    /// Records an outbound call that has ended, and has the events of the scope completed from now on.
    pub(crate) fn record_call(&self, call: Call) {
        let work = self.work();
        self.0.calls.push(call, work.options.max_breadcrumbs);
        if !work.completes_events.load(Relaxed)
            && !work.completes_events.swap(true, Relaxed)
            && let Some(hub) = &work.hub
        {
            hub.configure_scope(complete_events);
        }
    }

    /// Returns the content of a scope that was not entered yet. Afterwards, other references may exist.
    pub(crate) fn work_mut(&mut self) -> &mut Work {
        let slot = Arc::get_mut(&mut self.0).expect("a scope that was never entered is unique");
        slot.work_mut()
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

/// Returns the scope that this thread is in.
pub(crate) fn current_scope() -> Option<TransactionIdScope> {
    current::current_slot().map(TransactionIdScope)
}

/// Returns the current ID. Without one, returns the ID with which the current hub is tagged.
pub(crate) fn ambient_id() -> Option<TransactionId> {
    TransactionId::current().or_else(id_of_current_hub)
}

fn id_of_current_hub() -> Option<TransactionId> {
    if hub_is_alive() { TransactionId::from_hub(&Hub::current()) } else { None }
}

impl Work {
    /// Returns whether a layer opened the scope for `id`, with `header` as its header.
    pub(crate) fn is_of(&self, id: &TransactionId, header: &IdHeader) -> bool {
        self.id() == id && self.header.as_ref() == Some(header)
    }
}

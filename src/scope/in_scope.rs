//! Futures, bodies, streams and closures that run, and are dropped, in a scope.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::thread;

use futures_core::Stream;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::scope::TransactionIdScope;
use crate::scope::current::Entered;
use crate::scope::pool::{Slot, Work};

const TAKEN: &str = "taken only when it is ready, moved out or dropped";

pin_project! {
    /// Polls, and drops, a future, a body or a stream in a [`TransactionIdScope`].
    ///
    /// [`TransactionIdScope::bind`] and [`InScope::fork`] make an `InScope`. The server layer uses it for
    /// the futures and bodies that the layer wraps. A value that was made by `Default` is in no scope.
    #[must_use = "futures, bodies and streams do nothing unless polled"]
    pub struct InScope<T> {
        // An `Option`, so that the value can be dropped inside the scope, as it was polled.
        #[pin]
        inner: Option<T>,
        slot: Option<Arc<Slot>>,
    }

    impl<T> PinnedDrop for InScope<T> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if mem::needs_drop::<T>() {
                let _entered = Entered::to_drop(this.slot);
                this.inner.set(None);
            }
            if let Some(slot) = this.slot.take() {
                Slot::recycle(slot);
            }
        }
    }
}

impl TransactionIdScope {
    /// Runs `f` in this scope: its ID, its hub and its span are current on this thread until `f` returns or
    /// panics.
    ///
    /// A future that `f` makes is polled later, outside the scope: [`bind`](Self::bind) the future.
    /// Everything that this thread does until `f` returns is in the scope. So give `run` no `block_on`, and
    /// `bind` no `LocalSet`, that polls the tasks of others on this thread.
    pub fn run<R>(&self, f: impl FnOnce() -> R) -> R {
        let mut slot = Some(Arc::clone(&self.0));
        let _entered = Entered::new(&mut slot);
        f()
    }

    /// Binds a future, a body or a stream to this scope, inside which it is polled and dropped.
    ///
    /// The expression that makes the future runs before `bind`, outside the scope, so pass an `async`
    /// block. In `scope.bind(client.call(request))` the client layer would read the ID outside the scope.
    ///
    /// ```
    /// # async fn work() {
    /// use tower_transaction_id::{TransactionId, TransactionIdScope};
    ///
    /// let scope = TransactionIdScope::new(TransactionId::generate());
    /// scope.bind(async {
    ///     // Calls from here carry the ID, and so does everything that Sentry captures.
    /// }).await;
    /// # }
    /// ```
    pub fn bind<T>(self, inner: T) -> InScope<T> {
        InScope::new(Some(self), inner)
    }

    /// Binds a closure, such as the job of a thread, to this scope, inside which it runs or is dropped.
    ///
    /// ```
    /// use tower_transaction_id::{TransactionId, TransactionIdScope};
    ///
    /// let job = TransactionIdScope::new(TransactionId::generate());
    /// std::thread::spawn(job.bind_fn(|| { /* the ID of the job */ }));
    /// ```
    pub fn bind_fn<F, R>(self, f: F) -> impl FnOnce() -> R
    where
        F: FnOnce() -> R,
    {
        let bound = self.bind(f);
        move || bound.call()
    }
}

impl<T> InScope<T> {
    /// Binds `inner` to a [fork](TransactionIdScope::fork_current) of the current scope. Without a current
    /// scope, `inner` runs as it is.
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
        Self::new(TransactionIdScope::fork_current(), inner)
    }

    /// Binds `inner`, which is the rest of the current request, to a fork of its scope, as
    /// [`fork`](Self::fork) does for a task beside the request.
    ///
    /// A middleware uses this to finish the request in a task of its own, even if the client leaves. An error
    /// that is captured in `inner` counts as the report of the request's failure; an error in a mere fork
    /// does not.
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
        Self::new(TransactionIdScope::fork_for_rest(), inner)
    }

    /// Returns the ID of the scope, if there is one.
    #[must_use]
    pub fn id(&self) -> Option<&crate::TransactionId> {
        self.slot.as_deref().map(|slot| slot.work().id())
    }

    /// Puts `inner` in `scope`.
    pub(crate) fn new(scope: Option<TransactionIdScope>, inner: T) -> Self {
        Self { inner: Some(inner), slot: scope.map(|scope| scope.0) }
    }

    /// Makes a value inside `scope` and binds it.
    #[inline]
    pub(crate) fn start(scope: Option<TransactionIdScope>, make: impl FnOnce() -> T) -> Self {
        let mut slot = scope.map(|scope| scope.0);
        let entered = Entered::new(&mut slot);
        let inner = make();
        drop(entered);
        Self { inner: Some(inner), slot }
    }

    pub(crate) fn get_ref(&self) -> &T {
        self.inner.as_ref().expect(TAKEN)
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.inner.as_mut().expect(TAKEN)
    }

    /// Takes the inner value out of the scope.
    pub(crate) fn into_inner(mut self) -> T {
        self.inner.take().expect(TAKEN)
    }

    pub(crate) fn work(&self) -> Option<&Work> {
        self.slot.as_deref().map(Slot::work)
    }

    /// Returns the scope, for the report of a failure.
    pub(crate) fn scope(&self) -> Option<TransactionIdScope> {
        self.slot.clone().map(TransactionIdScope)
    }

    /// Notes the span that is active on the hub of the scope.
    pub(crate) fn note_span(self: Pin<&mut Self>) {
        if let Some(work) = self.project().slot.as_deref().map(Slot::work)
            && let Some(hub) = &work.hub
        {
            work.note_span(hub);
        }
    }

    /// Copies all values of the scope out of the buffers of its request. Returns `false`, and copies
    /// nothing, while something else refers to the scope: a call that is under way, or a task that
    /// continues the request.
    pub(crate) fn unshare(self: Pin<&mut Self>) -> bool {
        let Some(slot) = self.project().slot else { return true };
        let unique = Arc::get_mut(slot);
        let is_unique = unique.is_some();
        unique.into_iter().for_each(Slot::unshare);
        is_unique
    }
}

impl InScope<()> {
    /// Binds a closure to a [fork](TransactionIdScope::fork_current) of the current scope, for
    /// `spawn_blocking` and threads. Without a current scope, the closure runs as it is.
    ///
    /// ```
    /// # async fn handler() {
    /// use tower_transaction_id::InScope;
    ///
    /// tokio::task::spawn_blocking(InScope::fork_fn(|| {
    ///     // Still the transaction ID of the request.
    /// }));
    /// # }
    /// ```
    pub fn fork_fn<F, R>(f: F) -> impl FnOnce() -> R
    where
        F: FnOnce() -> R,
    {
        let bound = InScope::fork(f);
        move || bound.call()
    }
}

impl<T> InScope<T> {
    fn call<R>(mut self) -> R
    where
        T: FnOnce() -> R,
    {
        let f = self.inner.take().expect(TAKEN);
        let _entered = Entered::new(&mut self.slot);
        f()
    }
}

impl<F: Future> InScope<F> {
    /// Polls the future. When the future is ready, drops it, still inside the scope, and returns the output
    /// with the scope.
    #[inline]
    pub(crate) fn poll_with_scope(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<(F::Output, Option<TransactionIdScope>)> {
        let mut this = self.project();
        let measured = this.slot.as_ref().filter(|slot| slot.work().performance.is_some());
        let _panic = measured.map(|slot| NotePanic(Arc::clone(slot)));
        let entered = Entered::new(this.slot);
        let future = this.inner.as_mut().as_pin_mut().expect(TAKEN);
        let output = ready!(future.poll(cx));
        this.inner.set(None);
        drop(entered);
        Poll::Ready((output, this.slot.take().map(TransactionIdScope)))
    }
}

/// Takes note of a panic of the future that is polled. A layer further out may catch the panic, and drop the
/// future when the thread no longer unwinds.
struct NotePanic(Arc<Slot>);

impl Drop for NotePanic {
    fn drop(&mut self) {
        if thread::panicking()
            && let Some(performance) = &self.0.work().performance
        {
            performance.has_panicked.store(true, Relaxed);
        }
    }
}

impl<T: Default> Default for InScope<T> {
    fn default() -> Self {
        Self::new(None, T::default())
    }
}

impl<T: fmt::Debug> fmt::Debug for InScope<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InScope")
            .field("inner", &self.inner)
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

impl<F: Future> Future for InScope<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let _entered = Entered::new(this.slot);
        this.inner.as_pin_mut().expect(TAKEN).poll(cx)
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
        let _entered = Entered::new(this.slot);
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

impl<S: Stream> Stream for InScope<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.project();
        let _entered = Entered::new(this.slot);
        this.inner.as_pin_mut().map_or(Poll::Ready(None), |inner| inner.poll_next(cx))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inner.as_ref().map_or((0, Some(0)), Stream::size_hint)
    }
}

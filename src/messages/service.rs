//! [`BindMessage`], its future, and the path of a message through both.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower_service::Service;

use crate::failures::{OpaqueErrors, ReadErrors};
use crate::messages::admission::Config;
use crate::scope::in_scope::InScope;

/// Serves messages for [`BindMessageLayer`](super::BindMessageLayer), whose `Service` it is.
pub struct BindMessage<S, M, R = OpaqueErrors> {
    inner: S,
    config: Arc<Config<M>>,
    errors: R,
}

impl<S, M, R> BindMessage<S, M, R> {
    pub(crate) fn with(inner: S, config: Arc<Config<M>>, errors: R) -> Self {
        Self { inner, config, errors }
    }

    /// Returns a reference to the service inside.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns a mutable reference to the service inside.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the service inside.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S: Clone, M, R: Clone> Clone for BindMessage<S, M, R> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            config: Arc::clone(&self.config),
            errors: self.errors.clone(),
        }
    }
}

impl<S: fmt::Debug, M, R> fmt::Debug for BindMessage<S, M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BindMessage").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, M, R> Service<M> for BindMessage<S, M, R>
where
    S: Service<M>,
    R: ReadErrors<S::Error>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BindMessageFuture<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, message: M) -> Self::Future {
        let scope = self.config.open(&message, self.config.measures);
        BindMessageFuture {
            inner: InScope::start(Some(scope), || self.inner.call(message)),
            captures_errors: self.config.captures_errors,
            errors: self.errors,
        }
    }
}

pin_project! {
    /// Resolves to the response of [`BindMessage`].
    pub struct BindMessageFuture<F, R = OpaqueErrors> {
        #[pin]
        inner: InScope<F>,
        captures_errors: bool,
        errors: R,
    }
}

impl<F, R> fmt::Debug for BindMessageFuture<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BindMessageFuture").field("id", &self.inner.id()).finish_non_exhaustive()
    }
}

impl<F, T, E, R> Future for BindMessageFuture<F, R>
where
    F: Future<Output = Result<T, E>>,
    R: ReadErrors<E>,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Poll::Ready((result, scope)) = this.inner.poll_with_scope(cx) else {
            return Poll::Pending;
        };
        if let Some(scope) = scope {
            if let Err(error) = &result
                && *this.captures_errors
            {
                scope.report_error::<E>(this.errors.read(error));
            }
            if let Some(performance) = &scope.work().performance {
                performance.processed(result.is_ok());
            }
            scope.close();
        }
        Poll::Ready(result)
    }
}

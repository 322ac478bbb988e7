//! The response body of the server layer.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::failures::{Failures, grpc_code};
use crate::scope::in_scope::InScope;
use crate::telemetry::inbound::Answer;

pin_project! {
    /// Polls, and drops, the response body of [`BindTransactionId`](crate::BindTransactionId) in the
    /// scope of its request. Its length, its end and its trailers are those of the inner body.
    pub struct ResponseBody<B> {
        #[pin]
        inner: InScope<B>,
        // For a gRPC response whose outcome its trailers have yet to name.
        failures: Option<Failures>,
        has_waited: bool,
        // Whether the end of the body is that of a performance transaction.
        is_measured: bool,
    }
}

impl<B> ResponseBody<B> {
    pub(crate) fn new(inner: InScope<B>, failures: Option<Failures>, is_measured: bool) -> Self {
        Self { inner, failures, has_waited: false, is_measured }
    }

    /// Returns a reference to the inner body.
    #[must_use]
    pub fn get_ref(&self) -> &B {
        self.inner.get_ref()
    }

    /// Returns a mutable reference to the inner body. A poll through it happens outside the scope.
    pub fn get_mut(&mut self) -> &mut B {
        self.inner.get_mut()
    }

    /// Returns the inner body, which leaves the scope.
    #[must_use]
    pub fn into_inner(self) -> B {
        self.inner.into_inner()
    }
}

impl<B: fmt::Debug> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// Makes a body in no scope, for layers that answer with an empty body of their own, such as a timeout.
impl<B: Default> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::new(InScope::default(), None, false)
    }
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let polled = this.inner.as_mut().poll_frame(cx);
        if *this.is_measured {
            this.inner.as_ref().measure(&polled);
        }
        match &polled {
            // A stream may stay open for hours, and must not keep the headers of its request.
            Poll::Pending if !*this.has_waited => {
                *this.has_waited = true;
                this.inner.unshare();
            }
            Poll::Ready(Some(Ok(frame))) if this.failures.is_some() => {
                if let Some(trailers) = frame.trailers_ref()
                    && let Some(failures) = this.failures.take()
                    && let Some(code) = failures.grpc_failure(trailers)
                    && let Some(scope) = this.inner.scope()
                {
                    scope.report_answer(&Answer::Grpc(code), None);
                }
            }
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let is_end = self.inner.is_end_stream();
        // A server asks this of a body that it is not going to poll.
        if is_end
            && self.is_measured
            && let Some(performance) = self.inner.work().and_then(|work| work.performance.as_ref())
        {
            performance.end();
        }
        is_end
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

type Polled<B> = Poll<Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>>;

impl<B: Body> InScope<B> {
    /// Takes note of the end of the body, and of the status in its trailers, for the performance
    /// transaction of the request.
    #[cold]
    fn measure(self: Pin<&Self>, polled: &Polled<B>) {
        let Some(work) = self.get_ref().work() else { return };
        let Some(performance) = &work.performance else { return };
        match polled {
            Poll::Pending => {}
            Poll::Ready(None) => performance.end(),
            Poll::Ready(Some(Err(_))) => performance.failed(),
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(code) = frame.trailers_ref().and_then(grpc_code) {
                    performance.answered_grpc(code);
                }
            }
        }
    }
}

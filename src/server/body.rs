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
    /// The response body of [`BindTransactionId`](crate::BindTransactionId): polled, and dropped, in
    /// the scope of its request. Its length, its end and its trailers are the inner body's.
    pub struct ResponseBody<B> {
        #[pin]
        inner: InScope<B>,
        // For a gRPC response whose outcome its trailers have yet to name.
        failures: Option<Failures>,
        has_waited: bool,
        // Whether the frames matter: to a report, or to a performance transaction.
        is_watched: bool,
    }
}

impl<B> ResponseBody<B> {
    pub(crate) fn new(inner: InScope<B>, failures: Option<Failures>, is_measured: bool) -> Self {
        let is_watched = is_measured || failures.is_some();
        Self { inner, failures, has_waited: false, is_watched }
    }

    /// Returns a reference to the inner body.
    #[must_use]
    pub fn get_ref(&self) -> &B {
        self.inner.get_ref()
    }

    /// Returns a mutable reference to the inner body. To poll it is to leave the scope.
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

/// In no scope: for the layers that answer with an empty body of their own, such as a timeout.
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
        if polled.is_pending() {
            if !*this.has_waited {
                *this.has_waited = true;
                // A stream may stay open for hours, and must not keep the headers of its request.
                this.inner.unshare();
            }
        } else if *this.is_watched {
            watch(this.inner.as_ref(), this.failures, &polled);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let is_end = self.inner.is_end_stream();
        // A server asks this of a body that it is not going to poll.
        if is_end
            && self.is_watched
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

/// Takes note of the end of the body, and of the status in its trailers, for the performance
/// transaction and for the report of the request.
#[cold]
fn watch<B: Body>(body: Pin<&InScope<B>>, failures: &mut Option<Failures>, polled: &Polled<B>) {
    let Some(scope) = body.scope() else { return };
    let performance = scope.work().performance.as_deref();
    match polled {
        Poll::Pending => {}
        Poll::Ready(None) => {
            if let Some(performance) = performance {
                performance.end();
            }
        }
        Poll::Ready(Some(Err(_))) => {
            if let Some(performance) = performance {
                performance.failed();
            }
        }
        Poll::Ready(Some(Ok(frame))) => {
            let Some(trailers) = frame.trailers_ref() else { return };
            if let Some(performance) = performance
                && let Some(code) = grpc_code(trailers)
            {
                performance.answered_grpc(code);
            }
            if let Some(code) = failures.take().and_then(|rules| rules.grpc_failure(trailers)) {
                scope.report_answer(&Answer::Grpc(code), None);
            }
        }
    }
}

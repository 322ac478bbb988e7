//! The response body of the server layer.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::InScope;
use crate::telemetry::inbound::InboundCall;

pin_project! {
    /// The response body of [`BindTransactionId`](crate::BindTransactionId): polled, and dropped, in
    /// the scope of its request. Its length, its end and its trailers are the inner body's.
    pub struct ResponseBody<B> {
        #[pin]
        inner: InScope<B>,
        // A gRPC response whose trailers have yet to tell how it went.
        watched: Option<Box<InboundCall>>,
    }
}

impl<B> ResponseBody<B> {
    pub(crate) fn new(inner: InScope<B>, watched: Option<Box<InboundCall>>) -> Self {
        Self { inner, watched }
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
        Self::new(InScope::default(), None)
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
        if this.watched.is_some()
            && let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(trailers) = frame.trailers_ref()
            && let Some(watched) = this.watched.take()
            && let Some(scope) = this.inner.scope()
        {
            watched.ended(scope, trailers);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

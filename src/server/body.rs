//! The response body of the server layer.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Buf;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::failures::{Failures, grpc_code};
use crate::scope::in_scope::InScope;
use crate::telemetry::inbound::Answer;

pin_project! {
    /// Polls, and drops, the response body of [`BindTransactionId`](crate::BindTransactionId) in the
    /// scope of its request. Passes on the length, the end and the trailers of the inner body.
    pub struct ResponseBody<B> {
        #[pin]
        inner: InScope<B>,
        // The rules for a gRPC response whose trailers will name its outcome.
        failures: Option<Failures>,
        is_unshared: bool,
        // Whether a report or a performance transaction needs to see the frames.
        is_watched: bool,
        // Set if the end of the body ends a performance transaction.
        measured: Option<Measured>,
    }
}

impl<B> ResponseBody<B> {
    pub(crate) fn new(
        inner: InScope<B>,
        failures: Option<Failures>,
        measured: Option<Measured>,
    ) -> Self {
        let is_watched = measured.is_some() || failures.is_some();
        Self { inner, failures, is_unshared: false, is_watched, measured }
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
        Self::new(InScope::default(), None, None)
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
        match this.inner.as_mut().poll_frame(cx) {
            Poll::Pending => {
                if !*this.is_unshared {
                    // A stream may stay open for hours, and must not keep the headers of its request.
                    *this.is_unshared = this.inner.unshare();
                }
                Poll::Pending
            }
            Poll::Ready(frame) if *this.is_watched => {
                let body = this.inner.as_ref();
                Poll::Ready(watch::<B>(body, this.failures, this.measured, frame))
            }
            Poll::Ready(frame) => Poll::Ready(frame),
        }
    }

    fn is_end_stream(&self) -> bool {
        let is_end = self.inner.is_end_stream();
        // If a body is at its end, a server calls this method and does not poll the body.
        if is_end
            && self.measured.is_some()
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

type FrameOrEnd<B> = Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>;

/// Counts the bytes of a body that the server has not taken yet.
pub(crate) struct Measured {
    /// The remaining bytes, if the head of the response names the length.
    remaining: Option<u64>,
}

impl Measured {
    pub(crate) fn new(headers: &HeaderMap) -> Self {
        let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        Self { remaining: length.and_then(|length| length.parse().ok()) }
    }

    /// Counts `data`, and returns whether `data` is the last of the body.
    fn ends_with(&mut self, data: &impl Buf) -> bool {
        let Some(remaining) = &mut self.remaining else { return false };
        *remaining = remaining.saturating_sub(data.remaining() as u64);
        *remaining == 0
    }
}

/// Passes the end of the body and the status in its trailers to the performance transaction and to the
/// report of the request. After the trailers, and after the last byte of a known length, servers drop a
/// body without a further poll.
///
/// The function takes the frame and returns it. With a reference to the frame, each frame of an unwatched
/// body would be copied once more.
#[cold]
fn watch<B: Body>(
    body: Pin<&InScope<B>>,
    failures: &mut Option<Failures>,
    measured: &mut Option<Measured>,
    frame: FrameOrEnd<B>,
) -> FrameOrEnd<B> {
    let Some(scope) = body.scope() else { return frame };
    let performance = scope.work().performance.as_deref();
    let mut is_end = frame.is_none();
    match &frame {
        None => {}
        Some(Err(_)) => {
            if let Some(performance) = performance {
                performance.failed();
            }
        }
        Some(Ok(frame)) => {
            if let Some(trailers) = frame.trailers_ref() {
                is_end = true;
                if let (Some(performance), Some(code)) = (performance, grpc_code(trailers)) {
                    performance.answered_grpc(code);
                }
                if let Some(code) = failures.take().and_then(|rules| rules.grpc_failure(trailers)) {
                    scope.report_answer(&Answer::Grpc(code), None);
                }
            } else if let (Some(measured), Some(data)) = (measured, frame.data_ref()) {
                is_end = measured.ends_with(data);
            }
        }
    }
    if is_end && let Some(performance) = performance {
        performance.end();
    }
    frame
}

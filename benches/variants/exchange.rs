//! One request through a service, without a runtime: made, answered, its body read, and dropped.

use std::convert::Infallible;
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_TYPE, COOKIE, DNT, HOST,
    ORIGIN, PRAGMA, REFERER, UPGRADE_INSECURE_REQUESTS, USER_AGENT,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use tower::Service;
use tower_transaction_id::X_TRANSACTION_ID;

use super::{Case, Subject, Visit};

/// The body of a request. It stands for what a server hands over, and is never read.
#[derive(Default)]
pub(crate) struct NoBody;

/// The inner service: answers after `pending` polls with `frames` frames.
pub(crate) fn inner_service(
    case: &Case,
) -> impl Service<Request<NoBody>, Response = Response<Frames>, Error = Infallible, Future = Answer>
+ Clone
+ use<> {
    let Case { captures, pending, frames, .. } = *case;
    tower::service_fn(move |request: Request<NoBody>| Answer {
        pending,
        frames,
        captures,
        _request: request,
    })
}

/// The future of the inner service. It holds the request, as a handler does.
pub(crate) struct Answer {
    pending: u32,
    frames: u32,
    captures: bool,
    _request: Request<NoBody>,
}

impl Future for Answer {
    type Output = Result<Response<Frames>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(pending) = self.pending.checked_sub(1) {
            self.pending = pending;
            return Poll::Pending;
        }
        if self.captures {
            sentry::capture_message("out of mustard", sentry::Level::Error);
        }
        let mut response = Response::new(Frames(self.frames));
        // A first header of its own, as most answers have: else the one of the ID would have to
        // pay for the table.
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, text);
        Poll::Ready(Ok(response))
    }
}

/// A body of so many frames, all ready.
pub(crate) struct Frames(u32);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.checked_sub(1).map(|left| {
            self.0 = left;
            Ok(Frame::data(Bytes::from_static(b"hot dog")))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.0 == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::from(self.0) * 7)
    }
}

/// Clones of a service, each of which serves one request a call.
pub(crate) struct Clones<'a> {
    pub(crate) case: &'a Case,
    pub(crate) count: usize,
}

impl Visit for Clones<'_> {
    type Output = Vec<Subject>;

    fn visit<S, B>(self, service: &S) -> Vec<Subject>
    where
        S: Service<Request<NoBody>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + 'static,
        B: Body<Data = Bytes, Error = Infallible>,
    {
        let subject = || -> Subject {
            let mut service = service.clone();
            let make = MakeRequest::new(self.case);
            Box::new(move || exchange(&mut service, make.request()))
        };
        (0..self.count).map(|_| subject()).collect()
    }
}

pub(crate) fn exchange<S, B>(service: &mut S, request: Request<NoBody>)
where
    S: Service<Request<NoBody>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes, Error = Infallible>,
{
    let mut cx = Context::from_waker(Waker::noop());
    let response = {
        let mut future = pin!(service.call(request));
        loop {
            if let Poll::Ready(Ok(response)) = future.as_mut().poll(&mut cx) {
                break response;
            }
        }
    };
    let (head, body) = response.into_parts();
    let mut body = pin!(body);
    while let Poll::Ready(Some(Ok(frame))) = body.as_mut().poll_frame(&mut cx) {
        black_box(frame);
    }
    black_box(head);
}

/// Makes the requests of a case, all alike.
pub(crate) struct MakeRequest {
    uri: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl MakeRequest {
    pub(crate) fn new(case: &Case) -> Self {
        let mut headers = if case.browser { browser_headers() } else { few_headers() };
        if case.reads {
            headers.push((X_TRANSACTION_ID, ID));
        }
        Self { uri: Uri::from_static("/order?size=large"), headers }
    }

    pub(crate) fn to(uri: &'static str, id: Option<HeaderValue>) -> Self {
        let mut headers = few_headers();
        headers.extend(id.map(|id| (X_TRANSACTION_ID, id)));
        Self { uri: Uri::from_static(uri), headers }
    }

    pub(crate) fn request(&self) -> Request<NoBody> {
        // As hyper reserves.
        let mut headers = HeaderMap::new();
        headers.reserve(self.headers.len());
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        let mut request = Request::new(NoBody);
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = headers;
        request
    }
}

/// The ID of requests that bring one.
pub(crate) const ID: HeaderValue = HeaderValue::from_static("3f9a1c5e7b2d4f60a8c4e2917d5b3f08");

/// Four, so that there is room for one more: with 3, 6, 12 or 24 the table that hyper reserves is
/// full, and whoever adds the next header pays two allocations for a larger one.
fn few_headers() -> Vec<(HeaderName, HeaderValue)> {
    [
        (HOST, "hotdogs.test"),
        (USER_AGENT, "curl/8.11.1"),
        (ACCEPT, "*/*"),
        (ACCEPT_ENCODING, "gzip"),
    ]
    .map(|(name, value)| (name, HeaderValue::from_static(value)))
    .into()
}

fn browser_headers() -> Vec<(HeaderName, HeaderValue)> {
    let custom = HeaderName::from_static;
    [
        (HOST, "hotdogs.test"),
        (USER_AGENT, "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"),
        (ACCEPT, "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        (ACCEPT_LANGUAGE, "de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7"),
        (ACCEPT_ENCODING, "gzip, deflate, br, zstd"),
        (REFERER, "https://hotdogs.test/menu"),
        (ORIGIN, "https://hotdogs.test"),
        (DNT, "1"),
        (COOKIE, "session=5a0b1c2d3e4f; theme=dark; consent=2026-01-01"),
        (UPGRADE_INSECURE_REQUESTS, "1"),
        (CACHE_CONTROL, "no-cache"),
        (PRAGMA, "no-cache"),
        (custom("sec-fetch-dest"), "document"),
        (custom("sec-fetch-mode"), "navigate"),
        (custom("sec-fetch-site"), "same-origin"),
        (custom("sec-fetch-user"), "?1"),
        (custom("priority"), "u=0, i"),
    ]
    .map(|(name, value)| (name, HeaderValue::from_static(value)))
    .into()
}

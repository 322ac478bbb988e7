//! Sends one request through a service, without a runtime, reads the body of the response, and drops all.

use std::convert::Infallible;
use std::hint::black_box;
use std::iter;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, COOKIE,
    DNT, HOST, ORIGIN, PRAGMA, REFERER, UPGRADE_INSECURE_REQUESTS, USER_AGENT,
};
use http::{HeaderName, HeaderValue, Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use tower::Service;
use tower_transaction_id::X_TRANSACTION_ID;

use super::cases::Headers;
use super::{Case, Subject, Visit};

/// The body of a request. It stands for the body that a server passes on, and is never read.
#[derive(Default)]
pub(crate) struct NoBody;

/// The inner service: answers after `pending` polls with `frames` frames.
pub(crate) fn inner_service(
    case: &Case,
) -> impl Service<Request<NoBody>, Response = Response<Frames>, Error = Infallible, Future = Answer>
+ Clone
+ use<> {
    let Case { captures, pending, frames, stays_open, .. } = *case;
    tower::service_fn(move |request: Request<NoBody>| Answer {
        pending,
        body: Frames { left: frames, stays_open },
        captures,
        _request: request,
    })
}

/// The future of the inner service. It holds the request, as a handler does.
pub(crate) struct Answer {
    pending: u32,
    body: Frames,
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
        let mut response = Response::new(self.body.clone());
        // The response has a header of its own, as most have. Else the header of the ID would cost the
        // allocation of the table.
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, text);
        Poll::Ready(Ok(response))
    }
}

/// A body whose frames are all ready. Then it ends, or stays open.
#[derive(Clone)]
pub(crate) struct Frames {
    left: u32,
    stays_open: bool,
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 && self.stays_open {
            return Poll::Pending;
        }
        Poll::Ready(self.left.checked_sub(1).map(|left| {
            self.left = left;
            Ok(Frame::data(Bytes::from_static(b"hot dog")))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0 && !self.stays_open
    }

    fn size_hint(&self) -> SizeHint {
        let known = u64::from(self.left) * 7;
        if self.stays_open { SizeHint::default() } else { SizeHint::with_exact(known) }
    }
}

/// Makes clones of a service. Each serves one request in each call.
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
            Subject::new(move || exchange(&mut service, make.request()))
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

/// Makes the requests of a case, which are all equal.
pub(crate) struct MakeRequest {
    uri: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The URI and the headers of a request share one buffer, which no other request has.
    one_buffer: bool,
}

impl MakeRequest {
    pub(crate) fn new(case: &Case) -> Self {
        let mut headers = headers(case.headers);
        if case.reads {
            headers.push((X_TRANSACTION_ID, ID));
        }
        let one_buffer = matches!(case.headers, Headers::Large(_));
        Self { uri: Uri::from_static("/order?size=large"), headers, one_buffer }
    }

    pub(crate) fn to(uri: &'static str, id: Option<HeaderValue>) -> Self {
        let mut headers = four_headers();
        headers.extend(id.map(|id| (X_TRANSACTION_ID, id)));
        Self { uri: Uri::from_static(uri), headers, one_buffer: false }
    }

    pub(crate) fn request(&self) -> Request<NoBody> {
        let mut parts = if self.one_buffer { self.parts_of_one_buffer() } else { Vec::new() };
        let mut parts = parts.drain(..);
        let mut request = Request::new(NoBody);
        *request.uri_mut() = match parts.next() {
            Some(part) => Uri::from_maybe_shared(part).expect("a URI"),
            None => self.uri.clone(),
        };
        // hyper reserves the same capacity.
        let headers = request.headers_mut();
        headers.reserve(self.headers.len());
        for (name, value) in &self.headers {
            let value = match parts.next() {
                Some(part) => HeaderValue::from_maybe_shared(part).expect("a header value"),
                None => value.clone(),
            };
            headers.append(name, value);
        }
        request
    }

    /// The URI and the values of the headers, as parts of one buffer.
    fn parts_of_one_buffer(&self) -> Vec<Bytes> {
        let uri = self.uri.to_string();
        let values = self.headers.iter().map(|(_, value)| value.as_bytes());
        let parts: Vec<&[u8]> = iter::once(uri.as_bytes()).chain(values).collect();
        let mut buffer = Bytes::from(parts.concat());
        parts.iter().map(|part| buffer.split_to(part.len())).collect()
    }
}

/// The ID of requests that have one.
pub(crate) const ID: HeaderValue = HeaderValue::from_static("3f9a1c5e7b2d4f60a8c4e2917d5b3f08");

fn headers(which: Headers) -> Vec<(HeaderName, HeaderValue)> {
    match which {
        Headers::Four => four_headers(),
        Headers::Six => six_headers(),
        Headers::Seventeen => seventeen_headers(),
        Headers::Large(cookie) => {
            let cookie = HeaderValue::from_str(&"c".repeat(cookie)).expect("letters");
            let mut headers = six_headers();
            headers.push((COOKIE, cookie));
            headers
        }
    }
}

pub(crate) fn four_headers() -> Vec<(HeaderName, HeaderValue)> {
    [
        (HOST, "hotdogs.test"),
        (USER_AGENT, "curl/8.11.1"),
        (ACCEPT, "*/*"),
        (ACCEPT_ENCODING, "gzip"),
    ]
    .map(|(name, value)| (name, HeaderValue::from_static(value)))
    .into()
}

fn six_headers() -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = four_headers();
    headers.push((CONTENT_TYPE, HeaderValue::from_static("application/json")));
    headers.push((CONTENT_LENGTH, HeaderValue::from_static("27")));
    headers
}

fn seventeen_headers() -> Vec<(HeaderName, HeaderValue)> {
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

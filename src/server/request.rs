//! The parts of an inbound request: its head, and the record of it.

use http::{Extensions, HeaderMap, HeaderValue, Method, Request, Uri, header};

use crate::header::{SENTRY_TRACE, first_line};
use crate::scope::record::{RecordOptions, RecordedHeaders, RequestRecord, Route};

/// Shows all of a request but its body: to [`Trust::when`](crate::Trust::when), to a
/// [`MakeTransactionId`](crate::MakeTransactionId) and to the maker of a span.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
}

impl<'a> RequestHead<'a> {
    pub(crate) fn of<B>(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }

    /// Returns the method.
    #[must_use]
    pub fn method(&self) -> &'a Method {
        self.method
    }

    /// Returns the URI as the client sent it. Over HTTP/1 the URI is mostly a path alone.
    #[must_use]
    pub fn uri(&self) -> &'a Uri {
        self.uri
    }

    /// Returns the headers.
    #[must_use]
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// Returns the extensions, which the server and the layers further out have added.
    #[must_use]
    pub fn extensions(&self) -> &'a Extensions {
        self.extensions
    }
}

impl RequestRecord {
    /// Records references to the parts of `request` that an event may show. The record is large, so it is
    /// filled in `place`. Returns whether the request brings a trace.
    pub(crate) fn fill<B>(
        place: &mut Option<Self>,
        request: &Request<B>,
        options: RecordOptions,
        is_shown: bool,
    ) -> bool {
        let headers = request.headers();
        let record = place.insert(Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: RecordedHeaders::Few([const { None }; 4]),
            route: matched_route(request),
            is_shown,
        });
        match &mut record.headers {
            RecordedHeaders::Few(few) if !options.sends_pii => record_few(few, headers),
            all => {
                *all = RecordedHeaders::All(Box::new(headers.clone()));
                has_trace(headers)
            }
        }
    }
}

/// Records the first value of each of [`RecordedHeaders::NAMES`]. Returns whether the headers hold a trace.
fn record_few(values: &mut [Option<HeaderValue>; 4], headers: &HeaderMap) -> bool {
    // Up to some twenty headers, a walk through all of them is quicker than five look-ups.
    if headers.keys_len() > 20 {
        *values = RecordedHeaders::NAMES.each_ref().map(|name| headers.get(name).cloned());
        return has_trace(headers);
    }
    let mut has_trace = false;
    for (name, value) in headers {
        let at = match *name {
            header::HOST => 0,
            header::USER_AGENT => 1,
            header::CONTENT_TYPE => 2,
            header::CONTENT_LENGTH => 3,
            _ => {
                has_trace |= *name == SENTRY_TRACE;
                continue;
            }
        };
        let place: &mut Option<HeaderValue> = &mut values[at];
        place.get_or_insert_with(|| value.clone());
    }
    has_trace
}

pub(crate) fn has_trace(headers: &HeaderMap) -> bool {
    first_line(headers, &SENTRY_TRACE).is_some()
}

#[cfg(feature = "axum")]
fn matched_route<B>(request: &Request<B>) -> Option<Route> {
    request.extensions().get::<Route>().cloned()
}

#[cfg(not(feature = "axum"))]
fn matched_route<B>(_: &Request<B>) -> Option<Route> {
    None
}

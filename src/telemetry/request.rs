//! Renders the record of an inbound request.

use sentry::protocol::{Map, Request, Url};
use sentry::utils::is_sensitive_header;

use crate::scope::record::{RecordedHeaders, RequestRecord, Route, Target};
use crate::telemetry::report::known_method;
use crate::telemetry::urls::url_at;
#[cfg(feature = "reqwest")]
use crate::telemetry::urls::without_secrets;

const FILTERED: &str = "[Filtered]";

/// Returns the request as an event shows it: with all recorded headers, and with the query only if
/// `sends_pii` is set.
pub(crate) fn protocol_request(request: &RequestRecord, sends_pii: bool) -> Request {
    Request {
        method: Some(request.method.as_str().to_owned()),
        url: url(request, sends_pii),
        headers: headers(&request.headers),
        ..Request::default()
    }
}

/// Returns the method and the route, which name a transaction; `None` where the route is not known.
pub(crate) fn route_name(request: &RequestRecord) -> Option<String> {
    route(request).map(|route| [known_method(&request.method), " ", route].concat())
}

/// Returns the method and the route or, where the route is not known, the method and the path.
pub(crate) fn full_name(request: &RequestRecord) -> String {
    let place = route(request).unwrap_or(request.uri.path());
    [known_method(&request.method), " ", place].concat()
}

fn route(request: &RequestRecord) -> Option<&str> {
    request.route.as_ref().map(Route::as_str)
}

/// Returns the URL; `None` where the request names no host. A scheme that the request does not name is
/// taken to be `http`, which is a guess behind a proxy.
fn url(request: &RequestRecord, with_query: bool) -> Option<Url> {
    let authority = match request.uri.authority() {
        Some(authority) => authority.as_str(),
        None => host(&request.headers)?,
    };
    let scheme = request.uri.scheme_str().unwrap_or("http");
    url_at(scheme, authority, request.uri.path(), request.uri.query().filter(|_| with_query))
}

fn host(headers: &RecordedHeaders) -> Option<&str> {
    let host = match headers {
        RecordedHeaders::Few([host, ..]) => host.as_ref(),
        RecordedHeaders::All(headers) => headers.get(http::header::HOST),
    };
    host?.to_str().ok()
}

fn headers(headers: &RecordedHeaders) -> Map<String, String> {
    let text = |value: &http::HeaderValue| {
        if value.is_sensitive() {
            return FILTERED.to_owned();
        }
        match std::str::from_utf8(value.as_bytes()) {
            Ok(text) => text.to_owned(),
            Err(_) => String::from_utf8_lossy(value.as_bytes()).into_owned(),
        }
    };
    match headers {
        RecordedHeaders::Few(values) => {
            // The headers are inserted one by one: collecting them would take a vector and a sort.
            let mut headers = Map::new();
            for (name, value) in RecordedHeaders::NAMES.iter().zip(values) {
                let Some(value) = value else { continue };
                let mut value = text(value);
                // A host may come with a user and a password, as in a URL.
                if *name == http::header::HOST
                    && let Some(at) = value.bytes().rposition(|byte| byte == b'@')
                {
                    value.drain(..=at);
                }
                headers.insert(name.as_str().to_owned(), value);
            }
            headers
        }
        RecordedHeaders::All(headers) => headers
            .iter()
            .map(|(name, value)| {
                let is_secret = is_sensitive_header(name.as_str());
                let value = if is_secret { FILTERED.to_owned() } else { text(value) };
                (name.as_str().to_owned(), value)
            })
            .collect(),
    }
}

impl Target {
    /// Returns the URL of an outbound call without its secrets, or only the path if the host is not known.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Uri(uri) => {
                let (scheme, colon) = uri.scheme_str().map_or(("", ""), |scheme| (scheme, "://"));
                let host = uri.host().unwrap_or_default();
                let port = uri.port().map_or_else(String::new, |port| format!(":{port}"));
                [scheme, colon, host, &port, uri.path()].concat()
            }
            #[cfg(feature = "reqwest")]
            Self::Url(url) => match without_secrets(url.clone()) {
                Some(url) => url.into(),
                None => url.path().to_owned(),
            },
        }
    }
}

//! The requests that the client layer sends and the responses that it returns.

use http::uri::Authority;
use http::{Extensions, HeaderMap, Method, StatusCode, header};

use crate::flags;
use crate::scope::record::Target;

/// Marks a request that [`InjectTransactionId`](crate::InjectTransactionId) can send: `http::Request<B>`
/// and, with the feature `reqwest`, `reqwest::Request`.
///
/// The trait is sealed. It lists types, and cannot be implemented.
#[diagnostic::on_unimplemented(
    message = "`InjectTransactionId` cannot send a `{Self}`",
    note = "it sends `http::Request<B>` of http 1 and, with the feature `reqwest`, `reqwest::Request` of reqwest 0.13"
)]
pub trait ClientRequest: sealed::Request {}

/// Marks a response that [`InjectTransactionId`](crate::InjectTransactionId) can return:
/// `http::Response<B>` and, with the feature `reqwest`, `reqwest::Response`.
///
/// The trait is sealed. It lists types, and cannot be implemented.
#[diagnostic::on_unimplemented(
    message = "`InjectTransactionId` cannot return a `{Self}`",
    note = "it returns `http::Response<B>` of http 1 and, with the feature `reqwest`, `reqwest::Response` of reqwest 0.13"
)]
pub trait ClientResponse: sealed::Response {}

// Each type has its own impl, in place of one impl for all sealed types. So rustdoc lists the types, and
// rustc ends its search here with the message above.
impl<B> ClientRequest for http::Request<B> {}
impl<B> ClientResponse for http::Response<B> {}

pub(crate) mod sealed {
    use super::{Extensions, HeaderMap, Method, StatusCode, Target};

    #[allow(unreachable_pub)] // public in name only, so that nobody else can implement it
    pub trait Request {
        fn headers_mut(&mut self) -> &mut HeaderMap;
        fn method(&self) -> &Method;
        #[allow(private_interfaces)]
        fn target(&self) -> Target;
        /// Returns the host that the request goes to, if the host is known.
        fn host(&self) -> Option<&str>;
        /// Returns the port, or the default port of the scheme.
        fn port(&self) -> Option<u16>;
    }

    #[allow(unreachable_pub)]
    pub trait Response {
        fn status(&self) -> StatusCode;
        fn headers(&self) -> &HeaderMap;
        fn extensions_mut(&mut self) -> &mut Extensions;
    }
}

impl<B> sealed::Request for http::Request<B> {
    fn headers_mut(&mut self) -> &mut HeaderMap {
        self.headers_mut()
    }

    fn method(&self) -> &Method {
        self.method()
    }

    #[allow(private_interfaces)]
    fn target(&self) -> Target {
        Target::Uri(self.uri().clone())
    }

    fn host(&self) -> Option<&str> {
        match self.uri().authority() {
            Some(authority) => {
                Some(plain_host(authority.as_str()).unwrap_or_else(|| authority.host()))
            }
            None => host_header(self.headers()).map(|(host, _)| host),
        }
    }

    fn port(&self) -> Option<u16> {
        match self.uri().host() {
            Some(_) => self.uri().port_u16().or_else(|| match self.uri().scheme_str() {
                Some("http") => Some(80),
                Some("https") => Some(443),
                _ => None,
            }),
            None => host_header(self.headers())?.1,
        }
    }
}

impl<B> sealed::Response for http::Response<B> {
    fn status(&self) -> StatusCode {
        self.status()
    }

    fn headers(&self) -> &HeaderMap {
        self.headers()
    }

    fn extensions_mut(&mut self) -> &mut Extensions {
        self.extensions_mut()
    }
}

/// Returns the host of an authority that is a name, with or without a port. Returns `None` for any other
/// authority. Nearly all authorities are of this form, and this takes a fifth of the instructions of a
/// parse.
fn plain_host(authority: &str) -> Option<&str> {
    match flags::any(authority.as_bytes(), &BYTES) {
        0 => Some(authority),
        COLON => {
            let (host, port) = authority.split_once(':')?;
            port.bytes().all(|byte| byte.is_ascii_digit()).then_some(host)
        }
        _ => None,
    }
}

const COLON: u8 = 1;
const NEITHER_NAME_NOR_COLON: u8 = 2;

static BYTES: flags::Table = flags::table!(|byte| match byte {
    b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => 0,
    b':' => COLON,
    _ => NEITHER_NAME_NOR_COLON,
});

/// Returns the host and the port of the `Host` line. Returns `None` if there are several lines, or if the
/// line has more than a host and a port.
fn host_header(headers: &HeaderMap) -> Option<(&str, Option<u16>)> {
    let mut lines = headers.get_all(header::HOST).iter();
    let line = lines.next().filter(|_| lines.next().is_none())?.to_str().ok()?;
    let authority: Authority = line.parse().ok()?;
    // An authority starts with the host, unless it has a user. Then something else than a port follows.
    let (host, rest) = line.split_at_checked(authority.host().len())?;
    let port = if rest.is_empty() { rest } else { rest.strip_prefix(':')? };
    // `http` does not look whether the port is a number.
    port.bytes().all(|byte| byte.is_ascii_digit()).then(|| (host, port.parse().ok()))
}

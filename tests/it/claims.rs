//! The claims that hold for every input, as plain functions that panic if one is broken. `properties`
//! calls them with the values of proptest, and `fuzz/` with those of a fuzzer.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use sentry::test::TestTransport;
use sentry::{Hub, Level};
use tower::{ServiceBuilder, ServiceExt};
use tower_http::request_id::{MakeRequestId, RequestId};
use tower_transaction_id::{
    AllowedHosts, BindTransactionIdLayer, InjectTransactionIdLayer, TransactionId,
    TransactionIdScope, Trust,
};

type Never = std::convert::Infallible;

/// The rules for a valid ID, written a second time and independently of the library.
pub(crate) fn is_valid(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return false };
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.:+/=@~".contains(c);
    let means_something = |c: char| c.is_ascii_alphabetic() || ('1'..='9').contains(&c);
    (1..=200).contains(&text.len())
        && text.chars().all(allowed)
        && text.chars().any(means_something)
        && !text.contains("..")
        && !text.contains("://")
        && !["undefined", "null", "nan", "none", "nil"].contains(&text.to_lowercase().as_str())
}

/// An accepted value keeps its bytes in every form, and an error does not show the value.
pub(crate) fn any_value(value: &[u8]) {
    let text = String::from_utf8_lossy(value);
    assert_eq!(text.parse::<TransactionId>().is_ok(), is_valid(text.as_bytes()));
    let Ok(header) = HeaderValue::from_bytes(value) else { return };
    let read = TransactionId::try_from(&header);
    assert_eq!(read.is_ok(), is_valid(value));
    match read {
        Ok(id) => {
            assert_eq!(id.as_str().as_bytes(), value);
            assert_eq!(id.to_string().parse::<TransactionId>().as_ref(), Ok(&id));
            assert_eq!(id.header_value(), header);
        }
        Err(error) => {
            // The text of the error consists of the rule and the length.
            let (rule, len) = (error.rule(), value.len());
            assert_eq!(error.to_string(), format!("not a transaction ID ({len} bytes): {rule}"));
            // `unwrap` prints the `Debug` form.
            assert_eq!(format!("{error:?}"), error.to_string());
        }
    }
}

/// The header lines of a request, each `copies` times.
pub(crate) struct Lines<'a> {
    pub(crate) values: &'a [Vec<u8>],
    pub(crate) copies: usize,
    /// The value that the generator returns.
    pub(crate) generated: Option<&'a [u8]>,
    pub(crate) trusted: bool,
}

/// A generator that returns always the same value.
#[derive(Clone)]
struct Yields(Option<HeaderValue>);

impl MakeRequestId for Yields {
    fn make_request_id<B>(&mut self, _: &Request<B>) -> Option<RequestId> {
        self.0.clone().map(RequestId::new)
    }
}

/// Any lines lead to one valid ID: on the request, on the response, and on the event.
pub(crate) fn any_lines(hub: &Arc<Hub>, kept: &TestTransport, request: &Lines<'_>) {
    let header = |value: &[u8]| HeaderValue::from_bytes(value).ok();
    let lines: Vec<_> = request.values.iter().filter_map(|line| header(line)).collect();
    let generated = request.generated.and_then(header);
    let append_all = |headers: &mut HeaderMap| {
        for line in lines.iter().flat_map(|line| std::iter::repeat_n(line, request.copies)) {
            headers.append("x-transaction-id", line.clone());
        }
    };
    let layer = BindTransactionIdLayer::new()
        .make_request_id(Yields(generated.clone()))
        .trust(if request.trusted { Trust::always() } else { Trust::never() });
    let service = ServiceBuilder::new().layer(layer).service_fn(async |request: Request<()>| {
        sentry::capture_message("handled", Level::Error);
        let seen = the_one(request.headers());
        assert_eq!(TransactionId::current().unwrap().header_value(), seen);
        let mut response = Response::new(Full::new(Bytes::copy_from_slice(seen.as_bytes())));
        // The response has the same lines, as if a service behind had set them.
        append_all(response.headers_mut());
        Ok::<_, Never>(response)
    });
    let mut incoming = Request::new(());
    append_all(incoming.headers_mut());
    let served = Hub::run(hub.clone(), || service.oneshot(incoming).now_or_never());
    let response = served.expect("nothing in it waits").unwrap();

    let id = the_one(response.headers()).clone();
    assert!(is_valid(id.as_bytes()), "{id:?}");
    let seen = response.into_body().collect().now_or_never().unwrap().unwrap().to_bytes();
    assert_eq!(seen, id.as_bytes());
    let events = kept.fetch_and_clear_events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].tags["transaction_id"].as_bytes(), id.as_bytes());

    let valid = |value: &&HeaderValue| is_valid(value.as_bytes());
    let agreed = lines.first().filter(|first| lines.iter().all(|line| line == *first));
    let agreed = agreed.filter(valid);
    let upstream = agreed.filter(|_| !request.trusted).map(HeaderValue::as_bytes);
    let recorded = events[0].tags.get("upstream_transaction_id");
    assert_eq!(recorded.map(String::as_bytes), upstream);
    match agreed.filter(|_| request.trusted).or(generated.as_ref().filter(valid)) {
        Some(expected) => assert_eq!(id, expected),
        None => assert_eq!(id.len(), 32),
    }
}

fn the_one(headers: &HeaderMap) -> &HeaderValue {
    let lines: Vec<_> = headers.get_all("x-transaction-id").iter().collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines[0]
}

/// For any list of hosts, URI and `Host` line, only listed hosts receive the ID.
pub(crate) fn any_hosts(entries: &[String], uri: &str, host_line: Option<&[u8]>) {
    // Keeps the entries that the library accepts as hosts.
    let is_host = |entry: &&String| {
        let is_host = AllowedHosts::only([entry]).is_ok();
        assert!(is_host || !is_sound(entry), "{entry} was refused");
        is_host
    };
    let entries: Vec<_> = entries.iter().filter(is_host).collect();
    let Ok(hosts) = AllowedHosts::only(&entries) else {
        assert!(entries.is_empty(), "together, {entries:?} were refused");
        return;
    };
    // `allows` takes any text without a panic.
    let _ = hosts.allows(uri, Some(1));
    let Ok(uri) = uri.parse::<Uri>() else { return };
    let host_line = host_line.and_then(|line| HeaderValue::from_bytes(line).ok());
    let target = target(&uri, host_line.as_ref());
    let is_named = target.as_ref().is_some_and(|(host, port)| {
        entries.iter().any(|entry| names(&entry.to_lowercase(), host, *port))
    });
    let send = |hosts: &AllowedHosts, forwarded: bool| {
        let mut request = Request::new(());
        *request.uri_mut() = uri.clone();
        if let Some(line) = &host_line {
            request.headers_mut().insert("host", line.clone());
        }
        if forwarded {
            request.headers_mut().insert("x-transaction-id", HeaderValue::from_static("mine"));
        }
        leaves_with_the_id(hosts, request)
    };
    for forwarded in [false, true] {
        let is_sent = send(&hosts, forwarded);
        assert!(is_named || !is_sent, "{entries:?} let {uri} through, {host_line:?}");
        assert!(send(&AllowedHosts::any(), forwarded));
        // The URL that a client makes of the URI leads to a listed host, too.
        if let (true, Some(_), Ok(url)) = (is_sent, uri.scheme(), uri.to_string().parse()) {
            assert!(hosts.allows_url(&url), "{entries:?} let {uri} through, and not {url}");
        }
    }
    // If the list has the host as the URI writes it, the request has the ID.
    if let Some(host) = uri.host().filter(|host| is_sound(host)) {
        assert!(send(&AllowedHosts::only([host]).unwrap(), false), "not even {host} to {uri}");
    }
}

/// Sends `request` in a scope whose ID is `mine`. Returns whether the sent request has the ID.
fn leaves_with_the_id(hosts: &AllowedHosts, request: Request<()>) -> bool {
    let layer = InjectTransactionIdLayer::new(hosts.clone());
    let client = ServiceBuilder::new().layer(layer).service_fn(async |request: Request<()>| {
        let id = request.headers().get("x-transaction-id").cloned();
        Ok::<_, Never>(Response::new(id))
    });
    let scope = TransactionIdScope::new("mine".parse().unwrap());
    let sent = scope.bind(async { client.oneshot(request).await }).now_or_never();
    let id = sent.expect("nothing in it waits").unwrap().into_body();
    assert!(id.as_ref().is_none_or(|id| id == "mine"), "{id:?}");
    id.is_some()
}

/// The host, in lower case, and the port that a request names. A `Host` line is split before its port,
/// and not checked.
fn target(uri: &Uri, host_line: Option<&HeaderValue>) -> Option<(String, Option<u16>)> {
    if let Some(host) = uri.host() {
        let of_scheme = match uri.scheme_str() {
            Some("http") => Some(80),
            Some("https") => Some(443),
            _ => None,
        };
        return Some((host.to_lowercase(), uri.port_u16().or(of_scheme)));
    }
    let line = host_line?.to_str().ok()?.to_lowercase();
    Some(match line.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => {
            (host.to_owned(), port.parse().ok())
        }
        _ => (line, None),
    })
}

/// Whether `entry` names `host`, both in lower case. The library takes the entry apart. This function
/// compares the entry with each form in which a list can write the host.
fn names(entry: &str, host: &str, port: Option<u16>) -> bool {
    let with_port = entry.rsplit_once(':').filter(|(_, port_of_entry)| {
        entry.parse::<IpAddr>().is_err() && port_of_entry.parse().ok() == port
    });
    [Some(entry), with_port.map(|(named, _)| named)].into_iter().flatten().any(|named| {
        let (named, host) = (without_dot(named), without_dot(host));
        named == host
            || match address(host) {
                Some(address) => strict_address(named) == Some(address),
                None => named.starts_with('.') && host != named && host.ends_with(named),
            }
    })
}

fn without_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// The IP address that a host stands for, in all the ways in which URLs write one.
fn address(host: &str) -> Option<IpAddr> {
    let url: reqwest::Url = format!("http://{host}/").parse().ok()?;
    strict_address(url.host_str()?)
}

fn strict_address(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[') {
        Some(v6) => v6.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::from),
        None => host.parse().ok(),
    }
}

/// Whether `host` is an address, or a name that no URL reads as an address. `127.1` is neither.
fn is_sound(host: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let is_name =
        || format!("http://{host}/").parse().is_ok_and(|url: reqwest::Url| url.domain().is_some());
    strict_address(host).is_some() || (without_dot(host).split('.').all(is_label) && is_name())
}

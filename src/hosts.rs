//! Who may see the ID: the hosts that the client layer adds it for.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

/// The hosts that an outbound request may carry the ID to.
///
/// There is no default: an ID tells a third party that two requests belong together, so whoever
/// builds the client says who may know.
///
/// ```
/// use tower_transaction_id::AllowedHosts;
///
/// let hosts = AllowedHosts::only(["kitchen.internal", ".svc.cluster.local", "10.0.0.7:8080"]);
/// assert!(hosts.allows("Kitchen.Internal", Some(8080)));
/// assert!(hosts.allows("grill.svc.cluster.local", None));
/// assert!(!hosts.allows("svc.cluster.local", None));
/// assert!(!hosts.allows("kitchen.internal.evil.test", None));
/// assert!(!hosts.allows("10.0.0.7", Some(22)));
/// ```
#[derive(Clone, Debug)]
pub struct AllowedHosts(Option<Arc<[HostRule]>>);

impl AllowedHosts {
    /// Every host, and requests whose host is not known. For a client that only ever calls your
    /// own services.
    #[must_use]
    pub fn any() -> Self {
        Self(None)
    }

    /// The hosts listed, and no other. Each entry is one of
    ///
    /// - a name: `kitchen.internal`; that name alone, on any port;
    /// - a suffix, with a leading dot: `.svc.cluster.local`; every name below it, not the name
    ///   itself, and never an IP address, so that it must not end in a number;
    /// - an IP address: `10.0.0.7`, `[::1]` or `::1`;
    /// - any of these with a port: `localhost:8080`; on that port alone, where the port of a
    ///   request that names none is its scheme's.
    ///
    /// Case and one trailing dot do not matter. Names beyond ASCII are written in Punycode, as
    /// they are sent. An entry of any other form, such as a URL, matches nothing; with the
    /// feature `tracing` a warning says so.
    #[must_use]
    pub fn only<I>(hosts: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let rules = hosts.into_iter().filter_map(|host| HostRule::parse(host.as_ref()));
        Self(Some(rules.collect()))
    }

    /// Whether a request to `host` on `port` may carry the ID. An IPv6 address may have brackets.
    ///
    /// It is what the layer asks itself for each request; ask it in a redirect policy.
    #[must_use]
    pub fn allows(&self, host: &str, port: Option<u16>) -> bool {
        self.allows_target(Some(host), || port)
    }

    /// [`allows`](Self::allows) for the host and the port of `url`, for a redirect policy:
    ///
    /// ```
    /// use tower_transaction_id::AllowedHosts;
    ///
    /// let hosts = AllowedHosts::only(["kitchen.internal"]);
    /// let policy = reqwest::redirect::Policy::custom(move |attempt| {
    ///     if hosts.allows_url(attempt.url()) {
    ///         reqwest::redirect::Policy::default().redirect(attempt)
    ///     } else {
    ///         attempt.stop()
    ///     }
    /// });
    /// ```
    #[cfg(feature = "reqwest")]
    #[must_use]
    pub fn allows_url(&self, url: &reqwest::Url) -> bool {
        self.allows_target(url.host_str(), || url.port_or_known_default())
    }

    /// [`allows`](Self::allows) for a request whose host may be unknown. The port is asked for only
    /// where it matters.
    pub(crate) fn allows_target(&self, host: Option<&str>, port: impl Fn() -> Option<u16>) -> bool {
        let Some(rules) = &self.0 else { return true };
        let Some(host) = host else {
            #[cfg(feature = "tracing")]
            tracing::debug!("no host in the request, so the transaction ID is not sent");
            return false;
        };
        let name = without_root(host);
        rules.iter().any(|rule| rule.matches(host, name, &port))
    }
}

#[derive(Clone, Debug)]
struct HostRule {
    pattern: Pattern,
    port: Option<u16>,
}

#[derive(Clone, Debug)]
enum Pattern {
    Ip(IpAddr),
    Name(Box<str>),
    /// Without its leading dot.
    Below(Box<str>),
}

impl HostRule {
    fn parse(entry: &str) -> Option<Self> {
        let rule = Self::parse_parts(entry);
        #[cfg(feature = "tracing")]
        if rule.is_none() {
            tracing::warn!(entry, "no host, so the transaction ID will never be sent to it");
        }
        rule
    }

    fn parse_parts(entry: &str) -> Option<Self> {
        // An IPv6 address may stand without brackets, and then has no port.
        if let Ok(ip) = entry.parse() {
            return Some(Self { pattern: Pattern::Ip(ip), port: None });
        }
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse().ok()?)),
            _ => (entry, None),
        };
        let (below, host) = match host.strip_prefix('.') {
            Some(suffix) => (true, suffix),
            None => (false, host),
        };
        let name = without_root(host);
        let pattern = match parse_ip(host) {
            Some(ip) if !below => Pattern::Ip(ip),
            _ if !is_name(name) => return None,
            _ if !below => Pattern::Name(name.into()),
            _ if ends_in_a_number(name) => return None,
            _ => Pattern::Below(name.into()),
        };
        Some(Self { pattern, port })
    }

    fn matches(&self, host: &str, name: &str, port: impl Fn() -> Option<u16>) -> bool {
        let host_matches = match &self.pattern {
            Pattern::Ip(allowed) => parse_ip(host) == Some(*allowed),
            // What equals a name is one.
            Pattern::Name(allowed) => allowed.eq_ignore_ascii_case(name),
            Pattern::Below(suffix) => is_below(name, suffix) && is_name(name),
        };
        host_matches && (self.port.is_none() || self.port == port())
    }
}

/// An IPv6 address stands in brackets, as in a URI, or without them.
fn parse_ip(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[') {
        Some(v6) => v6.strip_suffix(']')?.parse().map(Ipv6Addr::into).ok(),
        None => host.parse().ok(),
    }
}

/// Without the dot of the root, which a full name may end in.
fn without_root(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

fn is_name(name: &str) -> bool {
    let is_sound = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    name.split('.').all(|label| !label.is_empty() && label.bytes().all(is_sound))
}

/// As in a URL, where it makes an IPv4 address of a host: `10.0.0.7.` and `127.1` are addresses.
fn ends_in_a_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let (digits, radix) = match last.get(..2) {
        Some("0x" | "0X") => (&last[2..], 16),
        _ => (last, 10),
    };
    digits.chars().all(|c| c.is_digit(radix))
}

/// Whether `name` ends in `suffix` at the boundary of a label, with something before it.
fn is_below(name: &str, suffix: &str) -> bool {
    let name = name.as_bytes();
    let dot = name.len().checked_sub(suffix.len() + 1).filter(|dot| *dot > 0);
    dot.is_some_and(|dot| {
        name[dot] == b'.' && name[dot + 1..].eq_ignore_ascii_case(suffix.as_bytes())
    })
}

//! Who may see the ID: the hosts that the client layer adds it for.

use std::error::Error;
use std::fmt;
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
/// let hosts = AllowedHosts::only(["kitchen.internal", ".svc.cluster.local", "10.0.0.7:8080"])?;
/// assert!(hosts.allows("Kitchen.Internal", Some(8080)));
/// assert!(hosts.allows("grill.svc.cluster.local", None));
/// assert!(!hosts.allows("svc.cluster.local", None));
/// assert!(!hosts.allows("kitchen.internal.evil.test", None));
/// assert!(!hosts.allows("10.0.0.7", Some(22)));
/// # Ok::<(), tower_transaction_id::InvalidHost>(())
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
    ///   itself, and never an IP address;
    /// - an IP address: `10.0.0.7`, `[::1]` or `::1`;
    /// - any of these with a port: `localhost:8080`; on that port alone, where the port of a
    ///   request that names none is its scheme's.
    ///
    /// Neither case nor one trailing dot of a name matters. Names beyond ASCII are written in
    /// Punycode, as they are sent. A name or a suffix does not end in a number: to a URL, `127.1` is an
    /// address.
    ///
    /// # Errors
    ///
    /// The first entry of any other form, such as a URL or `*.internal`: it would match nothing, and
    /// the ID would never arrive where it was meant to.
    pub fn only<I>(hosts: I) -> Result<Self, InvalidHost>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let parse = |host: I::Item| {
            HostRule::parse(host.as_ref()).ok_or_else(|| InvalidHost(host.as_ref().into()))
        };
        Ok(Self(Some(hosts.into_iter().map(parse).collect::<Result<_, _>>()?)))
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
    /// let hosts = AllowedHosts::only(["kitchen.internal"])?;
    /// let policy = reqwest::redirect::Policy::custom(move |attempt| {
    ///     if hosts.allows_url(attempt.url()) {
    ///         reqwest::redirect::Policy::default().redirect(attempt)
    ///     } else {
    ///         attempt.stop()
    ///     }
    /// });
    /// # Ok::<(), tower_transaction_id::InvalidHost>(())
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

/// An entry of [`AllowedHosts::only`] that is no host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidHost(Box<str>);

impl InvalidHost {
    /// The entry, as it was given.
    #[must_use]
    pub fn entry(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InvalidHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no host: give a name (kitchen.internal), a suffix (.svc.cluster.local) or an IP \
             address, with a port or without",
            self.0
        )
    }
}

impl Error for InvalidHost {}

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
        // An IPv6 address may stand without brackets, and then has no port.
        if let Ok(ip) = entry.parse() {
            return Some(Self { pattern: Pattern::Ip(ip), port: None });
        }
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(parse_port(port)?)),
            _ => (entry, None),
        };
        let (below, host) = match host.strip_prefix('.') {
            Some(suffix) => (true, suffix),
            None => (false, host),
        };
        let name = without_root(host);
        let pattern = match parse_ip(host) {
            Some(ip) if !below => Pattern::Ip(ip),
            _ if !is_name(name) || ends_in_a_number(name) => return None,
            _ if below => Pattern::Below(name.into()),
            _ => Pattern::Name(name.into()),
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

/// Digits alone, while `parse` would take a sign.
fn parse_port(port: &str) -> Option<u16> {
    if port.bytes().all(|byte| byte.is_ascii_digit()) { port.parse().ok() } else { None }
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

//! The hosts to which the client layer may send the ID.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

/// Lists the hosts that may receive the ID.
///
/// There is no default list: an ID shows a third party that two requests belong together, so the code that
/// builds a client decides.
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
#[derive(Clone)]
pub struct AllowedHosts(Option<Arc<List>>);

struct List {
    rules: Box<[HostRule]>,
    /// Whether the warning about a request without a known host was logged.
    #[cfg(feature = "tracing")]
    has_warned: std::sync::atomic::AtomicBool,
}

impl fmt::Debug for AllowedHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(list) => f.debug_tuple("AllowedHosts::only").field(&list.rules).finish(),
            None => f.write_str("AllowedHosts::any()"),
        }
    }
}

impl AllowedHosts {
    /// Allows every host, and requests whose host is not known. This is for a client that only calls your
    /// own services.
    #[must_use]
    pub fn any() -> Self {
        Self(None)
    }

    /// Allows the hosts on a list, and no other. Each entry is one of
    ///
    /// - a name, `kitchen.internal`: this name, on any port;
    /// - a suffix with a leading dot, `.svc.cluster.local`: every name below it, but neither the name itself
    ///   nor an IP address;
    /// - an IP address, `10.0.0.7`, `[::1]` or `::1`;
    /// - any of these with a port, `localhost:8080`: on this port alone. A request without a port has the
    ///   port of its scheme;
    /// - an origin, as configuration files contain it, `https://kitchen.internal:8443`: its host on its port,
    ///   or on the port of `http` or `https`.
    ///
    /// Neither case nor one trailing dot of a name matters. Names beyond ASCII are written in Punycode, as
    /// they are sent. A name or a suffix does not end in a number: to a URL, `127.1` is an address.
    ///
    /// # Errors
    ///
    /// Returns the first entry of any other form, such as `*.internal` or a URL with a path, a query or a
    /// user. An empty list is an error as well: no request would carry the ID.
    pub fn only<I>(hosts: I) -> Result<Self, InvalidHost>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let parse = |host: I::Item| HostRule::parse_entry(host.as_ref());
        let rules: Box<[_]> = hosts.into_iter().map(parse).collect::<Result<_, _>>()?;
        if rules.is_empty() {
            return Err(InvalidHost(Problem::NoHosts));
        }
        Ok(Self(Some(Arc::new(List {
            rules,
            #[cfg(feature = "tracing")]
            has_warned: false.into(),
        }))))
    }

    /// Returns whether a request to `host` on `port` may carry the ID. An IPv6 address may have brackets.
    /// Without a port, only entries without a port allow the host.
    ///
    /// The layer asks this for each request. Ask it in a redirect policy.
    #[must_use]
    pub fn allows(&self, host: &str, port: Option<u16>) -> bool {
        self.allows_target(Some(host), || port)
    }

    /// Does the same as [`allows`](Self::allows) for a request whose host may be unknown. Calls `port` only
    /// if an entry with a port matches the host.
    pub(crate) fn allows_target(&self, host: Option<&str>, port: impl Fn() -> Option<u16>) -> bool {
        let Some(list) = &self.0 else { return true };
        let Some(host) = host else {
            #[cfg(feature = "tracing")]
            list.warn_of_unknown_host();
            return false;
        };
        let name = without_root(host);
        let is_allowed = list.rules.iter().any(|rule| rule.matches(host, name, &port));
        #[cfg(feature = "tracing")]
        if !is_allowed {
            tracing::debug!(host, "host not on the list, so the transaction ID is not sent");
        }
        is_allowed
    }
}

#[cfg(feature = "tracing")]
impl List {
    #[cold]
    fn warn_of_unknown_host(&self) {
        if !self.has_warned.swap(true, std::sync::atomic::Ordering::Relaxed) {
            tracing::warn!(
                "a request names no host, so the transaction ID is not sent: around tonic's Channel \
                 use AllowedHosts::any()"
            );
        }
    }
}

/// Reports the first entry of [`AllowedHosts::only`] that is no host, and how to write it, or an empty list.
///
/// `Debug` prints the same sentence as `Display`, since `unwrap` and `main` print `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct InvalidHost(Problem);

#[derive(Clone, PartialEq, Eq)]
enum Problem {
    NoHosts,
    NoHost(Box<str>),
    /// A URL, and the entry to write in its place.
    MoreThanAnOrigin(Box<str>, Box<str>),
}

impl InvalidHost {
    /// Returns the entry as it was given, or an empty string if the list was empty.
    #[must_use]
    pub fn entry(&self) -> &str {
        match &self.0 {
            Problem::NoHosts => "",
            Problem::NoHost(entry) | Problem::MoreThanAnOrigin(entry, _) => entry,
        }
    }
}

impl fmt::Display for InvalidHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Problem::NoHosts => {
                f.write_str("the list of hosts is empty: no request would carry the transaction ID")
            }
            Problem::NoHost(entry) => write!(
                f,
                "{entry:?} is no host: write a name (kitchen.internal), a suffix \
                 (.svc.cluster.local), an IP address, each with a port or without, or an origin \
                 (https://kitchen.internal:8443)"
            ),
            Problem::MoreThanAnOrigin(entry, host) => {
                write!(f, "{entry:?} has more than a host and a port: write {host:?}")
            }
        }
    }
}

impl fmt::Debug for InvalidHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
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
    /// A suffix without its leading dot.
    Below(Box<str>),
}

impl HostRule {
    fn parse_entry(entry: &str) -> Result<Self, InvalidHost> {
        let no_host = || InvalidHost(Problem::NoHost(entry.into()));
        let Some((scheme, rest)) = entry.split_once("://") else {
            return Self::parse(entry).ok_or_else(no_host);
        };
        let scheme_port = match scheme.to_ascii_lowercase().as_str() {
            "http" => Some(80),
            "https" => Some(443),
            _ => return Err(no_host()),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        // A URL cannot have a suffix as its host.
        let rule = Self::parse(host).filter(|_| !host.starts_with('.')).ok_or_else(no_host)?;
        if host != authority || !matches!(path, "" | "/") {
            return Err(InvalidHost(Problem::MoreThanAnOrigin(entry.into(), host.into())));
        }
        Ok(Self { port: rule.port.or(scheme_port), ..rule })
    }

    fn parse(entry: &str) -> Option<Self> {
        // An IPv6 address without brackets has no port.
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
            // `allowed` is a valid name, so an equal `name` is valid too.
            Pattern::Name(allowed) => allowed.eq_ignore_ascii_case(name),
            // A name has a label before the dot.
            Pattern::Below(suffix) => is_below(name, suffix) && is_name(name),
        };
        host_matches && (self.port.is_none() || self.port == port())
    }
}

/// Parses an IP address. An IPv6 address may have brackets, as in a URI.
fn parse_ip(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[') {
        Some(v6) => v6.strip_suffix(']')?.parse().map(Ipv6Addr::into).ok(),
        None => host.parse().ok(),
    }
}

/// Parses a port of digits alone, since `parse` would accept a sign.
fn parse_port(port: &str) -> Option<u16> {
    if port.bytes().all(|byte| byte.is_ascii_digit()) { port.parse().ok() } else { None }
}

/// Returns `host` without the trailing dot that stands for the DNS root.
fn without_root(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

fn is_name(name: &str) -> bool {
    let is_sound = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    name.split('.').all(|label| !label.is_empty() && label.bytes().all(is_sound))
}

/// Returns whether the last label is a number. A URL reads such a host as an IPv4 address: `127.1` is one.
fn ends_in_a_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let (digits, radix) = match last.get(..2) {
        Some("0x" | "0X") => (&last[2..], 16),
        _ => (last, 10),
    };
    digits.chars().all(|c| c.is_digit(radix))
}

/// Returns whether `name` ends in a dot and `suffix`, in any case.
fn is_below(name: &str, suffix: &str) -> bool {
    let name = name.as_bytes();
    let dot = name.len().checked_sub(suffix.len() + 1);
    dot.is_some_and(|dot| {
        name[dot] == b'.' && name[dot + 1..].eq_ignore_ascii_case(suffix.as_bytes())
    })
}

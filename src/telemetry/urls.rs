//! URLs without the secrets that they may hold.

use std::cell::RefCell;

use sentry::protocol::Url;

/// The length in bytes of the longest authority that is kept: the longest domain name with a port.
const KEPT_AUTHORITY: usize = 259;

/// The URL of a host, without a path.
struct Origin {
    scheme: String,
    authority: String,
    url: Url,
}

thread_local! {
    /// The origin that was parsed last. It is kept because the requests of a server name few hosts, and
    /// parsing an origin takes longer than rendering all the rest of a request.
    static LAST_ORIGIN: RefCell<Option<Origin>> = const { RefCell::new(None) };
}

/// Returns the URL of these parts, without user and password; `None` where the URL names no host.
pub(crate) fn url_at(
    scheme: &str,
    authority: &str,
    path: &str,
    query: Option<&str>,
) -> Option<Url> {
    let mut url = kept_origin(scheme, authority).or_else(|| parsed_origin(scheme, authority))?;
    url.set_path(path);
    if query.is_some() {
        url.set_query(query);
    }
    Some(url)
}

fn kept_origin(scheme: &str, authority: &str) -> Option<Url> {
    // While a thread ends, the thread-local may be gone.
    let kept = LAST_ORIGIN.try_with(|last| {
        let last = last.borrow();
        let same = |last: &&Origin| last.authority == authority && last.scheme == scheme;
        last.as_ref().filter(same).map(|last| last.url.clone())
    });
    kept.ok().flatten()
}

fn parsed_origin(scheme: &str, authority: &str) -> Option<Url> {
    let url = [scheme, "://", authority].concat().parse().ok()?;
    // The authority may come from a header, where anything may follow it.
    let mut url = without_secrets(url)?;
    url.set_path("");
    // An authority with a user or a password is not kept after the request.
    if authority.len() <= KEPT_AUTHORITY && !authority.contains('@') {
        let (scheme, authority) = (scheme.to_owned(), authority.to_owned());
        let origin = Origin { scheme, authority, url: url.clone() };
        let _ = LAST_ORIGIN.try_with(|last| last.replace(Some(origin)));
    }
    Some(url)
}

/// Removes user, password, query and fragment. Returns `None` where the URL names no host.
pub(crate) fn without_secrets(url: Url) -> Option<Url> {
    without_user(url).map(without_query)
}

/// Removes user and password. Returns `None` where the URL names no host.
pub(crate) fn without_user(mut url: Url) -> Option<Url> {
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    Some(url)
}

/// Removes query and fragment.
pub(crate) fn without_query(mut url: Url) -> Url {
    url.set_query(None);
    url.set_fragment(None);
    url
}

/// Removes the secrets from the URLs in the text of an error. Some clients print URLs in full.
///
/// `http::Uri` allows brackets and quotes in a URL. They count as parts of the URL, so that the function
/// removes too much rather than too little. Only the closing characters at the very end of a URL stay.
pub(crate) fn scrub(text: &str) -> String {
    let mut scrubbed = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let before = rest[..at].trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == '+');
        let end = rest[at..].find(char::is_whitespace).map_or(rest.len(), |end| at + end);
        let closes_text =
            |c: char| matches!(c, ')' | ']' | '}' | '>' | '\'' | '"' | '`' | ',' | ';' | ':' | '.');
        let url = rest[before.len()..end].trim_end_matches(closes_text);
        scrubbed.push_str(before);
        match url.parse().ok().and_then(without_secrets) {
            Some(url) => scrubbed.push_str(url.as_str()),
            None => scrubbed.push_str("[url]"),
        }
        rest = &rest[before.len() + url.len()..];
        // The closing characters are not part of a further URL.
        let closing = rest.len() - rest.trim_start_matches(closes_text).len();
        scrubbed.push_str(&rest[..closing]);
        rest = &rest[closing..];
    }
    scrubbed.push_str(rest);
    scrubbed
}

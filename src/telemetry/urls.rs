//! URLs without the secrets that they may hold.

use sentry::protocol::Url;

/// Without user, password, query and fragment; `None` where it names no host.
pub(crate) fn without_secrets(url: Url) -> Option<Url> {
    without_user(url).map(without_query)
}

/// Without user and password; `None` where it names no host.
pub(crate) fn without_user(mut url: Url) -> Option<Url> {
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    Some(url)
}

/// Without query and fragment.
pub(crate) fn without_query(mut url: Url) -> Url {
    url.set_query(None);
    url.set_fragment(None);
    url
}

/// Takes the secrets out of the URLs in the text of an error, which some clients print in full.
///
/// A URL may hold brackets and quotes of its own, as `http::Uri` allows. They count as its own, so that
/// the function removes too much rather than too little; only a closing character at the very end
/// stays.
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
        // What stands at the end is no part of a further URL.
        let closing = rest.len() - rest.trim_start_matches(closes_text).len();
        scrubbed.push_str(&rest[..closing]);
        rest = &rest[closing..];
    }
    scrubbed.push_str(rest);
    scrubbed
}

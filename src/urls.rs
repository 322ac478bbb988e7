//! URLs without the secrets that they may hold.

use sentry::protocol::Url;

/// Without user, password, query and fragment; `None` where it names no host.
pub(crate) fn without_secrets(mut url: Url) -> Option<Url> {
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    url.set_query(None);
    url.set_fragment(None);
    Some(url)
}

/// Takes the secrets out of the URLs in the text of an error, which some clients print in full.
pub(crate) fn scrub(text: &str) -> String {
    let ends_url = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '(' | ')');
    let mut scrubbed = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let start = rest[..at]
            .rfind(|c: char| !c.is_ascii_alphanumeric())
            .map_or(0, |before| before + rest[before..].chars().next().map_or(1, char::len_utf8));
        let end = rest[at..].find(ends_url).map_or(rest.len(), |end| at + end);
        scrubbed.push_str(&rest[..start]);
        match rest[start..end].parse().ok().and_then(without_secrets) {
            Some(url) => scrubbed.push_str(url.as_str()),
            None => scrubbed.push_str("[url]"),
        }
        rest = &rest[end..];
    }
    scrubbed.push_str(rest);
    scrubbed
}

//! The files of both pages, and the headers that they are served with.

use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

pub(crate) const SHOP_PAGE: &str = include_str!("web/shop.html");
pub(crate) const SHOP_SCRIPT: &str = include_str!("web/shop.js");
pub(crate) const STORIES_PAGE: &str = include_str!("web/stories.html");
pub(crate) const STORIES_SCRIPT: &str = include_str!("web/stories.js");
pub(crate) const EARLY_SCRIPT: &str = include_str!("web/early.js");
pub(crate) const IDS_SCRIPT: &str = include_str!("web/ids.js");
pub(crate) const SEARCH_SCRIPT: &str = include_str!("web/search.js");
pub(crate) const COPY_SCRIPT: &str = include_str!("web/copy.js");
pub(crate) const ICON: &str = include_str!("web/icon.svg");
pub(crate) const STYLE: &str = include_str!("web/style.css");

/// Both pages show text that others wrote, and set it as text, never as HTML. On the day that a change
/// forgets this, the policy still stops scripts in the text. The only foreign host is the host of
/// Sentry's hosted SDK.
const POLICY: &str = "default-src 'self'; script-src 'self' https://browser.sentry-cdn.com; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(crate) fn html(page: &'static str) -> Response {
    serve("text/html; charset=utf-8", page)
}

pub(crate) fn script(script: impl IntoResponse) -> Response {
    serve("text/javascript; charset=utf-8", script)
}

pub(crate) fn style() -> Response {
    serve("text/css; charset=utf-8", STYLE)
}

pub(crate) fn icon() -> Response {
    serve("image/svg+xml", ICON)
}

fn serve(content_type: &'static str, body: impl IntoResponse) -> Response {
    let headers = [
        (CONTENT_TYPE, content_type),
        (CONTENT_SECURITY_POLICY, POLICY),
        // The browser asks for the file each time, so that a changed page shows at once.
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, body).into_response()
}

//! The answers to requests that fail: Problem Details (RFC 9457) for programs, and a page for people. Both
//! show the transaction ID. A service can copy this file.

use std::borrow::Cow;

use axum::Extension;
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, VARY,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use headers_accept::Accept;
use mediatype::names::{APPLICATION, HTML, JSON, TEXT};
use mediatype::{MediaType, Name};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use tower_transaction_id::TransactionId;

/// The kind of a problem of which the status says all.
const BLANK: &str = "about:blank";

/// The address that the page links to.
const SUPPORT: &str = "support@shop.example";

/// The beginning of the URI that identifies one problem. A `tag:` URI needs no page behind it, and each
/// character of an ID is allowed in it.
const INSTANCES: &str = "tag:shop.example,2026:transaction/";

/// An error, as far as the visitor may know it. The causes stay in the service and in Sentry.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    /// A URI for this kind of problem, by which programs decide.
    pub(crate) kind: &'static str,
    pub(crate) title: Cow<'static, str>,
    pub(crate) detail: Cow<'static, str>,
    pub(crate) status: StatusCode,
}

impl Problem {
    /// A problem of which the status says all.
    pub(crate) fn of(status: StatusCode) -> Self {
        let title = status.canonical_reason().unwrap_or("Error").into();
        Self { kind: BLANK, title, detail: "".into(), status }
    }

    /// The title for people. The names of the statuses are for programs.
    fn heading(&self) -> &str {
        match self.status {
            _ if self.kind != BLANK => &self.title,
            StatusCode::NOT_FOUND => "There is nothing at this address",
            status if status.is_server_error() => "Something went wrong on our side",
            _ => &self.title,
        }
    }
}

impl IntoResponse for Problem {
    /// Leaves the body to [`describe`], since a handler's error does not see the request.
    fn into_response(self) -> Response {
        (self.status, Extension(self)).into_response()
    }
}

/// A middleware that gives a body to each [`Problem`], and to each error without a body, such as the 404 and
/// the 405 of axum's router. An error whose body was written by a handler passes through.
pub(crate) async fn describe(id: TransactionId, request: Request, next: Next) -> Response {
    let wants_page = wants_page(request.headers());
    let mut response = next.run(request).await;
    let status = response.status();
    let is_bare = response.body().size_hint().exact() == Some(0);
    let problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem,
        None if is_bare && (status.is_client_error() || status.is_server_error()) => {
            Problem::of(status)
        }
        None => return response,
    };

    let headers = response.headers_mut();
    // The length of the body that is replaced.
    headers.remove(CONTENT_LENGTH);
    // A cache must neither give the page to a program, nor an ID to the next visitor.
    headers.append(VARY, HeaderValue::from_static("accept"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let (content_type, body) = if wants_page {
        // Only the style and the script of this page have the nonce. The ID of the request would be no
        // nonce, since the caller may have chosen it.
        let nonce = TransactionId::generate();
        headers.insert(CONTENT_SECURITY_POLICY, policy(&nonce));
        ("text/html; charset=utf-8", page(&problem, &id, &nonce))
    } else {
        ("application/problem+json", details(&problem, &id))
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    *response.body_mut() = Body::from(body);
    response
}

/// Returns whether the caller prefers the page. A caller that states no preference, that accepts neither
/// form, or whose header cannot be read, receives JSON.
fn wants_page(headers: &HeaderMap) -> bool {
    const PROBLEM: Name<'_> = Name::new_unchecked("problem");
    const PAGE: MediaType<'_> = MediaType::new(TEXT, HTML);
    // In the order of our own preference, which decides where `*/*` stands for all of them.
    const FORMS: [MediaType<'_>; 3] = [
        MediaType::from_parts(APPLICATION, PROBLEM, Some(JSON), &[]),
        MediaType::new(APPLICATION, JSON),
        PAGE,
    ];
    let lines: Result<Vec<_>, _> =
        headers.get_all(ACCEPT).iter().map(HeaderValue::to_str).collect();
    let accepted = lines.ok().and_then(|lines| lines.join(",").parse::<Accept>().ok());
    accepted.is_some_and(|accepted| accepted.negotiate(&FORMS) == Some(&PAGE))
}

fn details(problem: &Problem, id: &TransactionId) -> String {
    let Problem { kind, title, detail, status } = problem;
    let mut details = json!({
        "type": kind,
        "title": title,
        "status": status.as_u16(),
        "instance": format!("{INSTANCES}{id}"),
        "transaction_id": id.as_str(),
    });
    if !detail.is_empty() {
        details["detail"] = json!(detail);
    }
    details.to_string()
}

fn policy(nonce: &TransactionId) -> HeaderValue {
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    policy.try_into().expect("an ID has only characters that a header may have")
}

/// Writes a page that needs no other file, since the service may be in trouble, and works without its script. All values
/// are escaped: the detail may repeat words of the visitor.
fn page(problem: &Problem, id: &TransactionId, nonce: &TransactionId) -> String {
    let status = problem.status.as_u16();
    let heading = problem.heading();
    let subject = format!("{heading} ({status}), transaction {id}");
    let subject = utf8_percent_encode(&subject, NON_ALPHANUMERIC);
    let [heading, detail, id_text] = [heading, &problem.detail, id.as_str()].map(escaped);
    let detail = if detail.is_empty() { detail } else { format!("<p>{detail}</p>") };
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{heading}</title>
<style nonce="{nonce}">{STYLE}</style>
</head>
<body>
<main>
<p class="status">{status}</p>
<h1>{heading}</h1>
{detail}
<section aria-labelledby="help">
<h2 id="help">Do you need help?</h2>
<p>Our support finds your request by this ID.</p>
<p class="row"><code id="id">{id_text}</code>
<button id="copy" type="button" hidden>Copy</button></p>
<p class="row"><a href="mailto:{SUPPORT}?subject={subject}">Write to support</a>
<span id="said" role="status"></span></p>
</section>
</main>
<script nonce="{nonce}">{SCRIPT}</script>
</body>
</html>
"#
    )
}

fn escaped(text: &str) -> String {
    let mut safe = String::new();
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

//! Sends requests to the shop, prints the answers, and checks them.

use std::error::Error;
use std::sync::Mutex;

use axum::body::{Body, to_bytes};
use axum::http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use sentry::protocol::Event;
use serde_json::{Value, json};
use tower_transaction_id::X_TRANSACTION_ID;

const PROBLEM: &str = "application/problem+json";
const PAGE: &str = "text/html; charset=utf-8";
/// The header of Chromium.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,\
                       image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7";

/// The lines of the header `Accept`, and the form of the answer.
const ACCEPTED: [(&[&str], &str); 23] = [
    (&[], PROBLEM),
    (&[""], PROBLEM),
    (&["*/*"], PROBLEM),
    (&["application/json"], PROBLEM),
    (&["application/problem+json"], PROBLEM),
    (&["application/*"], PROBLEM),
    (&["text/html"], PAGE),
    (&["Text/HTML"], PAGE),
    (&["text/*"], PAGE),
    (&[BROWSER], PAGE),
    (&["application/json;q=0.4, text/html;q=0.5"], PAGE),
    (&["application/json;q=0.5, text/html;q=0.499"], PROBLEM),
    (&["application/*;q=0.2, text/*;q=0.3, */*;q=0.1"], PAGE),
    // The more specific range counts, and 0 refuses.
    (&["text/html;q=0, text/*"], PROBLEM),
    (&["text/html;q=0, */*"], PROBLEM),
    (&["application/json;q=0, application/problem+json;q=0, */*;q=0.1"], PAGE),
    // Two lines are one list.
    (&["application/json;q=0.5", "text/html"], PAGE),
    // Neither form is accepted.
    (&["image/png"], PROBLEM),
    (&["*/*;q=0"], PROBLEM),
    // Malformed.
    (&["text"], PROBLEM),
    (&["text/html, *"], PROBLEM),
    (&[";;;,=\""], PROBLEM),
    (&["text/html\u{e9}"], PROBLEM),
];

/// The text and the ID of each event.
static EVENTS: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

pub(crate) fn show(event: &Event<'_>) {
    let error = event.exception.last().and_then(|error| error.value.clone());
    let text = event.message.clone().or(error).unwrap_or_default();
    let id = event.tags.get("transaction_id").cloned().unwrap_or_default();
    println!("  Sentry: {text:?}, transaction_id {id:?}");
    EVENTS.lock().expect("no holder of the lock panics").push((text, id));
}

pub(crate) async fn tell(url: &str) -> Result<(), Box<dyn Error>> {
    println!("One of these requests panics, and the panic is printed: that is part of the show.");
    let sold_out = json!({
        "type": "https://shop.example/problems/sold-out",
        "title": "Sold out",
        "status": 500,
        "detail": "The artisanal hot dog is sold out. You have paid nothing.",
    });
    let blank =
        |status: u16, title| json!({ "type": "about:blank", "title": title, "status": status });
    let mut no_tofu = blank(404, "Not Found");
    no_tofu["detail"] = json!("We have no hot dog of the name <b>tofu</b>.");
    for (method, path, expected, reported) in [
        (Method::GET, "/dogs/artisanal", sold_out, "no fig mustard in cellar 7"),
        (Method::GET, "/dogs/chili", blank(500, "Internal Server Error"), "the pot boiled over"),
        (Method::GET, "/dogs/%3Cb%3Etofu%3C%2Fb%3E", no_tofu, ""),
        (Method::GET, "/nowhere", blank(404, "Not Found"), ""),
        (Method::POST, "/dogs/classic", blank(405, "Method Not Allowed"), ""),
    ] {
        println!("{method} {path}");
        for (accept, form) in [(PROBLEM, PROBLEM), ("text/html", PAGE)] {
            let answer = Answer::to(&method, &format!("{url}{path}"), &[accept]).await?;
            answer.names_its_id(form, &expected);
            let allowed = answer.headers.get(ALLOW).map(HeaderValue::as_bytes);
            assert_eq!(allowed, (method == Method::POST).then_some(b"GET,HEAD".as_slice()));
            let events = std::mem::take(&mut *EVENTS.lock()?);
            let expected = (!reported.is_empty()).then(|| (reported.to_owned(), answer.id));
            assert_eq!(events, Vec::from_iter(expected), "{method} {path}");
        }
    }

    println!("The form of the answer, by the header Accept:");
    for (accept, form) in ACCEPTED {
        let answer = Answer::to(&Method::GET, &format!("{url}/nowhere"), accept).await?;
        println!("  {accept:?}: {}", answer.content_type());
        assert_eq!(answer.content_type(), form, "{accept:?}");
    }

    let served = Answer::to(&Method::GET, &format!("{url}/dogs/classic"), &["text/html"]).await?;
    assert_eq!((served.status, served.body.as_str()), (StatusCode::OK, "enjoy"));
    assert_eq!(served.headers.get(VARY), None);
    Ok(())
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    id: String,
    body: String,
}

impl Answer {
    async fn to(method: &Method, url: &str, accept: &[&str]) -> Result<Self, Box<dyn Error>> {
        let mut request = Request::builder().method(method).uri(url);
        for line in accept {
            request = request.header(ACCEPT, line.as_bytes());
        }
        // reqwest would always send the header.
        let client = Client::builder(TokioExecutor::new()).build_http();
        let response = client.request(request.body(Body::empty())?).await?;
        let (head, body) = response.into_parts();
        let id = head.headers.get(X_TRANSACTION_ID).ok_or("an answer without an ID")?;
        let id = id.to_str()?.to_owned();
        let body = to_bytes(Body::new(body), 100_000).await?;
        let body = String::from_utf8(body.into())?;
        Ok(Self { status: head.status, headers: head.headers, id, body })
    }

    fn content_type(&self) -> &str {
        self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Checks an error: its form, its status, and that its body shows the ID of the header.
    fn names_its_id(&self, form: &str, expected: &Value) {
        println!("  {} {}", self.status, self.content_type());
        assert_eq!(self.content_type(), form);
        assert_eq!(self.status.as_u16(), expected["status"]);
        assert_eq!(self.headers[VARY], "accept");
        assert_eq!(self.headers[CACHE_CONTROL], "no-store");
        let (id, body) = (&self.id, &self.body);
        if form == PROBLEM {
            println!("  {body}");
            let mut expected = expected.clone();
            expected["transaction_id"] = json!(id);
            expected["instance"] = json!(format!("tag:shop.example,2026:transaction/{id}"));
            assert_eq!(body.parse::<Value>().ok(), Some(expected));
        } else {
            assert!(body.contains(&format!("<code id=\"id\">{id}</code>")), "{body}");
            assert!(body.contains("href=\"mailto:support@shop.example?subject="), "{body}");
            assert!(body.contains(&format!("%20{id}\"")), "{body}");
            // A visitor's words are no elements, and a cause stays in the service.
            assert!(!body.contains("<b>") && !body.contains("cellar"), "{body}");
        }
    }
}

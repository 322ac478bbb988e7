//! Names the part that made an entry: a layer of the crate, Sentry's SDK, or the service's own code. Each
//! name follows from the marks that the parts themselves leave in an envelope.

use serde_json::Value;

/// The maker of an entry without any mark.
const OWN_CODE: &str = "captured by the service’s own code";

pub(crate) fn of_event(event: &Value, outermost: Option<&Value>) -> &'static str {
    let mechanism = outermost.map(|error| &error["mechanism"]);
    let kind = mechanism.and_then(|mechanism| mechanism["type"].as_str());
    if event["logger"] == "tower_transaction_id" {
        return match kind {
            // A report of an answer has no error, and only the server layer reports answers.
            None | Some("auto.http.tower") => {
                "server layer: report of a failure (capture_failures)"
            }
            Some("auto.http.client.tower") => {
                "client layer: report of a failed call (capture_failures)"
            }
            Some("auto.queue.tower") => "message layer: report of an error (capture_errors)",
            Some(_) => OWN_CODE,
        };
    }
    if is_of_page(event) {
        let is_caught = mechanism.is_none_or(|mechanism| mechanism["handled"] != false);
        return if is_caught {
            "the page’s SDK: error that the page captured"
        } else {
            "the page’s SDK: error that nobody caught"
        };
    }
    let of_tracing = ["Rust Tracing Location", "Rust Tracing Fields"];
    match kind {
        Some("panic") => "Sentry’s panic handler: panic in the scope of the layer",
        _ if of_tracing.iter().any(|context| !event["contexts"][context].is_null()) => {
            "sentry-tracing: event in the scope of the layer"
        }
        _ => OWN_CODE,
    }
}

pub(crate) fn of_transaction(transaction: &Value) -> &'static str {
    match transaction["contexts"]["trace"]["origin"].as_str() {
        Some("auto.http.tower") => "server layer: performance transaction",
        Some("auto.queue.tower") => "message layer: performance transaction",
        _ if is_of_page(transaction) => "the page’s SDK: performance transaction",
        _ => OWN_CODE,
    }
}

/// Names the maker of a span `queue.publish`.
pub(crate) fn of_sending(span: &Value) -> &'static str {
    if span["data"]["messaging.destination.name"] == span["description"] {
        "OutboundContext: span of the sending (in_span)"
    } else {
        OWN_CODE
    }
}

pub(crate) fn of_crumb(crumb: &Value, event: &Value) -> &'static str {
    if is_of_page(event) {
        return "the page’s SDK: breadcrumb";
    }
    match crumb["type"].as_str() {
        Some("http") if crumb["data"]["duration_ms"].is_u64() => {
            "client layer: breadcrumb of a call"
        }
        Some("log") => "sentry-tracing: breadcrumb in the scope of the layer",
        _ => OWN_CODE,
    }
}

/// Names the maker of a log or a metric, whose marks are attributes.
pub(crate) fn of_line(item: &Value) -> &'static str {
    let attribute = |key: &str| item["attributes"][key]["value"].as_str();
    if attribute("sentry.origin") == Some("auto.tracing") {
        "sentry-tracing: log line in the scope of the layer"
    } else if attribute("sentry.sdk.name") == Some(BROWSER_SDK) {
        "the page’s SDK: line of the page"
    } else {
        OWN_CODE
    }
}

const BROWSER_SDK: &str = "sentry.javascript.browser";

fn is_of_page(payload: &Value) -> bool {
    payload["sdk"]["name"] == BROWSER_SDK
}

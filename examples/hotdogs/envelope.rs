//! Reads the entries of stories from a Sentry envelope.
//!
//! This file reads the envelope as plain JSON. The types of `sentry::protocol` fit the envelopes of the
//! Rust SDK only: the whole envelope fails if it has an item of another type, or the breadcrumbs of a
//! browser, which are a list. The Rust SDK writes breadcrumbs as an object with a list in it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sentry::Level;
use sentry::protocol::Breadcrumb;
use serde_json::{Value, json};
use tower_transaction_id::TransactionId;

use crate::maker;
use crate::story::{BROWSER, Crumb, Entry, Measured};

/// Sentry's own limits are wider. These limits keep the page of stories readable.
const LONGEST_TEXT: usize = 300;
const CAUSES: usize = 8;
const BREADCRUMBS: usize = 12;

/// The first time that is not believed, counted from 1970. It lies in the year 5138.
const LATEST: Duration = Duration::from_secs(100_000_000_000);

/// Returns the entries of an envelope, each with its ID. Reports without an ID, and reports that cannot
/// be read, are left out.
pub(crate) fn entries(envelope: &[u8]) -> Vec<(TransactionId, Entry)> {
    let mut entries = Vec::new();
    for (header, payload) in items(envelope) {
        let Ok(payload) = serde_json::from_slice::<Value>(payload) else { continue };
        match header["type"].as_str() {
            Some("event") => {
                let id =
                    payload["tags"][TransactionId::TAG].as_str().and_then(|id| id.parse().ok());
                entries.extend(id.map(|id| (id, of_event(&payload))));
            }
            Some("transaction") => entries.extend(of_transaction(&payload)),
            Some("log") => entries.extend(list(&payload["items"]).filter_map(of_log)),
            Some("trace_metric") => entries.extend(list(&payload["items"]).filter_map(of_metric)),
            _ => {}
        }
    }
    entries
}

/// Returns the header and the payload of each item. The first item that is cut short, or has a header
/// that is no JSON, ends the list.
fn items(envelope: &[u8]) -> impl Iterator<Item = (Value, &[u8])> {
    let (_header, mut rest) = split_line(envelope);
    std::iter::from_fn(move || {
        let (header, payload) = split_line(rest);
        let header: Value = serde_json::from_slice(header).ok()?;
        // Without a length the payload is one line.
        let length = match header["length"].as_u64() {
            Some(length) => usize::try_from(length).ok()?,
            None => split_line(payload).0.len(),
        };
        let (payload, after) = payload.split_at_checked(length)?;
        rest = after.strip_prefix(b"\n").unwrap_or(after);
        Some((header, payload))
    })
}

fn split_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &[]),
    }
}

fn of_event(event: &Value) -> Entry {
    let service = match event["server_name"].as_str() {
        Some(name) => name,
        None if event["platform"] == "javascript" => BROWSER,
        None => "unnamed",
    };
    let exceptions: Vec<_> = values(&event["exception"]).collect();
    // The outermost error comes last.
    let mut errors = exceptions.iter().rev().map(|error| {
        let value = error["value"].as_str().filter(|value| !value.is_empty());
        let ty = error["type"].as_str().unwrap_or("Error");
        value.map_or_else(|| text(ty), |value| text(&format!("{ty}: {value}")))
    });
    let entry = &event["logentry"];
    let messages = [&event["message"], &entry["formatted"], &entry["message"]];
    let message = || messages.iter().find_map(|message| message.as_str()).map(text);
    let title = errors.next().or_else(message);
    let causes = errors.take(CAUSES).collect();
    let crumbs = values(&event["breadcrumbs"]).map(|step| crumb(step, event));
    let crumbs: Vec<_> = crumbs.filter(|crumb| !crumb.text.is_empty()).collect();
    Entry {
        service: text(service),
        kind: "event",
        time: time(&event["timestamp"]),
        level: level(&event["level"], Level::Error),
        title: title.unwrap_or_else(|| "(without a message)".to_owned()),
        causes,
        place: exceptions.iter().rev().copied().chain(values(&event["threads"])).find_map(own_code),
        note: generated(&event["contexts"][TransactionId::TAG]),
        breadcrumbs: crumbs[crumbs.len().saturating_sub(BREADCRUMBS)..].to_vec(),
        trace: trace_id(&event["contexts"]["trace"]["trace_id"]),
        measured: None,
        made_by: maker::of_event(event, exceptions.last().copied()),
    }
}

/// Returns the innermost frame of the service's own code.
fn own_code(of: &Value) -> Option<String> {
    let frames = of["stacktrace"]["frames"].as_array()?;
    let frame = frames.iter().rev().find(|frame| frame["in_app"] == true)?;
    let function = frame["function"].as_str().unwrap_or("?");
    let file = frame["filename"].as_str().unwrap_or("?");
    Some(text(&format!("{function} ({file}:{})", frame["lineno"])))
}

/// Returns a note if the service generated the ID itself: inside a shop, such an ID means that the
/// chain is torn.
fn generated(origin: &Value) -> Option<String> {
    let is_generated = origin["source"] == "generated";
    is_generated.then(|| match origin["refused"].as_str() {
        Some(why) => text(&format!("ID generated here, for the one that came was refused: {why}")),
        None => "ID generated here, for none came in".to_owned(),
    })
}

/// Turns a Sentry transaction, which measures a request or a message, into an entry. The entry begins
/// with the request, and ends with the last byte of the answer. The messages that were sent meanwhile
/// are entries, too.
fn of_transaction(transaction: &Value) -> Vec<(TransactionId, Entry)> {
    let id = transaction["tags"][TransactionId::TAG].as_str().and_then(|id| id.parse().ok());
    let Some(id): Option<TransactionId> = id else { return Vec::new() };
    let service = text(transaction["server_name"].as_str().unwrap_or(BROWSER));
    let name = plain(&transaction["transaction"]);
    let context = &transaction["contexts"]["trace"];
    let maker = maker::of_transaction(transaction);
    let whole = measured(("trace", maker), &service, &name, transaction, context);
    let sent = list(&transaction["spans"]).filter(|span| span["op"] == "queue.publish");
    let sent = sent.map(|span| {
        let name = plain(&span["description"]);
        measured(("span", maker::of_sending(span)), &service, &name, span, span)
    });
    std::iter::once(whole).chain(sent).map(|entry| (id.clone(), entry)).collect()
}

/// Makes the entry of a time that a service measured, with the outcome and the duration.
fn measured(
    (kind, made_by): (&'static str, &'static str),
    service: &str,
    name: &str,
    times: &Value,
    context: &Value,
) -> Entry {
    let [start, end] = ["start_timestamp", "timestamp"].map(|key| time(&times[key]));
    let took = end.duration_since(start).unwrap_or_default().as_millis();
    let [status, word] = [&context["data"]["http.response.status_code"], &context["status"]];
    let outcome = [status, word].into_iter().map(plain).find(|outcome| !outcome.is_empty());
    // The name of a request has a method and a path. The name of a queue says less without the operation.
    let op = context["op"].as_str().filter(|op| op.starts_with("queue."));
    let name = op.map_or_else(|| name.to_owned(), |op| format!("{op} {name}"));
    let title = match outcome {
        Some(outcome) => format!("{name}: {outcome} in {took} ms"),
        None => format!("{name}: {took} ms"),
    };
    Entry {
        service: service.to_owned(),
        kind,
        time: start,
        level: Level::Info,
        title: text(&title),
        causes: Vec::new(),
        place: None,
        note: None,
        breadcrumbs: Vec::new(),
        trace: trace_id(&context["trace_id"]),
        measured: Some(Measured {
            subject: text(&name),
            end,
            has_failed: has_failed(status, word),
        }),
        made_by,
    }
}

/// Whether a status of HTTP or, without one, Sentry's word for an outcome counts as a failure of the
/// service. The words are those for a status of 500 or more.
fn has_failed(status: &Value, word: &Value) -> bool {
    let status = status.as_u64().or_else(|| status.as_str()?.parse().ok());
    match (status, word.as_str()) {
        (Some(status), _) => status >= 500,
        (None, Some(word)) => matches!(
            word,
            "internal_error"
                | "unknown_error"
                | "unimplemented"
                | "unavailable"
                | "deadline_exceeded"
                | "data_loss"
        ),
        (None, None) => false,
    }
}

/// Returns the value in lower case, if it is the ID of a trace.
fn trace_id(value: &Value) -> Option<String> {
    let id = value.as_str()?;
    let is_id = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| id.to_ascii_lowercase())
}

fn crumb(crumb: &Value, event: &Value) -> Crumb {
    let data = |key: &str| plain(&crumb["data"][key]);
    let message = match crumb["message"].as_str() {
        Some(message) => text(message),
        // The SDKs describe an HTTP call in these fields, without a message.
        None => text(&["method", "url", "status_code", "reason"].map(data).join(" ")),
    };
    let category = [&crumb["category"], &crumb["type"]];
    Crumb {
        time: time(&crumb["timestamp"]),
        level: level(&crumb["level"], Level::Info),
        category: text(category.iter().find_map(|name| name.as_str()).unwrap_or("breadcrumb")),
        text: message,
        made_by: maker::of_crumb(crumb, event),
    }
}

fn of_log(log: &Value) -> Option<(TransactionId, Entry)> {
    line("log", log, level(&log["level"], Level::Info), &plain(&log["body"]))
}

fn of_metric(metric: &Value) -> Option<(TransactionId, Entry)> {
    let [name, value, unit] = ["name", "value", "unit"].map(|key| plain(&metric[key]));
    let title = format!("{name}: {value} {unit}");
    line("metric", metric, Level::Info, &title)
}

/// Makes the entry of a log or a metric. Neither has tags or a server's name: the ID and the name are
/// attributes.
fn line(
    kind: &'static str,
    item: &Value,
    level: Level,
    title: &str,
) -> Option<(TransactionId, Entry)> {
    let attribute = |key: &str| item["attributes"][key]["value"].as_str();
    let id = attribute(TransactionId::TAG)?.parse().ok()?;
    let entry = Entry {
        service: text(attribute("server.address").unwrap_or(BROWSER)),
        kind,
        time: time(&item["timestamp"]),
        level,
        title: text(title),
        causes: Vec::new(),
        place: None,
        note: None,
        breadcrumbs: Vec::new(),
        trace: trace_id(&item["trace_id"]),
        measured: None,
        made_by: maker::of_line(item),
    };
    Some((id, entry))
}

/// Returns the elements of `{"values": [...]}`, or of the list itself: the SDKs write both.
fn values(value: &Value) -> impl Iterator<Item = &Value> {
    list(value.get("values").unwrap_or(value))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn level(value: &Value, otherwise: Level) -> Level {
    match value.as_str() {
        Some("trace") => Level::Debug,
        Some("warn") => Level::Warning,
        Some(name) => name.parse().unwrap_or(otherwise),
        None => otherwise,
    }
}

/// Reads a time. In place of a value that is no time, or no time between 1970 and [`LATEST`], the
/// function returns the time of arrival.
fn time(value: &Value) -> SystemTime {
    // The Rust SDK writes the start of a transaction as seconds since 1970, and the end as text. The
    // type of a breadcrumb reads both forms.
    let read = serde_json::from_value::<Breadcrumb>(json!({ "timestamp": value }));
    match read.map(|crumb| crumb.timestamp) {
        Ok(time) if (UNIX_EPOCH..UNIX_EPOCH + LATEST).contains(&time) => time,
        _ => SystemTime::now(),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Makes text that others wrote safe, since it goes to a terminal as well: replaces control characters,
/// and characters that turn the direction of writing, and cuts long text.
fn text(original: &str) -> String {
    let turns = |c| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let safe = |c: char| if c.is_control() || turns(c) { ' ' } else { c };
    let mut characters = original.trim().chars();
    let mut text: String = characters.by_ref().take(LONGEST_TEXT).map(safe).collect();
    if characters.next().is_some() {
        text.push('…');
    }
    text
}

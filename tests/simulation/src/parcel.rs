//! Reads an envelope: the reports in it, as far as the claims look at them.

use std::fmt;

use sentry::Envelope;
use sentry::protocol::{
    Breadcrumb, Context, EnvelopeItem, Event, ItemContainer, Log, Map, Metric, Request,
    Transaction, Value,
};

use crate::ledger::Key;

/// A report.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Item {
    pub process: Option<String>,
    /// What it reports: the text, or the kind.
    pub label: String,
    /// The serial number of the visit in which it was made.
    pub serial: Option<usize>,
    /// The order that the scope names.
    pub key: Option<Key>,
    /// The order that the URL of the request names.
    pub requested: Option<Key>,
    pub id: Option<String>,
    pub upstream: Option<String>,
    pub trace: Option<String>,
    pub user: Option<String>,
    /// Whether the report has a tag that a spawned task sets on its own scope.
    pub is_of_task: bool,
    pub breadcrumbs: Vec<String>,
    /// Whether it is a log or a metric, which have attributes in place of tags.
    pub is_line: bool,
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let process = self.process.as_deref().unwrap_or("?");
        let id = self.id.as_deref().unwrap_or("-");
        write!(f, "[{}] of {process}", self.label)?;
        if let Some(key) = self.key {
            write!(f, " for {key}")?;
        }
        write!(f, ", ID {id}")
    }
}

/// Reads the reports of an envelope.
pub fn read(envelope: &[u8]) -> Result<Vec<Item>, String> {
    let envelope = Envelope::from_slice(envelope).map_err(|error| error.to_string())?;
    let mut items = Vec::new();
    for item in envelope.items() {
        match item {
            EnvelopeItem::Event(event) => items.push(of_event(event)),
            EnvelopeItem::Transaction(transaction) => items.push(of_transaction(transaction)),
            EnvelopeItem::ItemContainer(ItemContainer::Logs(logs)) => {
                items.extend(logs.iter().map(of_log));
            }
            EnvelopeItem::ItemContainer(ItemContainer::Metrics(metrics)) => {
                items.extend(metrics.iter().map(of_metric));
            }
            other => return Err(format!("an item that nobody sends: {other:?}")),
        }
    }
    Ok(items)
}

fn of_event(event: &Event<'_>) -> Item {
    let mechanism = event
        .exception
        .last()
        .and_then(|exception| Some(exception.mechanism.as_ref()?.ty.as_str()));
    let label = match (event.logger.as_deref(), mechanism) {
        (Some("tower_transaction_id"), Some("auto.http.client.tower")) => "failed call".to_owned(),
        (Some("tower_transaction_id"), _) => "failure".to_owned(),
        (_, Some("panic")) => "panic".to_owned(),
        _ => match (&event.message, event.exception.last()) {
            (Some(message), _) => message.clone(),
            (None, Some(error)) => error.value.clone().unwrap_or_default(),
            (None, None) => String::new(),
        },
    };
    Item {
        label,
        requested: requested(event.request.as_ref()),
        user: event.user.as_ref().and_then(|user| user.id.clone()),
        breadcrumbs: event.breadcrumbs.iter().map(crumb).collect(),
        trace: trace(&event.contexts),
        ..of_tags(&event.tags)
    }
}

fn of_transaction(transaction: &Transaction<'_>) -> Item {
    Item {
        label: "performance".to_owned(),
        requested: requested(transaction.request.as_ref()),
        user: transaction.user.as_ref().and_then(|user| user.id.clone()),
        trace: trace(&transaction.contexts),
        ..of_tags(&transaction.tags)
    }
}

fn of_tags(tags: &Map<String, String>) -> Item {
    let tag = |name: &str| tags.get(name).cloned();
    Item {
        process: tag("process"),
        serial: tag("visit").and_then(|serial| serial.parse().ok()),
        key: tag("order").and_then(|key| Key::parse(&key)),
        id: tag("transaction_id"),
        upstream: tag("upstream_transaction_id"),
        is_of_task: tags.contains_key("task"),
        ..Item::default()
    }
}

fn of_log(log: &Log) -> Item {
    let attribute = |name: &str| log.attributes.get(name).map(|value| text(&value.0));
    Item {
        label: log.body.clone(),
        trace: log.trace_id.map(|id| id.to_string()),
        ..of_attributes(attribute)
    }
}

fn of_metric(metric: &Metric) -> Item {
    let attribute = |name: &str| metric.attributes.get(name).map(|value| text(&value.0));
    Item {
        label: metric.name.to_string(),
        trace: Some(metric.trace_id.to_string()),
        ..of_attributes(attribute)
    }
}

fn of_attributes(attribute: impl Fn(&str) -> Option<String>) -> Item {
    Item {
        process: attribute("server.address"),
        serial: attribute("visit").and_then(|serial| serial.parse().ok()),
        key: attribute("order").and_then(|key| Key::parse(&key)),
        id: attribute("transaction_id"),
        is_line: true,
        ..Item::default()
    }
}

/// Returns the order in a URL such as `http://kitchen/cook/3/1`.
fn requested(request: Option<&Request>) -> Option<Key> {
    let mut segments = request?.url.as_ref()?.path_segments()?.skip(1);
    let mut number = || segments.next()?.parse().ok();
    Some(Key { order: number()?, attempt: number()? })
}

fn crumb(crumb: &Breadcrumb) -> String {
    match &crumb.message {
        Some(message) => message.clone(),
        None => crumb.data.get("url").map(text).unwrap_or_default(),
    }
}

fn trace(contexts: &Map<String, Context>) -> Option<String> {
    match contexts.get("trace")? {
        Context::Trace(trace) => Some(trace.trace_id.to_string()),
        _ => None,
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

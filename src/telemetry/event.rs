//! Completes the events that are captured in a scope from the record of the scope.

use std::sync::Arc;

use sentry::ClientOptions;
use sentry::protocol::{Breadcrumb, Context, Event, Map, Value};

use crate::TransactionId;
use crate::scope::pool::{Slot, Work};
use crate::scope::record::{Origin, Refusal, RequestRecord};
use crate::telemetry::report::hides_a_failure;
use crate::telemetry::request::{protocol_request, route_name};

impl Slot {
    /// Fills in the parts of `event` that the record has and the event lacks. An event whose tag is
    /// another ID belongs to other work and stays as it is.
    pub(crate) fn complete(&self, event: &mut Event<'static>, options: &ClientOptions) {
        let work @ Work { record, .. } = self.work();
        if work.has_tag_of(event) == Some(false) {
            return;
        }
        if let Some(request) = record.request.as_ref().filter(|request| request.is_shown) {
            complete_request(event, request, options);
        }
        if let Some(kind) = &record.message
            && event.transaction.is_none()
        {
            event.transaction = Some(kind.name.as_ref().to_owned());
        }
        if let Some(origin) = record.origin {
            let context = || origin_context(origin);
            event.contexts.entry(TransactionId::TAG.to_owned()).or_insert_with(context);
        }
        work.complete_trace(event);
        if !self.calls.is_empty() {
            let calls = self.calls.snapshot();
            merge_breadcrumbs(event, calls.iter().map(Breadcrumb::from), options);
        }
    }

    /// Notes in the record that an event with the ID of the scope stands for the request's failure. A
    /// fork has a record of its own: its events count for the request only in the rest of the request.
    pub(crate) fn note(&self, event: &Event<'_>) {
        let work = self.work();
        if work.has_tag_of(event) != Some(true) || !hides_a_failure(event) {
            return;
        }
        work.record.note_report();
        let mut rest_of = work.rest_of.as_ref();
        while let Some(request) = rest_of.map(|slot: &Arc<Self>| slot.work()) {
            request.record.note_report();
            rest_of = request.rest_of.as_ref();
        }
    }
}

impl Work {
    /// Whether the tag of `event` is the ID of the scope; `None` for an event without the tag.
    fn has_tag_of(&self, event: &Event<'_>) -> Option<bool> {
        event.tags.get(TransactionId::TAG).map(|tag| *self.id() == tag.as_str())
    }
}

fn complete_request(event: &mut Event<'static>, request: &RequestRecord, options: &ClientOptions) {
    if event.request.is_none() {
        event.request = Some(protocol_request(request, options.send_default_pii));
    }
    if event.transaction.is_none() {
        event.transaction = route_name(request);
    }
}

/// Puts the calls among the breadcrumbs by time, as if each had been added when it ended.
fn merge_breadcrumbs(
    event: &mut Event<'static>,
    calls: impl Iterator<Item = Breadcrumb>,
    options: &ClientOptions,
) {
    let breadcrumbs = &mut event.breadcrumbs.values;
    match &options.before_breadcrumb {
        Some(callback) => breadcrumbs.extend(calls.filter_map(|call| callback(call))),
        None => breadcrumbs.extend(calls),
    }
    breadcrumbs.sort_by_key(|breadcrumb| breadcrumb.timestamp);
    let excess = breadcrumbs.len().saturating_sub(options.max_breadcrumbs);
    breadcrumbs.drain(..excess);
}

fn origin_context(origin: Origin) -> Context {
    let mut context = Map::new();
    let mut set = |key: &str, value: Value| context.insert(key.to_owned(), value);
    let (source, refusal) = match origin {
        Origin::Inbound => ("inbound", None),
        Origin::Generated(refusal) => ("generated", refusal),
    };
    set("source", source.into());
    match refusal {
        Some(Refusal::Invalid(why)) => {
            set("refused", why.rule().to_string().into());
            set("refused_length", why.value_len().into());
        }
        Some(Refusal::Untrusted) => {
            set("refused", "not trusted".into());
        }
        None => {}
    }
    Context::Other(context)
}

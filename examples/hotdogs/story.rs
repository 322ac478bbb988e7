//! The store of the collector: one story for each transaction ID.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use sentry::Level;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tower_transaction_id::TransactionId;

use crate::line::Line;

/// Anybody may post to the collector, so its memory is bounded in every direction. `envelope.rs` bounds
/// each entry.
const STORIES: usize = 100;
const ENTRIES_OF_A_STORY: usize = 50;

/// The service of a page's reports, which name no server themselves.
pub(crate) const BROWSER: &str = "browser";

/// The longest time from the beginning of an order on the page until the first server hears of it.
const BEFORE_THE_ORDER: Duration = Duration::from_secs(1);

/// One report of one service: an event, a log line, a metric, a trace or a span.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) service: String,
    pub(crate) kind: &'static str,
    pub(crate) time: SystemTime,
    pub(crate) level: Level,
    pub(crate) title: String,
    /// The errors below this one, outermost first.
    pub(crate) causes: Vec<String>,
    /// The innermost line of the service's own code.
    pub(crate) place: Option<String>,
    /// The reason why the ID began in this service, if it did.
    pub(crate) note: Option<String>,
    pub(crate) breadcrumbs: Vec<Crumb>,
    /// The ID of the entry's trace.
    pub(crate) trace: Option<String>,
    /// The performance transaction or the span that began at `time`.
    pub(crate) measured: Option<Measured>,
    /// The part that made the entry, in words.
    pub(crate) made_by: &'static str,
}

/// A time that a service measured.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// The name of the work.
    pub(crate) subject: String,
    pub(crate) end: SystemTime,
    pub(crate) has_failed: bool,
}

impl Entry {
    pub(crate) fn is_error(&self) -> bool {
        self.kind == "event" && matches!(self.level, Level::Error | Level::Fatal)
    }
}

/// One step of the service before an event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Crumb {
    pub(crate) time: SystemTime,
    pub(crate) level: Level,
    pub(crate) category: String,
    pub(crate) text: String,
    pub(crate) made_by: &'static str,
}

/// All reports under one ID, in order of time.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    pub(crate) id: TransactionId,
    pub(crate) entries: Vec<Entry>,
    pub(crate) left_out: usize,
}

impl Story {
    pub(crate) fn has_error_of(&self, service: &str) -> bool {
        self.entries.iter().any(|entry| entry.service == service && entry.is_error())
    }

    /// Returns the traces of the entries, in the order in which the traces begin. A chain that no link
    /// breaks has one trace.
    pub(crate) fn traces(&self) -> Vec<Trace<'_>> {
        let mut traces: Vec<Trace<'_>> = Vec::new();
        for entry in &self.entries {
            let Some(id) = entry.trace.as_deref() else { continue };
            let at = traces.iter().position(|trace| trace.id == id).unwrap_or_else(|| {
                traces.push(Trace { id, services: Vec::new() });
                traces.len() - 1
            });
            let services = &mut traces[at].services;
            if !services.contains(&entry.service.as_str()) {
                services.push(&entry.service);
            }
        }
        traces
    }

    fn add(&mut self, entry: Entry) {
        if self.entries.len() == ENTRIES_OF_A_STORY {
            self.left_out += 1;
            return;
        }
        let place = self.entries.partition_point(|earlier| earlier.time <= entry.time);
        self.entries.insert(place, entry);
    }

    /// Returns the story step by step: the entries, and between them the breadcrumbs that led there. The
    /// outcome of a request stands at its end.
    ///
    /// A server's breadcrumbs belong to one request. A page's breadcrumbs belong to the whole visit, so
    /// those from before the order are left out.
    pub(crate) fn lines(&self) -> Vec<Line<'_>> {
        // Two events of one service have the same breadcrumbs.
        let mut crumbs: Vec<(&str, &Crumb)> = Vec::new();
        for entry in &self.entries {
            for crumb in &entry.breadcrumbs {
                if !crumbs.contains(&(&entry.service, crumb)) {
                    crumbs.push((&entry.service, crumb));
                }
            }
        }
        let crumbs = crumbs.into_iter().map(|(service, crumb)| Line::Crumb(service, crumb));
        let mut lines: Vec<_> = crumbs.chain(self.entries.iter().flat_map(Line::of)).collect();
        let servers = lines.iter().filter(|line| line.service() != BROWSER);
        if let Some(start) = servers.map(Line::time).min() {
            lines.retain(|line| match line {
                Line::Crumb(BROWSER, crumb) => crumb.time + BEFORE_THE_ORDER >= start,
                _ => true,
            });
        }
        lines.sort_by_key(Line::place);
        lines
    }

    pub(crate) fn to_json(&self) -> Value {
        let lines: Vec<_> = self.lines().into_iter().map(Line::to_json).collect();
        let traces: Vec<_> = self.traces().iter().map(Trace::to_json).collect();
        json!({
            "id": self.id.as_str(),
            "lines": lines,
            "leftOut": self.left_out,
            "traces": traces,
        })
    }
}

/// One trace of a story, and the services that reported in it.
#[derive(Debug)]
pub(crate) struct Trace<'a> {
    pub(crate) id: &'a str,
    pub(crate) services: Vec<&'a str>,
}

impl Trace<'_> {
    fn to_json(&self) -> Value {
        json!({ "id": self.id, "services": self.services })
    }
}

impl fmt::Display for Trace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.id, self.services.join(", "))
    }
}

/// The stories of the day, and the channel to those who follow the stories.
#[derive(Debug)]
pub(crate) struct Stories {
    kept: Mutex<VecDeque<Story>>,
    news: broadcast::Sender<Story>,
}

impl Stories {
    pub(crate) fn new() -> Self {
        Self { kept: Mutex::default(), news: broadcast::Sender::new(STORIES) }
    }

    pub(crate) fn add(&self, id: TransactionId, entry: Entry) {
        let mut kept = self.lock();
        let mut story = match kept.iter().position(|story| story.id == id) {
            Some(place) => kept.remove(place),
            None => None,
        }
        .unwrap_or_else(|| Story { id, entries: Vec::new(), left_out: 0 });
        story.add(entry);
        if kept.len() == STORIES {
            kept.pop_front();
        }
        kept.push_back(story.clone());
        // Sent under the lock, so that nobody receives an older state after a newer one. The only error
        // is that nobody listens, and that is no failure.
        let _ = self.news.send(story);
    }

    /// Returns the stories, the one that changed last at the end.
    pub(crate) fn all(&self) -> Vec<Story> {
        self.lock().iter().cloned().collect()
    }

    /// Returns the stories until now, and a receiver of each story that changes from now on.
    pub(crate) fn follow(&self) -> (Vec<Story>, broadcast::Receiver<Story>) {
        let kept = self.lock();
        (kept.iter().cloned().collect(), self.news.subscribe())
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Story>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

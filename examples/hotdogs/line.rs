//! The lines of a story: its steps, in the order in which they are read.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::story::{Crumb, Entry, Measured};

/// One step of a story.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Line<'a> {
    Crumb(&'a str, &'a Crumb),
    /// The beginning of a performance transaction, whose outcome is a later line.
    Begin(&'a Entry, &'a Measured),
    Entry(&'a Entry),
}

impl<'a> Line<'a> {
    /// Returns the lines of an entry. A performance transaction has two, since much happens between its
    /// beginning and its outcome.
    pub(crate) fn of(entry: &'a Entry) -> impl Iterator<Item = Self> {
        let measured = entry.measured.as_ref().filter(|_| entry.kind == "trace");
        let begin = measured.map(|measured| Self::Begin(entry, measured));
        begin.into_iter().chain([Self::Entry(entry)])
    }

    pub(crate) fn service(&self) -> &'a str {
        match self {
            Self::Crumb(service, _) => service,
            Self::Begin(entry, _) | Self::Entry(entry) => &entry.service,
        }
    }

    pub(crate) fn time(&self) -> SystemTime {
        match self {
            Self::Crumb(_, crumb) => crumb.time,
            Self::Begin(entry, _) => entry.time,
            Self::Entry(entry) => match &entry.measured {
                Some(measured) if entry.kind == "trace" => measured.end,
                _ => entry.time,
            },
        }
    }

    /// Returns the place of the line: by time, and at the same time a beginning first, and an outcome last.
    pub(crate) fn place(&self) -> (SystemTime, u8) {
        let rank = match self {
            Self::Begin(..) => 0,
            Self::Entry(Entry { kind: "trace", .. }) => 2,
            Self::Crumb(..) | Self::Entry(_) => 1,
        };
        (self.time(), rank)
    }

    pub(crate) fn to_json(self) -> Value {
        let (service, time) = (self.service(), milliseconds(self.time()));
        match self {
            Self::Crumb(_, Crumb { level, category, text, made_by, .. }) => json!({
                "service": service,
                "time": time,
                "kind": "breadcrumb",
                "level": level.to_string(),
                "title": format!("{category}: {text}"),
                "madeBy": made_by,
            }),
            Self::Begin(Entry { trace, .. }, Measured { subject, .. }) => json!({
                "service": service,
                "time": time,
                "kind": "begin",
                "level": "info",
                "title": format!("{subject} begins"),
                "trace": trace,
            }),
            Self::Entry(entry) => {
                let Entry { kind, level, title, causes, place, note, trace, made_by, .. } = entry;
                let measured = entry.measured.as_ref();
                json!({
                    "service": service,
                    "time": time,
                    "kind": kind,
                    "level": level.to_string(),
                    "title": title,
                    "causes": causes,
                    "place": place,
                    "note": note,
                    "trace": trace,
                    "madeBy": made_by,
                    "start": measured.map(|_| milliseconds(entry.time)),
                    "end": measured.map(|measured| milliseconds(measured.end)),
                    "failed": measured.is_some_and(|measured| measured.has_failed),
                })
            }
        }
    }
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

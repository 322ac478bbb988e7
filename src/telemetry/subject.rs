//! Names a request or a message, in the report of its failure as in its performance transaction.

use std::borrow::Cow;

use crate::scope::record::Record;
use crate::telemetry::request::full_name;

/// The names by which Sentry knows a piece of work.
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) op: &'static str,
    /// Sentry's name of the code that measures the work and reports its failure.
    pub(crate) origin: Cow<'static, str>,
}

impl Record {
    /// Returns the names of the recorded request or message. Returns `None` for other work.
    pub(crate) fn subject(&self) -> Option<Subject> {
        match (&self.request, &self.message) {
            (Some(request), _) => Some(Subject {
                name: full_name(request),
                op: "http.server",
                origin: "auto.http.tower".into(),
            }),
            (None, Some(kind)) => Some(Subject {
                name: kind.name.as_ref().to_owned(),
                op: kind.op,
                origin: format!("auto.{}.tower", kind.category()).into(),
            }),
            (None, None) => None,
        }
    }
}

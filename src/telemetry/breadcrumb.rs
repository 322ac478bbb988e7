//! Renders an outbound call as a breadcrumb.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use sentry::protocol::{Breadcrumb, Level, Map, Value};

use crate::scope::record::{Call, Outcome};
use crate::telemetry::urls::scrub;

/// A moment on the clock of the calls and on that of the breadcrumbs. All calls of an event are dated
/// from one moment, so that they keep their order.
pub(crate) struct Moment {
    instant: Instant,
    time: SystemTime,
}

impl Moment {
    pub(crate) fn now() -> Self {
        // A busy machine may stop the thread between two readings, so the closest pair of a few counts.
        let pairs = (0..4).map(|_| {
            let (instant, time) = (Instant::now(), SystemTime::now());
            (instant.elapsed(), Self { instant, time })
        });
        let closest = pairs.min_by_key(|(gap, _)| *gap);
        closest.map(|(_, moment)| moment).expect("a few are more than none")
    }

    fn time_of(&self, instant: Instant) -> SystemTime {
        let age = self.instant.saturating_duration_since(instant);
        self.time.checked_sub(age).unwrap_or(UNIX_EPOCH)
    }
}

impl Call {
    /// The call in the shape of Sentry's own HTTP clients.
    pub(crate) fn breadcrumb(&self, now: &Moment) -> Breadcrumb {
        let mut data: Map<String, Value> = Map::new();
        let mut set = |key: &str, value: Value| drop(data.insert(key.to_owned(), value));
        set("method", self.method.as_str().into());
        set("url", self.target.url().into());
        let took = self.ended.duration_since(self.started).as_millis();
        let took = u64::try_from(took).unwrap_or(u64::MAX);
        set("duration_ms", took.into());
        match &self.outcome {
            Outcome::Answered(status, grpc) => {
                set("status_code", status.as_u16().into());
                if let Some(code) = grpc {
                    set("grpc_status", (*code).into());
                }
            }
            Outcome::Failed(Some(text)) => set("reason", scrub(text).into()),
            Outcome::Failed(None) => set("reason", "error".into()),
            Outcome::Cancelled => set("reason", "cancelled".into()),
        }
        Breadcrumb {
            timestamp: now.time_of(self.ended),
            ty: "http".into(),
            category: Some("http".into()),
            level: level(&self.outcome),
            data,
            ..Breadcrumb::default()
        }
    }
}

fn level(outcome: &Outcome) -> Level {
    match outcome {
        Outcome::Failed(_) | Outcome::Answered(_, Some(2 | 4 | 12..=15)) => Level::Error,
        Outcome::Cancelled | Outcome::Answered(_, Some(1..)) => Level::Warning,
        Outcome::Answered(status, _) if status.is_server_error() => Level::Error,
        Outcome::Answered(status, _) if status.is_client_error() => Level::Warning,
        Outcome::Answered(..) => Level::Info,
    }
}

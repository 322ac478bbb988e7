//! Renders an outbound call as a breadcrumb.

use sentry::protocol::{Breadcrumb, Level, Map, Value};

use crate::scope::record::{Call, Outcome};
use crate::telemetry::urls::scrub;

/// The breadcrumb has the shape that Sentry's own HTTP clients use.
impl From<&Call> for Breadcrumb {
    fn from(call: &Call) -> Self {
        let mut data: Map<String, Value> = Map::new();
        let mut set = |key: &str, value: Value| drop(data.insert(key.to_owned(), value));
        set("method", call.method.as_str().into());
        set("url", call.target.url().into());
        let took = call.ended.duration_since(call.started).unwrap_or_default().as_millis();
        let took = u64::try_from(took).unwrap_or(u64::MAX);
        set("duration_ms", took.into());
        match &call.outcome {
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
        Self {
            timestamp: call.ended,
            ty: "http".into(),
            category: Some("http".into()),
            level: level(&call.outcome),
            data,
            ..Self::default()
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

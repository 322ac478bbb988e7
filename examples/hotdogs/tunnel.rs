//! All that the page needs to report to Sentry: the settings of its SDK, the SDK itself, and a way for
//! its events that ad blockers leave alone.

use std::path::Path;

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use sentry::Hub;
use sentry::protocol::Envelope;
use serde_json::{Value, json};

use crate::assets;

pub(crate) const LARGEST_ENVELOPE: usize = 1024 * 1024;

/// `npm run build` puts the SDK there.
const BUNDLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/hotdogs/web/dist/sentry.js");

/// Names the version of the SDK, for the build and for the hosted bundle.
const PACKAGE: &str = include_str!("web/package.json");

/// Returns the settings, which the page asks for before anything else.
pub(crate) fn settings(stories: Option<&str>, search: Option<&str>) -> Value {
    let version = serde_json::from_str::<Value>(PACKAGE)
        .ok()
        .and_then(|package| {
            Some(package["devDependencies"]["@sentry/browser"].as_str()?.to_owned())
        })
        .unwrap_or_default();
    let built = Path::new(BUNDLE).exists();
    let sdk = if built {
        "/sentry.js".to_owned()
    } else {
        format!("https://browser.sentry-cdn.com/{version}/bundle.tracing.min.js")
    };
    let dsn = Hub::main().client().and_then(|client| client.dsn().map(ToString::to_string));
    json!({ "dsn": dsn, "sdk": sdk, "built": built, "stories": stories, "search": search })
}

/// Serves the SDK that was built next to the page. Each request reads the file, since it may be built
/// while the shop is open.
pub(crate) async fn sdk() -> Response {
    match tokio::fs::read(BUNDLE).await {
        Ok(bundle) => assets::script(bundle),
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Passes an envelope of the page on, as it is, to the tracker of the storefront's own events. An
/// envelope names a DSN, too, but this server ignores that DSN: otherwise any visitor could choose the
/// host that this server calls.
pub(crate) async fn forward(envelope: Bytes) -> StatusCode {
    let Some(client) = Hub::main().client() else { return StatusCode::SERVICE_UNAVAILABLE };
    match Envelope::from_bytes_raw(envelope.into()) {
        Ok(envelope) => {
            client.send_envelope(envelope);
            StatusCode::OK
        }
        Err(_) => StatusCode::BAD_REQUEST,
    }
}

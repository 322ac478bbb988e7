//! All that the page needs to report to Sentry: the settings of its SDK, the SDK itself, and a way for
//! its events that ad blockers leave alone.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use sentry::Hub;
use sentry::types::Dsn;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use ureq::Agent;

use crate::assets;

pub(crate) const LARGEST_ENVELOPE: usize = 1024 * 1024;

/// The envelopes that are on their way to the tracker at the same time. Each of them keeps a thread busy.
const AT_ONCE: usize = 16;

/// How long the tracker may take for one envelope.
const PATIENCE: Duration = Duration::from_secs(5);

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

/// Passes an envelope of the page on, as it is, to the tracker of the storefront's own events, and returns
/// the tracker's status: the page must not say that it reported, if it did not. An envelope names a DSN,
/// too, but this server ignores that DSN: otherwise any visitor could choose the host that this server
/// calls.
///
/// The envelope does not go through the storefront's own SDK. The SDK's queue is short, so visitors could
/// crowd out the storefront's reports, and the SDK tells nobody which report got lost.
pub(crate) async fn forward(envelope: Bytes) -> Response {
    static UNDER_WAY: Semaphore = Semaphore::const_new(AT_ONCE);
    let dsn = Hub::main().client().and_then(|client| client.dsn().cloned());
    let (Some(dsn), Ok(permit)) = (dsn, UNDER_WAY.try_acquire()) else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let sending = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        send(&dsn, &envelope)
    });
    match sending.await {
        Ok(Ok(answer)) => answer.into_response(),
        Ok(Err(_)) | Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}

/// Sends an envelope, and returns the status of the answer with the limits that the tracker sets to the
/// page's SDK.
fn send(dsn: &Dsn, envelope: &[u8]) -> Result<(StatusCode, HeaderMap), ureq::Error> {
    static AGENT: OnceLock<Agent> = OnceLock::new();
    let agent = AGENT.get_or_init(|| {
        let config = Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .max_redirects(0)
            .http_status_as_error(false);
        // No proxy leads to the collector.
        let is_here = dsn.host() == "127.0.0.1";
        let config = if is_here { config.proxy(None) } else { config };
        config.build().into()
    });
    let answer = agent
        .post(dsn.envelope_api_url().as_str())
        .header("X-Sentry-Auth", dsn.to_auth(Some("hotdogs")).to_string())
        .header("Content-Type", "application/x-sentry-envelope")
        .send(envelope)?;
    let limits = ["x-sentry-rate-limits", "retry-after"].map(HeaderName::from_static);
    let limits = limits.into_iter().filter_map(|name| {
        let value = answer.headers().get(&name)?.clone();
        Some((name, value))
    });
    Ok((answer.status(), limits.collect()))
}

//! The reports and logs of all services, and the tracker that receives them.

use std::io::{self, IsTerminal};
use std::time::Duration;
use std::{env, thread};

use sentry::integrations::tracing::{BreadcrumbLayer, LogLayer};
use sentry::types::Dsn;
use sentry::{ClientInitGuard, ClientOptions, Hub};
use tower_transaction_id::{RequestHead, TransactionId, TransactionIdIntegration};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;
use tracing_subscriber::{EnvFilter, fmt};

use crate::queue::Message;

/// The target of the steps of an order, and so the category of their breadcrumbs.
pub(crate) const COOKING: &str = "cooking";

/// The same for the steps of a delivery.
pub(crate) const DELIVERY: &str = "delivery";

/// Starts the reports of one service. The drop of the guard sends the reports that still wait.
pub(crate) fn init(service: &'static str, dsn: Dsn) -> ClientInitGuard {
    what_is_traced();
    let mut options = ClientOptions::new()
        .server_name(service)
        .release(concat!("hotdogs@", env!("CARGO_PKG_VERSION")))
        .in_app_include(["hotdogs"])
        .traces_sample_rate(1.0)
        .shutdown_timeout(Duration::from_secs(5))
        // Added last, since the integration wraps the callbacks that were set before. Logs and metrics
        // have no tags, so the integration makes the ID an attribute of each.
        .add_integration(TransactionIdIntegration::new());
    let is_here = dsn.host() == "127.0.0.1";
    if is_here {
        // No proxy leads to the collector. Without this option, the SDK would use a proxy that the
        // environment names.
        options = options.http_proxy("");
    }
    options.dsn = Some(dsn);
    let guard = sentry::init(options);
    if is_here {
        thread::spawn(hurry);
    }
    guard
}

/// Returns the span of a request. Each log line of the request shows the fields of this span.
pub(crate) fn request_span(request: RequestHead<'_>, id: &TransactionId) -> tracing::Span {
    let (method, path) = (request.method(), request.uri().path());
    tracing::info_span!("request", %method, path, transaction_id = %id)
}

/// Returns the span of a message.
pub(crate) fn message_span(_message: &Message, id: &TransactionId) -> tracing::Span {
    tracing::info_span!("delivery", transaction_id = %id)
}

/// Sends each line one way, so that no story shows a line twice. A line that is worth keeping for every
/// order becomes a Sentry log. A single step becomes a breadcrumb, which the SDK sends only with an
/// event.
fn what_is_traced() {
    let logs = Targets::new().with_target("hotdogs", LevelFilter::INFO);
    let steps = [COOKING, DELIVERY].map(|target| (target, LevelFilter::DEBUG));
    let steps = Targets::new().with_targets(steps);
    // Quiet unless `RUST_LOG` asks for lines, since this example shows the story. The lines go to
    // standard error, since the kitchen and the courier say on
    // standard output that they are ready.
    let lines = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("off"));
    let terminal = fmt::layer().with_ansi(io::stderr().is_terminal()).with_writer(io::stderr);
    tracing_subscriber::registry()
        .with(terminal.with_filter(lines))
        .with(BreadcrumbLayer::new().with_filter(steps))
        .with(LogLayer::new().with_filter(logs))
        .init();
}

/// Sends logs and metrics early. The SDK gathers them for five seconds, which is fine for a tracker,
/// and long for somebody who watches a story.
fn hurry() {
    loop {
        thread::sleep(Duration::from_millis(300));
        if let Some(client) = Hub::main().client() {
            client.flush(None);
        }
    }
}

/// Returns the DSN of the tracker that the environment names, if it names one.
pub(crate) fn dsn_from_env() -> Result<Option<Dsn>, String> {
    match env::var("SENTRY_DSN") {
        Ok(dsn) if dsn.is_empty() => Ok(None),
        Ok(dsn) => {
            dsn.parse().map(Some).map_err(|error| format!("SENTRY_DSN is not a DSN: {error}"))
        }
        Err(env::VarError::NotPresent) => Ok(None),
        Err(error) => Err(format!("SENTRY_DSN: {error}")),
    }
}

/// Returns the address at which the tracker shows the events with an ID: the ID replaces `{id}` in the
/// address. Only the address of sentry.io is known.
pub(crate) fn search_url(dsn: &Dsn) -> Option<String> {
    let is_sentry = dsn.host() == "sentry.io" || dsn.host().ends_with(".sentry.io");
    is_sentry.then(|| "https://sentry.io/issues/?query=transaction_id:{id}".to_owned())
}

/// Waits until the reports of this process have been sent. The SDK blocks its thread meanwhile, so the
/// wait must not happen on a thread that the collector may need.
pub(crate) async fn flush() {
    if let Some(client) = Hub::main().client() {
        let flushed = tokio::task::spawn_blocking(move || client.flush(None)).await;
        if !matches!(flushed, Ok(true)) {
            eprintln!("hotdogs: not every event could be sent");
        }
    }
}

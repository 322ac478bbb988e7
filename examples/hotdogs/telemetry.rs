//! What both services say about themselves, and to whom.

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

/// The target of the steps of an order, and so the category of their breadcrumbs.
pub(crate) const COOKING: &str = "cooking";

/// Starts the reports of one service. What the guard still holds is sent when it is dropped.
pub(crate) fn init(service: &'static str, dsn: Dsn) -> ClientInitGuard {
    what_is_traced();
    let mut options = ClientOptions::new()
        .server_name(service)
        .release(concat!("hotdogs@", env!("CARGO_PKG_VERSION")))
        .in_app_include(["hotdogs"])
        .traces_sample_rate(1.0)
        .shutdown_timeout(Duration::from_secs(5))
        // Last: it wraps the callbacks that were set before it. Logs and metrics have no tags, so
        // the ID becomes an attribute of each.
        .add_integration(TransactionIdIntegration::new());
    let is_here = dsn.host() == "127.0.0.1";
    if is_here {
        // No proxy leads to the collector. One that the environment names would be used, unless
        // the option is set.
        options = options.http_proxy("");
    }
    options.dsn = Some(dsn);
    let guard = sentry::init(options);
    if is_here {
        thread::spawn(hurry);
    }
    guard
}

/// The span of a request, whose fields each of its log lines shows.
pub(crate) fn request_span(request: RequestHead<'_>, id: &TransactionId) -> tracing::Span {
    let (method, path) = (request.method(), request.uri().path());
    tracing::info_span!("request", %method, path, transaction_id = %id)
}

/// Sends each line one way, so that no story shows it twice. A line that is worth keeping of every order
/// becomes a Sentry log. The single steps become breadcrumbs, which are sent only if something fails.
fn what_is_traced() {
    let logs = Targets::new().with_target("hotdogs", LevelFilter::INFO);
    let steps = Targets::new().with_target(COOKING, LevelFilter::DEBUG);
    // Quiet unless asked: the story is what this example shows. Standard output stays free, too:
    // the kitchen announces its address there.
    let lines = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("off"));
    let terminal = fmt::layer().with_ansi(io::stderr().is_terminal()).with_writer(io::stderr);
    tracing_subscriber::registry()
        .with(terminal.with_filter(lines))
        .with(BreadcrumbLayer::new().with_filter(steps))
        .with(LogLayer::new().with_filter(logs))
        .init();
}

/// The SDK gathers logs and metrics for five seconds before it sends them. That is fine for a
/// tracker, and long for somebody who watches a story.
fn hurry() {
    loop {
        thread::sleep(Duration::from_millis(300));
        if let Some(client) = Hub::main().client() {
            client.flush(None);
        }
    }
}

/// The tracker that the environment names, if it names one.
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

/// Returns the address at which the tracker shows the events with an ID, which replaces `{id}`. It is known
/// for sentry.io only.
pub(crate) fn search_url(dsn: &Dsn) -> Option<String> {
    let is_sentry = dsn.host() == "sentry.io" || dsn.host().ends_with(".sentry.io");
    is_sentry.then(|| "https://sentry.io/issues/?query=transaction_id:{id}".to_owned())
}

/// Waits until what this process captured has been sent. The SDK blocks while it waits, so this
/// must not happen on a thread that the collector may need.
pub(crate) async fn flush() {
    if let Some(client) = Hub::main().client() {
        let flushed = tokio::task::spawn_blocking(move || client.flush(None)).await;
        if !matches!(flushed, Ok(true)) {
            eprintln!("hotdogs: not every event could be sent");
        }
    }
}

//! What both services say about themselves, and to whom.

use std::env;
use std::io::{self, IsTerminal};
use std::time::Duration;

use sentry::types::Dsn;
use sentry::{ClientInitGuard, ClientOptions, Hub};
use tracing_subscriber::EnvFilter;

/// Starts the reports of one service. What the guard still holds is sent when it is dropped.
pub(crate) fn init(service: &'static str, dsn: Dsn) -> ClientInitGuard {
    // Quiet unless asked: the story is what this example shows. Standard output stays free, too:
    // the kitchen announces its address there.
    let log_lines = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("off"));
    tracing_subscriber::fmt()
        .with_env_filter(log_lines)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();

    let mut options = ClientOptions::new()
        .server_name(service)
        .release(concat!("hotdogs@", env!("CARGO_PKG_VERSION")))
        .in_app_include(["hotdogs"])
        .attach_stacktrace(true)
        .shutdown_timeout(Duration::from_secs(5));
    if dsn.host() == "127.0.0.1" {
        // No proxy leads to the collector. One that the environment names would be used, unless
        // the option is set.
        options = options.http_proxy("");
    }
    options.dsn = Some(dsn);
    sentry::init(options)
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

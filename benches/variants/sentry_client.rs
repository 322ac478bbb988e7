//! Sentry, switched on, with a transport that throws everything away.

use std::sync::Arc;

use sentry::{ClientInitGuard, ClientOptions, Envelope, Transport};

struct NoTransport;

impl Transport for NoTransport {
    fn send_envelope(&self, envelope: Envelope) {
        drop(envelope);
    }
}

/// Binds it to the main hub. No integrations: what they do to an event costs every variant alike,
/// and a hundred times what is compared.
pub(crate) fn init() -> ClientInitGuard {
    sentry::init(
        ClientOptions::new()
            .dsn("https://public@sentry.invalid/1")
            .default_integrations(false)
            .transport(Arc::new(NoTransport)),
    )
}

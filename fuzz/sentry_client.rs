//! One Sentry client for all runs of a target, since a client has threads of its own.

use std::sync::{Arc, LazyLock};

use sentry::test::TestTransport;
use sentry::{ClientOptions, Hub};

pub(crate) struct Sentry {
    pub(crate) hub: Arc<Hub>,
    pub(crate) kept: Arc<TestTransport>,
}

pub(crate) static SENTRY: LazyLock<Sentry> = LazyLock::new(|| {
    let kept = TestTransport::new();
    let options = ClientOptions::new().dsn("https://public@sentry.invalid/1");
    let client = options.transport(kept.clone()).into();
    Sentry { hub: Arc::new(Hub::new(Some(Arc::new(client)), Arc::default())), kept }
});

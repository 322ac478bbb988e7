//! The parts that the targets share: the claims of the tests, and one Sentry client for all runs of a target,
//! since a client has threads of its own.

#[path = "../tests/it/carried.rs"]
pub(crate) mod carried;
#[path = "../tests/it/claims.rs"]
pub(crate) mod claims;

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

//! Any list of header lines, and any output of a generator, trusted or not.

#![no_main]

#[path = "../../tests/it/claims.rs"]
#[allow(dead_code)]
mod claims;

use std::sync::{Arc, LazyLock};

use sentry::test::TestTransport;
use sentry::{ClientOptions, Hub};

/// One for all runs: a client has threads of its own.
static SENTRY: LazyLock<(Arc<Hub>, Arc<TestTransport>)> = LazyLock::new(|| {
    let kept = TestTransport::new();
    let options = ClientOptions::new().dsn("https://public@sentry.invalid/1");
    let client = options.transport(kept.clone()).into();
    (Arc::new(Hub::new(Some(Arc::new(client)), Arc::default())), kept)
});

type Input = (Vec<Vec<u8>>, bool, Option<Vec<u8>>, bool);

libfuzzer_sys::fuzz_target!(|input: Input| {
    let (lines, twice, generated, trusted) = input;
    let copies = 1 + usize::from(twice);
    let generated = generated.as_deref();
    let request = claims::Lines { values: &lines, copies, generated, trusted };
    claims::any_lines(&SENTRY.0, &SENTRY.1, &request);
});

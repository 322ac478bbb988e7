//! Any list of pairs of a message.

#![no_main]

#[path = "../parts.rs"]
#[allow(dead_code)] // each target uses its part
mod parts;

use parts::{SENTRY, carried};

/// Names that the crate reads, since a fuzzer rarely finds them.
const NAMES: [&str; 6] =
    ["X-Transaction-ID", "x-transaction-id", "sentry-trace", "Sentry-Trace", "baggage", "BAGGAGE"];

libfuzzer_sys::fuzz_target!(|input: Vec<(Result<u8, String>, Vec<u8>)>| {
    let named = |name| match name {
        Ok(number) => NAMES[usize::from(number) % NAMES.len()].to_owned(),
        Err(name) => name,
    };
    let pairs: Vec<_> = input.into_iter().map(|(name, value)| (named(name), value)).collect();
    carried::any_pairs(&SENTRY.hub, &pairs);
});

//! Any list of header lines, and any output of a generator, trusted or not.

#![no_main]

#[path = "../parts.rs"]
#[allow(dead_code)] // each target uses its part
mod parts;

use parts::{SENTRY, claims};

type Input = (Vec<Vec<u8>>, bool, Option<Vec<u8>>, bool);

libfuzzer_sys::fuzz_target!(|input: Input| {
    let (lines, twice, generated, trusted) = input;
    let copies = 1 + usize::from(twice);
    let generated = generated.as_deref();
    let request = claims::Lines { values: &lines, copies, generated, trusted };
    claims::any_lines(&SENTRY.hub, &SENTRY.kept, &request);
});

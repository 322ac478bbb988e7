//! Any byte string as the value of a header.

#![no_main]

#[path = "../parts.rs"]
#[allow(dead_code)] // each target uses its part
mod parts;

use parts::claims;

libfuzzer_sys::fuzz_target!(|value: &[u8]| claims::any_value(value));

//! Any byte string as the value of a header.

#![no_main]

#[path = "../../tests/it/claims.rs"]
#[allow(dead_code)]
mod claims;

libfuzzer_sys::fuzz_target!(|value: &[u8]| claims::any_value(value));

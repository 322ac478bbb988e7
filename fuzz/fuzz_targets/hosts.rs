//! Any list of allowed hosts, any URI and any `Host` line.

#![no_main]

#[path = "../parts.rs"]
#[allow(dead_code)] // each target uses its part
mod parts;

use parts::claims;

type Input<'a> = (Vec<String>, &'a str, Option<&'a [u8]>);

libfuzzer_sys::fuzz_target!(|input: Input<'_>| {
    let (entries, uri, host_line) = input;
    claims::any_hosts(&entries, uri, host_line);
});

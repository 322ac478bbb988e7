//! Any lines of `sentry-trace` and `baggage`, trusted or not.

#![no_main]

#[path = "../parts.rs"]
#[allow(dead_code)] // each target uses its part
mod parts;

use parts::{SENTRY, carried};

/// A line, and whether it is completed to one that begins as a valid one does.
type Input = (Vec<(bool, Vec<u8>)>, Vec<(bool, Vec<u8>)>, bool);

libfuzzer_sys::fuzz_target!(|input: Input| {
    let (sentry_trace, baggage, trusted) = input;
    let begun = |start: &'static str| {
        move |(is_begun, line): (bool, Vec<u8>)| match is_begun {
            true => [start.as_bytes(), &line].concat(),
            false => line,
        }
    };
    let trace = "09e04486820349518ac7b5d2adbf6ba5-9438b6a1d9b86aa4";
    let sentry_trace: Vec<_> = sentry_trace.into_iter().map(begun(trace)).collect();
    let baggage: Vec<_> = baggage.into_iter().map(begun("sentry-release=a,sentry-")).collect();
    let request = carried::Carried { sentry_trace: &sentry_trace, baggage: &baggage, trusted };
    carried::any_trace(&SENTRY.hub, &SENTRY.kept, &request);
});

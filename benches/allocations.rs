//! Allocations per request, exact: `cargo bench --bench allocations`.

mod variants;

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use variants::allocations::allocations;
use variants::{Case, report, sentry_client};

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    let _sentry = sentry_client::init();
    let cases: Vec<Case> = Case::MAIN.into_iter().chain(Case::MORE).collect();
    report::print("allocations", &cases, |_, subject| allocations(COUNTING, subject));
}

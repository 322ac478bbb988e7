//! Exact allocations per request, and the memory of a waiting request: `cargo bench --bench allocations`.

mod variants;

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use variants::allocations::{allocations, bytes_held};
use variants::table::Table;
use variants::{Case, Variant, report, sentry_client};

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    let _sentry = sentry_client::init();
    let cases: Vec<Case> = Case::MAIN.into_iter().chain(Case::SIX).chain(Case::MORE).collect();
    report::print("allocations", &cases, |_, subject| allocations(COUNTING, subject));
    report::print_transactions("allocations", |_, subject| allocations(COUNTING, subject));
    memory("Memory of a request whose handler waits: bytes over bare", &Case::WAITING);
    memory("Memory of an open streaming response: bytes over bare", &Case::STREAMS);
}

fn memory(title: &str, cases: &[Case]) {
    let mut head = vec!["bytes added"];
    head.extend(Variant::ALL.map(Variant::name));
    let mut table = Table::new(head);
    for case in cases {
        let bytes = Variant::ALL.map(|variant| bytes_held(COUNTING, variant, case));
        let mut row = vec![case.name.to_owned(), format!("({})", bytes[0])];
        row.extend(bytes[1..].iter().map(|all| (all - bytes[0]).to_string()));
        table.row(row);
    }
    table.print(title);
}

//! Allocations per request, exact, and its memory while it waits: `cargo bench --bench allocations`.

mod variants;

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use variants::allocations::{BytesInFlight, allocations};
use variants::table::Table;
use variants::{Case, Variant, report, sentry_client, with_service};

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    let _sentry = sentry_client::init();
    let cases: Vec<Case> = Case::MAIN.into_iter().chain(Case::MORE).collect();
    report::print("allocations", &cases, |_, subject| allocations(COUNTING, subject));
    memory();
}

fn memory() {
    let mut table = Table::new(["bytes added", "bare", "lite", "peer", "ours", "ours+base"]);
    for case in Case::MAIN {
        let case = Case { pending: u32::MAX, ..case };
        let bytes = Variant::MAIN.map(|variant| {
            let weigh = BytesInFlight { counting: COUNTING, case: &case };
            case.run(|| with_service(variant, &case, weigh).round())
        });
        let mut row = vec![case.name.to_owned(), format!("({})", bytes[0])];
        row.extend(bytes[1..].iter().map(|all| (all - bytes[0]).to_string()));
        table.row(row);
    }
    table.print("Memory of a request whose handler waits: bytes over bare");
}

//! Allocations per request, exact: `cargo bench --bench allocations`.

mod variants;

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use variants::allocations::allocations;
use variants::client::ClientCase;
use variants::table::Table;
use variants::{Case, Variant, sentry_client, subject};

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    let _sentry = sentry_client::init();
    let mut head = vec!["allocations added"];
    head.extend(Variant::ALL.map(Variant::name));
    let mut table = Table::new(head);
    for case in Case::MAIN.iter().chain(&Case::MORE) {
        let counts = Variant::ALL
            .map(|variant| case.run(|| allocations(COUNTING, &mut subject(variant, case))));
        let bare = counts[0];
        let mut row = vec![case.name.to_owned(), format!("({bare})")];
        row.extend(counts[1..].iter().map(|count| format!("{}", count - bare)));
        table.row(row);
    }
    table.print("Server: allocations over bare (of bare itself in brackets)");

    let mut table = Table::new(["allocations added", "bare", "ours"]);
    for case in ClientCase::ALL {
        let [bare, ours] = [false, true]
            .map(|with_layer| case.run(|| allocations(COUNTING, &mut case.subject(with_layer))));
        table.row([case.name.to_owned(), format!("({bare})"), format!("{}", ours - bare)]);
    }
    table.print("Client layer: allocations over bare");
}

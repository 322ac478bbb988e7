//! Guards what a request costs, against the figures in `benches/cost.tsv`.
//!
//! Allocations may not exceed them. Instructions may, by a quarter, for another compiler, another C
//! library or another folder: the same code, built in two places, is inlined in two ways, and was
//! seen to differ by a tenth. They are counted in an optimised build and where valgrind is:
//!
//! ```sh
//! cargo test --release --test cost
//! COST=write cargo test --release --test cost   # takes what it finds as the new figures
//! ```
//!
//! Times are not asserted: `cargo bench --bench overhead` tells them.

#[path = "../benches/variants/mod.rs"]
mod variants;

use std::alloc::System;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use variants::allocations::allocations;
use variants::client::ClientCase;
use variants::{Case, Variant, callgrind, report, sentry_client};

/// Its own instructions, four for each buffer, are counted too.
#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Of the instructions.
const MARGIN: f64 = 1.25;

/// What one thing that this crate does adds to none of it.
struct Cost {
    name: String,
    allocations: f64,
    instructions: Option<f64>,
}

// A harness of its own: the allocator counts for all threads, and valgrind has to start this
// program without one of libtest's.
fn main() -> ExitCode {
    let _sentry = sentry_client::init();
    if callgrind::is_child() {
        added(callgrind::count);
        return ExitCode::SUCCESS;
    }
    let costs = measure();
    if std::env::var("COST").is_ok_and(|wish| wish == "write") {
        write(&costs);
    }
    let complaints = compare(&costs, &read());
    for complaint in &complaints {
        println!("{complaint}");
    }
    println!("{} passed, {} failed", costs.len() - complaints.len(), complaints.len());
    if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn measure() -> Vec<Cost> {
    let allocations = added(|_, subject| allocations(COUNTING, subject));
    let mut costs: Vec<Cost> = allocations
        .into_iter()
        .map(|(name, allocations)| Cost { name, allocations, instructions: None })
        .collect();
    if cfg!(debug_assertions) {
        println!("instructions: skipped, since this build is not optimised (cargo test --release)");
    } else if !callgrind::is_installed() {
        println!("instructions: skipped, since valgrind is not installed");
    } else {
        let mut counts = callgrind::counts().into_iter();
        let instructions = added(|_, _| counts.next().expect("one profile for each subject"));
        for (cost, (_, instructions)) in costs.iter_mut().zip(instructions) {
            cost.instructions = Some(instructions.round());
        }
    }
    costs
}

/// What is guarded: each thing with its figure over that of `bare`.
fn added(mut measure: impl report::Measure) -> Vec<(String, f64)> {
    let mut added = Vec::new();
    for case in Case::MAIN {
        let bare = report::of_server(&case, Variant::Bare, &mut measure);
        for variant in [Variant::Ours, Variant::OursBase] {
            let ours = report::of_server(&case, variant, &mut measure);
            added.push((format!("{}, {}", case.name, variant.name()), ours - bare));
        }
    }
    for (name, case) in [("body frame, on", Case::FRAMES_ON), ("body frame, off", Case::FRAMES_OFF)]
    {
        let one = Case { frames: 1, ..case };
        let [one, many] = [one, case].map(|case| {
            let [bare, ours] = [Variant::Bare, Variant::Ours]
                .map(|variant| report::of_server(&case, variant, &mut measure));
            ours - bare
        });
        added.push((name.to_owned(), (many - one) / 100.0));
    }
    for case in ClientCase::ALL {
        let [bare, ours] = [false, true].map(|with| report::of_client(&case, with, &mut measure));
        added.push((format!("client, {}", case.name), ours - bare));
    }
    added
}

fn table() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/cost.tsv")
}

fn write(costs: &[Cost]) {
    let mut text = "what\tallocations\tinstructions\n".to_owned();
    for cost in costs {
        let instructions = cost.instructions.expect("new figures need --release and valgrind");
        let _ = writeln!(text, "{}\t{}\t{instructions}", cost.name, cost.allocations);
    }
    fs::write(table(), text).expect("the table can be written");
}

fn read() -> Vec<Cost> {
    let text = fs::read_to_string(table()).expect("the table can be read");
    let rows = text.lines().skip(1).map(|line| {
        let mut cells = line.split('\t');
        let name = cells.next().unwrap_or_default().to_owned();
        let mut figure = || cells.next().and_then(|cell| cell.parse().ok());
        let allocations = figure().unwrap_or_else(|| panic!("no figures in the row {line:?}"));
        Cost { name, allocations, instructions: figure() }
    });
    rows.collect()
}

fn compare(found: &[Cost], table: &[Cost]) -> Vec<String> {
    found.iter().filter_map(|found| complaint(found, table)).collect()
}

fn complaint(found: &Cost, table: &[Cost]) -> Option<String> {
    let Some(allowed) = table.iter().find(|row| row.name == found.name) else {
        return Some(format!("{}: missing in the table", found.name));
    };
    if found.allocations > allowed.allocations {
        let (found, allowed, name) = (found.allocations, allowed.allocations, &found.name);
        return Some(format!("{name}: {found} allocations, and {allowed} are allowed"));
    }
    let (instructions, allowed) = (found.instructions?, allowed.instructions?);
    (instructions > allowed * MARGIN)
        .then(|| format!("{}: {instructions} instructions, where there were {allowed}", found.name))
}

//! The cost on many cores: `cargo bench --bench scaling`.
//!
//! - CPU time per request on 1, 2 and all threads, which share one service, one Sentry client and
//!   one main hub. The variants take turns in each round.
//! - Writes per request to memory that another thread writes too, counted by [`sharing`]. This machine
//!   may have few cores. Many cores would wait for each other at these writes.

mod sharing;
#[path = "../variants/mod.rs"]
mod variants;

use std::sync::Barrier;
use std::thread;

use cpu_time::ThreadTime;
use variants::table::Table;
use variants::{Case, Subject, Variant, sentry_client, subjects};

const ROUNDS: usize = 61;
const REQUESTS: u32 = 1000;

fn main() {
    let _sentry = sentry_client::init();
    if sharing::is_child() {
        return sharing::serve_requests();
    }
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut counts = vec![1, 2, cores];
    counts.dedup();
    for case in [Case::GENERATE_ON, Case::READ_ON] {
        let mut head = vec!["threads"];
        head.extend(Variant::ALL.map(Variant::name));
        head.extend(["ours/lite", "base/lite", "full/peer"]);
        let mut table = Table::new(head);
        for count in &counts {
            let times = times(&case, *count);
            let added = times.map(|time| time - times[0]);
            let [_, lite, peer, ours, base, _, full] = added;
            let mut row = vec![count.to_string(), format!("({:.0})", times[0])];
            row.extend(added[1..].iter().map(|time| format!("{time:.0}")));
            let ratios = [ours / lite, base / lite, full / peer];
            row.extend(ratios.map(|ratio| format!("{ratio:.2}")));
            table.row(row);
        }
        table.print(&format!(
            "{}: CPU nanoseconds over bare, on so many threads at once",
            case.name
        ));
    }
    sharing::print();
}

/// The median of all rounds on all threads, for each variant.
fn times(case: &Case, threads: usize) -> [f64; Variant::ALL.len()] {
    let mut of_threads: Vec<[Subject; Variant::ALL.len()]> = Vec::new();
    let mut of_variants = Variant::ALL.map(|variant| subjects(variant, case, threads));
    for _ in 0..threads {
        of_threads.push(of_variants.each_mut().map(|subjects| subjects.pop().expect("one each")));
    }
    let barrier = Barrier::new(threads);
    let mut times: [Vec<f64>; Variant::ALL.len()] = [const { Vec::new() }; _];
    thread::scope(|scope| {
        let running: Vec<_> = of_threads
            .into_iter()
            .map(|subjects| scope.spawn(|| run(subjects, &barrier)))
            .collect();
        for thread in running {
            let of_thread = thread.join().expect("the thread ran to its end");
            times.iter_mut().zip(of_thread).for_each(|(all, some)| all.extend(some));
        }
    });
    times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    })
}

/// All threads run the same variant at the same time.
fn run<const N: usize>(mut subjects: [Subject; N], barrier: &Barrier) -> [Vec<f64>; N] {
    let mut times = [const { Vec::new() }; N];
    for round in 0..ROUNDS {
        for place in 0..N {
            let number = (round + place) % N;
            barrier.wait();
            let start = ThreadTime::now();
            subjects[number].serve(REQUESTS);
            times[number].push(start.elapsed().as_secs_f64() * 1e9 / f64::from(REQUESTS));
        }
    }
    times
}

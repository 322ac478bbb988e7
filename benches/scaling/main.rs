//! What becomes of the cost on many cores: `cargo bench --bench scaling`.
//!
//! - CPU time per request on 1, 2 and all threads, which share one service, one Sentry client and
//!   one main hub. The variants take turns in each round.
//! - Writes per request to memory that another thread writes too. This machine may have few cores;
//!   these writes are what many would queue for, and they are counted: see [`sharing`].

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
    for case in [Case::MINT_ON, Case::READ_ON] {
        let mut table = Table::new(
            ["threads".to_owned()].into_iter().chain(Variant::MAIN.map(|v| v.name().to_owned())),
        );
        for count in &counts {
            let mut row = vec![count.to_string()];
            row.extend(times(&case, *count).map(|time| format!("{time:.0}")));
            table.row(row);
        }
        table.print(&format!("CPU nanoseconds per request, bare included; {}", case.name));
    }
    sharing::print();
}

/// The median of all rounds on all threads, for each variant.
fn times(case: &Case, threads: usize) -> [f64; Variant::MAIN.len()] {
    let mut of_threads: Vec<[Subject; Variant::MAIN.len()]> = Vec::new();
    let mut of_variants = Variant::MAIN.map(|variant| subjects(variant, case, threads));
    for _ in 0..threads {
        of_threads.push(of_variants.each_mut().map(|subjects| subjects.pop().expect("one each")));
    }
    let barrier = Barrier::new(threads);
    let mut times: [Vec<f64>; Variant::MAIN.len()] = [const { Vec::new() }; _];
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
            for _ in 0..REQUESTS {
                subjects[number]();
            }
            times[number].push(start.elapsed().as_secs_f64() * 1e9 / f64::from(REQUESTS));
        }
    }
    times
}

//! The cost on many cores: `cargo bench --bench scaling`.
//!
//! - CPU time per request on 1, 2 and all threads, which share one service, one Sentry client and
//!   one main hub. The variants take turns in each round.
//! - Writes per request to memory that another thread writes too, counted by [`sharing`]. This machine
//!   may have few cores. Many cores would wait for each other at these writes.
//! - The cost of such a write on two cores, and a model of 64 cores that is made of these figures: [`cores`].

mod cores;
mod sharing;
#[path = "../variants/mod.rs"]
mod variants;

use std::sync::Barrier;
use std::thread;

use cores::Work;
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
    counts.sort_unstable();
    counts.dedup();
    let mut generate_on = Vec::new();
    for case in [Case::GENERATE_ON, Case::READ_ON] {
        let mut head = vec!["threads"];
        head.extend(Variant::ALL.map(Variant::name));
        head.extend(["ours/lite", "base/lite", "full/peer"]);
        let mut table = Table::new(head);
        for count in &counts {
            let times = times(&case, *count);
            if *count <= 2 && case.name == Case::GENERATE_ON.name {
                generate_on.push(times);
            }
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
    let Some(shared) = sharing::print() else { return };
    if let [one, two] = generate_on[..] {
        print_cores(&one, &two, &shared);
    }
}

/// The time of a turn between two sockets, as processors of this kind take it. Assumed, not measured.
const BETWEEN_SOCKETS: f64 = 100.0;
/// The nanoseconds of work that a small real handler adds to the layers.
const HANDLER: f64 = 20_000.0;

/// Prints the model of many cores, for requests without an ID and Sentry on. `one` and `two` are the times on as many
/// threads, and `shared` are the writes to each shared line.
fn print_cores(one: &[f64], two: &[f64], shared: &[Vec<f64>]) {
    let (alone, turn) = (cores::write_alone(), cores::turn());
    // Of the 63 other cores, 31 are in the same socket, and each may be the one that wrote last.
    let in_two_sockets = (32.0 * BETWEEN_SOCKETS + 31.0 * turn) / 63.0;
    let mut table =
        Table::new(["on a line of its own", "on a line that two cores write, each turn"]);
    table.row([format!("{alone:.1}"), format!("{turn:.1}")]);
    table.print("Nanoseconds of an atomic write, measured");
    let mut table = Table::new([
        "generate, on",
        "atomic writes",
        "to one line",
        "ns more on 2, measured",
        "on 2, model",
        "on 64, model",
        "on 64 in 2 sockets, model",
        "most requests/s, model",
    ]);
    for (number, variant) in Variant::ALL.iter().enumerate().skip(1) {
        let lines = &shared[number];
        let layers = Work { alone: one[number], lines };
        let service = Work { alone: one[number] + HANDLER, lines };
        let most = service
            .most_per_second(in_two_sockets)
            .map_or_else(|| "-".to_owned(), |most| format!("{:.1} million", most / 1e6));
        table.row([
            variant.name().to_owned(),
            format!("{:.1}", lines.iter().sum::<f64>()),
            format!("{:.1}", lines.iter().copied().fold(0.0, f64::max)),
            format!("{:.0}", two[number] - one[number] - (two[0] - one[0])),
            format!("{:.0}", layers.waits(2, turn)),
            format!("{:.0}", service.waits(64, turn)),
            format!("{:.0}", service.waits(64, in_two_sockets)),
            most,
        ]);
    }
    table.print(
        "Nanoseconds that a request waits for cache lines: measured on 2 cores, and by the model on 2 and 64",
    );
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

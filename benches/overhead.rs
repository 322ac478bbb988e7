//! Time per request, every variant beside every other: `cargo bench --bench overhead`.
//!
//! A small harness of our own, since criterion and divan run one variant after the other. On a
//! machine that is not ours alone, minutes apart means other neighbours, another clock speed and
//! another state of the caches, and that is more than what is compared. Here each round runs all
//! the variants, in an order that turns from round to round; what a variant adds is taken against
//! `bare` of the same round, and the output is the median of the rounds. The clock is the CPU time of the
//! thread: what others do in between is not counted.

mod variants;

use std::hint::black_box;

use cpu_time::ThreadTime;
use tower_transaction_id::TransactionId;
use variants::client::ClientCase;
use variants::table::Table;
use variants::{Case, Subject, Variant, report, sentry_client, subject};

const ROUNDS: usize = 401;
/// Long enough for the two readings of the clock, which are system calls, to be small.
const ROUND_NANOS: f64 = 100_000.0;
/// Each round sends the same share of its transactions: a multiple of a hundred.
const TRANSACTIONS_OF_A_ROUND: u32 = 100;

fn main() {
    let _sentry = sentry_client::init();
    let mut head = vec!["added nanoseconds"];
    head.extend(Variant::ALL.map(Variant::name));
    head.extend(["ours/lite", "ours/peer", "base/lite", "base/peer", "full/base", "full/peer"]);
    let mut table = Table::new(head);
    for case in Case::MAIN.iter().chain(&Case::SIX).chain(&Case::MORE) {
        let times = case.run(|| interleaved(Variant::ALL.map(|v| subject(v, case))));
        let [_, lite, peer, ours, base, _, full] = times;
        let mut row = vec![case.name.to_owned(), format!("({:.0})", times[0])];
        row.extend(times[1..].iter().map(|time| format!("{time:.0}")));
        // A part of a tenth of `bare` or less is noise.
        let ratio = |one: f64, other: f64| {
            if other > times[0] / 10.0 { format!("{:.2}", one / other) } else { "-".to_owned() }
        };
        let pairs =
            [(ours, lite), (ours, peer), (base, lite), (base, peer), (full, base), (full, peer)];
        row.extend(pairs.map(|(one, other)| ratio(one, other)));
        table.row(row);
    }
    table.print("Server: nanoseconds over bare (of bare itself in brackets)");

    report::check_transactions();
    let mut table = report::table_of_transactions("nanoseconds");
    for case in &Case::TRANSACTIONS {
        let [bare, added @ ..] = case.run(|| {
            let subjects = Variant::MEASURING.map(|v| subject(v, case));
            interleaved_by(subjects, TRANSACTIONS_OF_A_ROUND)
        });
        let show = |time| format!("{time:.0}");
        report::row_of_transactions(&mut table, case, &show(bare), added, show);
    }
    table.print(&report::title_of_transactions("nanoseconds"));

    let mut table = Table::new(["added nanoseconds", "bare", "ours"]);
    for case in ClientCase::ALL {
        let [bare, ours] = case.run(|| interleaved([false, true].map(|with| case.subject(with))));
        table.row([case.name.to_owned(), format!("({bare:.0})"), format!("{ours:.0}")]);
    }
    table.print("Client layer: nanoseconds over bare");

    let look = || Subject::new(|| drop(black_box(TransactionId::current())));
    let nothing = || Subject::new(|| drop(black_box(None::<TransactionId>)));
    let inside = ClientCase::INJECT_ON.run(|| interleaved([nothing(), look()]));
    let outside = Case::READ_ON.run(|| interleaved([nothing(), look()]));
    let mut table = Table::new(["nanoseconds", "inside", "outside"]);
    let [inside, outside] = [inside[1], outside[1]].map(|time| format!("{time:.1}"));
    table.row(["TransactionId::current()".to_owned(), inside, outside]);
    table.print("The current ID");
}

/// Nanoseconds per request: of the first subject in all, of the others over it.
fn interleaved<const N: usize>(subjects: [Subject; N]) -> [f64; N] {
    interleaved_by(subjects, 1)
}

/// The same, where the requests of a round are a multiple of `step`.
fn interleaved_by<const N: usize>(mut subjects: [Subject; N], step: u32) -> [f64; N] {
    let requests = subjects.each_mut().map(requests_of_a_round);
    let requests = requests.map(|requests| requests.next_multiple_of(step));
    let mut rounds: [Vec<f64>; N] = [(); N].map(|()| Vec::with_capacity(ROUNDS));
    for round in 0..ROUNDS {
        let mut times = [0.0; N];
        for place in 0..N {
            let number = (round + place) % N;
            times[number] = time(&mut subjects[number], requests[number]);
        }
        rounds[0].push(times[0]);
        for number in 1..N {
            rounds[number].push(times[number] - times[0]);
        }
    }
    rounds.map(median)
}

/// Nanoseconds per request.
fn time(subject: &mut Subject, requests: u32) -> f64 {
    let start = ThreadTime::now();
    subject.serve(requests);
    start.elapsed().as_secs_f64() * 1e9 / f64::from(requests)
}

/// How many fill [`ROUND_NANOS`]. Warms up on the way.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn requests_of_a_round(subject: &mut Subject) -> u32 {
    time(subject, 10);
    (ROUND_NANOS / time(subject, 100)).clamp(1.0, 100_000.0) as u32
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

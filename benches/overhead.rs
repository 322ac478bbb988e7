//! Time per request, for all variants: `cargo bench --bench overhead`.
//!
//! Each round runs all the variants, in an order that turns from round to round. The cost of a variant
//! is its time less the time of `bare` in the same round, and the output is the median of the rounds.
//! The clock is the CPU time of the thread, so it does not count the work of other threads.
//!
//! The bench has its own small harness, since criterion and divan run one variant after the other. On
//! a shared machine, the other load, the clock speed and the caches change within minutes, and these
//! changes are larger than the differences between the variants.

mod variants;

use std::hint::black_box;

use cpu_time::ThreadTime;
use tower_transaction_id::TransactionId;
use variants::client::ClientCase;
use variants::table::Table;
use variants::{Case, Subject, Variant, report, sentry_client, subject};

const ROUNDS: usize = 401;
/// The length of a round. The two readings of the clock are system calls, and short beside a round.
const ROUND_NANOS: f64 = 100_000.0;
/// A round has a multiple of this number of requests, so each round sends the same share of its
/// transactions.
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

/// Nanoseconds per request: the time of the first subject, and the time that each other one adds to it.
fn interleaved<const N: usize>(subjects: [Subject; N]) -> [f64; N] {
    interleaved_by(subjects, 1)
}

/// As [`interleaved`], with a multiple of `step` requests in each round.
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

/// The number of requests that fill [`ROUND_NANOS`]. Also warms up the subject.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn requests_of_a_round(subject: &mut Subject) -> u32 {
    time(subject, 10);
    (ROUND_NANOS / time(subject, 100)).clamp(1.0, 100_000.0) as u32
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

//! Counts writes to memory that another thread writes too.
//!
//! This program runs itself under valgrind's lackey, which prints the address of each write. In the
//! child, two threads serve the same requests, one after the other. An address that both threads wrote
//! is shared. The count has the writes of one thread to shared addresses that read, change and write
//! in one instruction. In safe Rust, these are the atomic writes: reference counts and locks.

use std::collections::{BTreeMap, HashSet};
use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;

use sentry::Hub;

use crate::variants::table::Table;
use crate::variants::{Case, Subject, Variant, callgrind, subjects};

const CHILD: &str = "TRANSACTION_ID_UNDER_LACKEY";
const REQUESTS: u32 = 20;
const CASES: [Case; 4] = Case::MAIN;

/// The child writes here before and after the counted requests, which marks them in the trace.
static MARK: AtomicU64 = AtomicU64::new(0);

pub(crate) fn is_child() -> bool {
    env::var_os(CHILD).is_some()
}

/// In the child: for each variant in each case, serves requests on one thread and then on another.
pub(crate) fn serve_requests() {
    println!("{:x}", (&raw const MARK).addr());
    for case in CASES {
        for variant in Variant::ALL {
            case.run(|| serve_in_turn(subjects(variant, &case, 2)));
        }
    }
}

fn serve_in_turn(subjects: Vec<Subject>) {
    let hub = &Hub::current();
    let served = &Barrier::new(2);
    // The first thread outlives the second one. Else the second thread would get its memory.
    let end = &Barrier::new(subjects.len());
    thread::scope(|scope| {
        for mut subject in subjects {
            scope.spawn(move || {
                // The hub of each thread comes from the main hub, as in a server.
                Hub::run(Hub::new_from_top(hub).into(), || {
                    subject.serve(REQUESTS);
                    MARK.fetch_add(1, SeqCst);
                    subject.serve(REQUESTS);
                    MARK.fetch_add(1, SeqCst);
                });
                served.wait();
                end.wait();
            });
            served.wait();
        }
    });
}

/// One write of the child.
struct Access {
    address: u64,
    /// The instruction read, changed and wrote.
    modifies: bool,
}

/// The length of a cache line, in bytes.
const LINE: u64 = 64;

/// Prints the counts. Returns the writes per request to each shared cache line, for each variant in the case
/// of [`Case::GENERATE_ON`]. `None` without valgrind.
pub(crate) fn print() -> Option<Vec<Vec<f64>>> {
    if !callgrind::is_installed() {
        println!("shared writes: skipped, since valgrind is not installed");
        return None;
    }
    let mut lines = None;
    let spans = spans();
    let mut spans = spans.chunks_exact(2);
    let mut head = vec!["atomic writes"];
    head.extend(Variant::ALL.map(Variant::name));
    let mut table = Table::new(head);
    for case in CASES {
        let shared = Variant::ALL.map(|_| {
            let pair = spans.next().expect("two threads for each variant");
            shared_writes(&pair[0], &pair[1])
        });
        let mut row = vec![case.name.to_owned()];
        row.extend(shared.iter().map(|writes| {
            let count = u32::try_from(writes.len()).expect("a few writes");
            let places: HashSet<_> = writes.iter().collect();
            format!("{:.1} to {}", f64::from(count) / f64::from(REQUESTS), places.len())
        }));
        table.row(row);
        if case.name == Case::GENERATE_ON.name {
            lines = Some(shared.map(|writes| per_line(&writes)).into());
        }
    }
    table.print("Atomic writes per request to places in memory that another thread writes too");
    lines
}

/// The addresses of the shared atomic writes of `one`.
fn shared_writes(one: &[Access], other: &[Access]) -> Vec<u64> {
    let others: HashSet<u64> = other.iter().map(|access| access.address).collect();
    let shared = one.iter().filter(|access| access.modifies && others.contains(&access.address));
    shared.map(|access| access.address).collect()
}

/// The writes per request to each cache line.
fn per_line(writes: &[u64]) -> Vec<f64> {
    let mut lines = BTreeMap::<u64, f64>::new();
    for address in writes {
        *lines.entry(address / LINE).or_default() += 1.0 / f64::from(REQUESTS);
    }
    lines.into_values().collect()
}

/// The writes between each pair of marks.
fn spans() -> Vec<Vec<Access>> {
    let mut child = Command::new("valgrind")
        .args(["--tool=lackey", "--trace-mem=yes", "--log-fd=2"])
        .arg(env::current_exe().expect("a program knows its file"))
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("valgrind starts");
    let trace = child.stderr.take().expect("it is piped");
    // Reads both pipes at once. Else one pipe would be full while the other is read.
    let trace = thread::spawn(|| writes(BufReader::new(trace)));
    let mut mark = String::new();
    let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
    output.read_line(&mut mark).expect("the child prints its mark");
    let mark = u64::from_str_radix(mark.trim(), 16).expect("the mark is an address");
    let writes = trace.join().expect("the trace can be read");
    assert!(child.wait().expect("the child ends").success());

    let mut spans = Vec::new();
    let mut open: Option<Vec<Access>> = None;
    for access in writes {
        if access.address == mark {
            match open.take() {
                None => open = Some(Vec::new()),
                Some(span) => spans.push(span),
            }
        } else if let Some(span) = &mut open {
            span.push(access);
        }
    }
    spans
}

/// Reads lines such as ` M 1fff000778,8`, and skips those of loads and instructions.
fn writes(trace: impl BufRead) -> Vec<Access> {
    let parse = |line: String| {
        let modifies = line.starts_with(" M ");
        let rest = line.strip_prefix(" M ").or_else(|| line.strip_prefix(" S "))?;
        let address = u64::from_str_radix(rest.split(',').next()?, 16).ok()?;
        Some(Access { address, modifies })
    };
    trace.lines().map_while(Result::ok).filter_map(parse).collect()
}

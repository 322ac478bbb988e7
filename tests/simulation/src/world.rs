//! The state outside of the hosts: the time, the log, the ledger, and the disks of the queue and the tracker.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::faults::Fault;
use crate::ledger::Ledger;
use crate::plan::Plan;
use crate::process::Process;
use crate::queue::Shelf;

/// A handle on the state. All hosts of a run share it, and all are on one thread.
#[derive(Clone)]
pub struct World {
    pub plan: Arc<Plan>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
pub struct State {
    /// The time since the start of the run, which no jump of a host's clock changes.
    pub now: Duration,
    log: Vec<String>,
    /// The claims that do not hold.
    pub violations: Vec<String>,
    pub ledger: Ledger,
    /// The disk of the queue, which survives a crash.
    pub shelf: Shelf,
    /// The faults that were injected, with their times.
    pub faults: Vec<Window>,
    /// The jumps of the clocks that the hosts have yet to make.
    pub jumps: BTreeMap<&'static str, Duration>,
    /// The services that run.
    pub alive: BTreeMap<&'static str, Arc<Process>>,
    /// The number of times that each host was started.
    pub starts: BTreeMap<&'static str, u32>,
}

/// The time of a fault.
pub struct Window {
    pub fault: Fault,
    pub from: Duration,
    pub to: Option<Duration>,
}

impl World {
    pub fn new(plan: Plan) -> Self {
        Self { plan: Arc::new(plan), state: Arc::default() }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no host panics while it holds the state")
    }

    /// Adds a line to the log. The line must be the same in each run of the seed.
    pub fn log(&self, host: &str, line: &str) {
        self.state().log(host, line);
    }

    /// Notes that a claim does not hold. A panic would do less, since axum catches it.
    pub fn violation(&self, violation: String) {
        let mut state = self.state();
        if state.violations.is_empty() {
            // Straight to standard error, which a test does not capture: some faults of the library abort the
            // process, and the seed must be known then.
            let _ = writeln!(io::stderr(), "seed {} fails: {violation}", self.plan.seed);
        }
        state.log("claims", &format!("VIOLATION {violation}"));
        state.violations.push(violation);
    }

    pub fn check(&self, holds: bool, claim: impl FnOnce() -> String) {
        if !holds {
            self.violation(claim());
        }
    }

    /// Counts the start of a host, and returns the number of its starts.
    pub fn start(&self, host: &'static str) -> u32 {
        let mut state = self.state();
        let starts = state.starts.entry(host).or_default();
        *starts += 1;
        let starts = *starts;
        state.log(host, &format!("starts, for the {starts}. time"));
        starts
    }

    /// Returns the log.
    pub fn lines(&self) -> Vec<String> {
        self.state().log.clone()
    }

    /// Returns a hash of the log.
    pub fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.state().log.hash(&mut hasher);
        hasher.finish()
    }
}

impl State {
    pub fn log(&mut self, host: &str, line: &str) {
        let (seconds, millis) = (self.now.as_secs(), self.now.subsec_millis());
        self.log.push(format!("{seconds:3}.{millis:03}  {host:<10}  {line}"));
    }

    /// Returns a fault that disturbed one of `hosts` at some time since `from`.
    pub fn fault_since(&self, from: Duration, hosts: &[&str]) -> Option<String> {
        let touches = |window: &&Window| {
            window.to.is_none_or(|to| to >= from)
                && hosts.iter().any(|host| window.fault.touches(host))
        };
        self.faults.iter().rev().find(touches).map(|window| window.fault.to_string())
    }
}

//! Runs one seed: steps the simulation, injects the faults, and waits until all is settled.

use std::sync::{Arc, Once};
use std::time::Duration;
use std::{panic, thread};

use sentry::integrations::panic::PanicIntegration;
use sentry::{Client, ClientOptions, Hub};
use tower_transaction_id::{TransactionId, TransactionIdScope};
use turmoil::Sim;

use crate::claims;
use crate::faults::{Fault, PlannedFault};
use crate::figures::Figures;
use crate::net::ON_PURPOSE;
use crate::plan::{HOSTS, LATENCY, Plan};
use crate::world::{Window, World};
use crate::{courier, kitchen, page, queue, storefront, tracker};

const TICK: Duration = Duration::from_millis(10);

/// The time after which a run that has not settled is a failure.
const LIMIT: Duration = Duration::from_mins(1);

/// The time for which nothing may wait any more before a run is over. It is longer than any timeout.
const REST: Duration = Duration::from_millis(2500);

/// The result of a run.
pub struct Outcome {
    pub seed: u64,
    pub violations: Vec<String>,
    pub log: Vec<String>,
    pub hash: u64,
    pub figures: Figures,
}

/// Runs a seed in a thread of its own, since thread-locals must not carry anything from one run to the next.
pub fn run(seed: u64) -> Outcome {
    run_plan(Plan::of(seed))
}

pub fn run_plan(plan: Plan) -> Outcome {
    quiet_panics();
    let seed = plan.seed;
    let world = World::new(plan);
    let of_run = world.clone();
    let run = thread::Builder::new().name(format!("seed {seed}"));
    let run = run.spawn(move || run_here(&of_run)).expect("a thread");
    // A run that panics has a log as well.
    let figures = run.join().unwrap_or_else(|_| {
        world.violation("the run panicked".to_owned());
        Figures::default()
    });
    let violations = world.state().violations.clone();
    Outcome { seed, violations, log: world.lines(), hash: world.hash(), figures }
}

fn run_here(world: &World) -> Figures {
    let mut sim = build(world);
    let ended = drive(&mut sim, world);
    if let Err(error) = ended {
        world.violation(error);
    }
    let figures = claims::check(world);
    world.state().alive.clear();
    figures
}

fn build(world: &World) -> Sim<'static> {
    let mut builder = turmoil::Builder::new();
    builder
        .rng_seed(world.plan.seed)
        .tick_duration(TICK)
        .simulation_duration(LIMIT * 2)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(LATENCY)
        .repair_rate(0.2)
        .tcp_capacity(1024);
    if world.plan.settings.random_order {
        builder.enable_random_order();
    }
    let mut sim = builder.build();
    macro_rules! host {
        ($name:literal, $run:path) => {{
            let world = world.clone();
            sim.host($name, move || $run(world.clone()));
        }};
    }
    host!("tracker", tracker::run);
    host!("queue", queue::run);
    host!("kitchen", kitchen::run);
    host!("courier", courier::run);
    host!("storefront", storefront::run);
    sim.client("page", page::run(world.clone()));
    sim
}

/// Steps the simulation until all orders are done, the faults are over, and nothing waits.
fn drive(sim: &mut Sim<'_>, world: &World) -> Result<(), String> {
    let outside = Hub::current();
    let mut planned = world.plan.faults.clone().into_iter().peekable();
    let mut active: Vec<(PlannedFault, usize)> = Vec::new();
    let mut settled_at = None;
    loop {
        let now = sim.elapsed();
        world.state().now = now;
        if now > LIMIT {
            return Err(format!("after {} s, something still waits", LIMIT.as_secs()));
        }
        active.retain(|(fault, window)| {
            let lasts = now < fault.at + fault.lasts;
            if !lasts {
                end(sim, world, &fault.fault);
                world.state().faults[*window].to = Some(now);
            }
            lasts
        });
        while let Some(fault) = planned.next_if(|fault| fault.at <= now) {
            let is_twice = |other: &(PlannedFault, usize)| conflict(&other.0.fault, &fault.fault);
            if active.iter().any(is_twice) {
                continue;
            }
            begin(sim, world, &fault.fault);
            let mut state = world.state();
            state.faults.push(Window { fault: fault.fault.clone(), from: now, to: None });
            active.push((fault, state.faults.len() - 1));
        }
        let is_over = sim.step().map_err(|error| format!("a host ended: {error}"))?;
        if TransactionId::current().is_some() || !Arc::ptr_eq(&outside, &Hub::current()) {
            return Err("the thread is left with the ID or the hub of a request".to_owned());
        }
        let is_settled = is_over && active.is_empty() && planned.peek().is_none() && {
            let state = world.state();
            state.shelf.is_empty() && state.alive.values().all(|process| process.outbox.is_empty())
        };
        match settled_at {
            _ if !is_settled => settled_at = None,
            None => settled_at = Some(now),
            Some(since) if now > since + REST => return Ok(()),
            Some(_) => {}
        }
    }
}

/// Whether two faults cannot be active at the same time: the end of the first would end both.
fn conflict(a: &Fault, b: &Fault) -> bool {
    use Fault::{Flaky, Hold, Partition};
    match (a, b) {
        (Fault::Crash(a), Fault::Crash(b)) => a == b,
        // All but slowness change the state of links.
        (Partition(..) | Hold(..) | Flaky(_), Partition(..) | Hold(..) | Flaky(_))
        | (Fault::Slow(..), Fault::Slow(..)) => true,
        _ => false,
    }
}

fn begin(sim: &mut Sim<'_>, world: &World, fault: &Fault) {
    world.log("faults", &format!("{fault} begins"));
    match fault {
        Fault::Crash(host) => {
            let process = world.state().alive.remove(host);
            if let Some(process) = &process {
                process.outbox.crash(&fault.to_string());
            }
            sim.crash(*host);
            if let Some(process) = process {
                // The drops of the crash, and the client's own batches, are lost with the process.
                process.client.flush(None);
                process.outbox.bury();
            }
        }
        Fault::Partition(a, b) => sim.partition(*a, *b),
        Fault::Hold(a, b) => sim.hold(*a, *b),
        Fault::Slow(a, b, by) => sim.set_link_max_message_latency(*a, *b, *by),
        Fault::Flaky(rate) => sim.set_fail_rate(*rate),
        Fault::Jump(host, by) => {
            world.state().jumps.insert(host, *by);
        }
    }
}

fn end(sim: &mut Sim<'_>, world: &World, fault: &Fault) {
    world.log("faults", &format!("{fault} ends"));
    match fault {
        Fault::Crash(host) => sim.bounce(*host),
        Fault::Partition(a, b) => sim.repair(*a, *b),
        Fault::Hold(a, b) => sim.release(*a, *b),
        Fault::Slow(a, b, _) => sim.set_link_max_message_latency(*a, *b, LATENCY),
        Fault::Flaky(_) => {
            sim.set_fail_rate(0.0);
            for (at, a) in HOSTS.iter().enumerate() {
                for b in &HOSTS[at + 1..] {
                    sim.repair(*a, *b);
                }
            }
        }
        Fault::Jump(host, _) => {
            world.state().jumps.remove(host);
        }
    }
}

/// Silences the panics that belong to the simulation. All panic hooks are set before the first run, since
/// a panic at the moment in which another thread wraps a hook meets std's own.
fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let other = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let text = info.payload_as_str().unwrap_or_default();
            if text != ON_PURPOSE {
                other(info);
            }
        }));
        set_hooks_of_sentry();
    });
}

/// The layers set their hook around Sentry's when a second thread uses a hub with the panic integration.
fn set_hooks_of_sentry() {
    let options = ClientOptions::new().add_integration(PanicIntegration::default());
    let hub = Arc::new(Hub::new(Some(Arc::new(Client::from(options))), Arc::default()));
    for _ in 0..2 {
        let hub = Arc::clone(&hub);
        let thread = thread::spawn(|| {
            Hub::run(hub, || drop(TransactionIdScope::new(TransactionId::generate())));
        });
        thread.join().expect("no panic");
    }
}

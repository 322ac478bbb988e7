//! CPU time per request of whole servers, over loopback sockets: `cargo bench --bench throughput`.
//!
//! Each server is a process of its own: this program again, or Node. In each round the same load goes to
//! the servers, one after the other, in an order that turns. The cost of a server is its CPU time less
//! that of the bare server of its kind in the same round. The output is the median of the rounds. The
//! bench runs on Linux only, since it reads the time of another process from the kernel.
//!
//! The servers in Node need `npm ci` in `benches/node`. Without it they are left out.

mod load;
mod servers;
#[path = "../variants/mod.rs"]
mod variants;

use load::{Load, Protocol};
use servers::{Kind, Server};
use variants::table::Table;

const ROUNDS: usize = 41;
const WARM_UP: usize = 5;

/// Servers under one kind of load. The others are compared with the first one.
struct Contest {
    title: &'static str,
    load: Load,
    kinds: Vec<Kind>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name, upstream @ ..] = &arguments[..]
        && flag == "--serve"
    {
        return servers::serve(name, upstream.first().map(String::as_str));
    }
    if !servers::can_read_cpu_time() {
        println!("throughput: skipped, since only Linux reports the CPU time of a process");
        return;
    }
    for contest in contests() {
        run(&contest);
    }
}

fn contests() -> Vec<Contest> {
    let (http1, http2) = (Protocol::Http1, Protocol::Http2);
    let load = |protocol, reads| Load { protocol, reads };
    let contest = |title, load, kinds| Contest { title, load, kinds };
    let mut contests = vec![
        contest("HTTP/1, generate", load(http1, false), Kind::RUST.to_vec()),
        contest("HTTP/1, read", load(http1, true), Kind::RUST.to_vec()),
        contest("HTTP/2, generate", load(http2, false), Kind::RUST.to_vec()),
        contest("HTTP/2, read", load(http2, true), Kind::RUST.to_vec()),
        contest(
            "HTTP/1, read, a handler that calls a service",
            load(http1, true),
            Kind::RELAY.into(),
        ),
    ];
    if servers::node_is_ready() {
        for (title, kinds) in
            [("Node, http", Kind::NODE_HTTP), ("Node, Express", Kind::NODE_EXPRESS)]
        {
            contests.push(contest(title, load(http1, true), kinds.into()));
        }
    } else {
        println!("throughput: without Node, which needs `npm ci` in benches/node");
    }
    contests
}

fn run(contest: &Contest) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime for the load");
    let mut servers: Vec<Server> = contest.kinds.iter().map(|kind| Server::start(*kind)).collect();
    let mut connections: Vec<_> = servers
        .iter()
        .map(|server| runtime.block_on(contest.load.connect(server.port())))
        .collect();
    let mut rounds = vec![Vec::new(); servers.len()];
    for round in 0..WARM_UP + ROUNDS {
        let mut times = vec![0.0; servers.len()];
        for place in 0..servers.len() {
            let number = (round + place) % servers.len();
            let before = servers[number].cpu_nanos();
            let requests = runtime.block_on(contest.load.run(&mut connections[number]));
            times[number] = (servers[number].cpu_nanos() - before) / f64::from(requests);
        }
        if round >= WARM_UP {
            for (rounds, time) in rounds.iter_mut().zip(&times) {
                rounds.push((*time, time / times[0], time - times[0]));
            }
        }
    }
    drop(connections);
    servers.iter_mut().for_each(Server::stop);

    let mut table = Table::new(["server", "us per request", "of bare", "us added"]);
    for (kind, rounds) in contest.kinds.iter().zip(rounds) {
        let time = median(rounds.iter().map(|round| round.0)) / 1000.0;
        let ratio = median(rounds.iter().map(|round| round.1));
        let added = median(rounds.iter().map(|round| round.2)) / 1000.0;
        let figures = [format!("{time:.2}"), format!("{ratio:.3}"), format!("{added:.2}")];
        let [time, ratio, added] = figures;
        table.row([kind.name().to_owned(), time, ratio, added]);
    }
    table.print(contest.title);
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

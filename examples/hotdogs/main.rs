//! A hot-dog shop, as in Sentry's guide: a page, a storefront, a kitchen and a courier, and
//! one transaction ID through all four.
//!
//! ```sh
//! cargo run --example hotdogs               # opens the shop and says where to look
//! cargo run --example hotdogs -- --once     # one failing order, its story, and an exit code
//! cargo run --example hotdogs -- --help
//! ```
//!
//! An order for the artisanal hot dog fails in the kitchen. The kitchen reports the error, the
//! storefront reports the failed call and its own failed answer, and the page reports the failed order.
//! These events of three programs belong together because they carry the same ID. The logs between the
//! events carry the ID, too. All of them share one trace, which the page begins and the services
//! continue.
//!
//! An order for the lunar hot dog succeeds, as far as the page sees. The storefront puts the delivery into
//! a queue, and the courier takes it from there and fails later, under the same ID and in the same trace.
//! The queue keeps a delivery until the courier acknowledges it: if the courier dies, the shop calls
//! another one, who delivers under the same ID.
//!
//! The files to read, in this order:
//!
//! - `storefront.rs`: the server layer, the client layer around `reqwest`, and the message to the courier
//! - `kitchen.rs`: the server layer in a process of its own, an error that is worth more than a status,
//!   and the hot dog that makes the kitchen panic
//! - `courier.rs`: a worker that takes messages from a queue, each under the ID that the message brings,
//!   and fails after the page has its answer; `queue.rs` is the queue, and NATS in its place
//! - `grill.rs`: an answer that streams, a performance transaction that ends with the last line of the
//!   answer, and the event of a customer who leaves
//! - `telemetry.rs`: the set-up of Sentry, and the choice between a breadcrumb and a log
//! - `web/shop.js`: the page, which generates the ID and begins the trace; `web/ids.js`: the ID of the page load,
//!   under which errors of the page and the first order stand
//! - `collector.rs`: a stand-in for Sentry, so that the shop needs nothing but cargo; if `SENTRY_DSN`
//!   is set, the events go to that tracker instead
//!
//! The page uses Sentry's browser SDK. `npm --prefix examples/hotdogs/web run build` puts the SDK next
//! to the page; until then the page loads the SDK from Sentry's content delivery network.

mod assets;
mod child;
mod collector;
mod courier;
mod envelope;
mod first_order;
mod grill;
mod kitchen;
mod line;
mod maker;
mod menu;
mod options;
mod queue;
mod shop;
mod storefront;
mod story;
mod telemetry;
mod terminal;
mod tunnel;

use std::process::ExitCode;

use options::Command;

fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into());
    let done = match options::parse(arguments) {
        Ok(Command::Help) => {
            print!("{}", options::HELP);
            Ok(true)
        }
        Ok(Command::Kitchen) => kitchen::run().map(|()| true),
        Ok(Command::Courier(queue)) => courier::run(&queue).map(|()| true),
        Ok(Command::Shop(options)) => shop::run(&options),
        Err(problem) => {
            eprintln!("hotdogs: {problem}\n\n{}", options::HELP);
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("hotdogs: {problem}");
            ExitCode::FAILURE
        }
    }
}

//! A hot-dog shop, as in Sentry's guide: a page, a storefront and a kitchen, and one transaction
//! ID through all three.
//!
//! ```sh
//! cargo run --example hotdogs               # opens the shop and says where to look
//! cargo run --example hotdogs -- --once     # one failing order, its story, and an exit code
//! cargo run --example hotdogs -- --help
//! ```
//!
//! An order for the artisanal hot dog fails in the kitchen. The kitchen reports that, the
//! storefront reports that its call and its answer failed, and the page reports that the order
//! failed: events of three programs, which belong together because they carry the same ID. So do
//! the logs between them. They also share one trace, which the page begins and the services continue.
//! Where to read on:
//!
//! - `storefront.rs`: the server layer, and the client layer around `reqwest`
//! - `kitchen.rs`: the server layer in a process of its own, where an error is worth more than
//!   a status, and where one hot dog panics
//! - `grill.rs`: an answer that streams, a performance transaction that ends with its last line, and
//!   what is known of a customer who left
//! - `telemetry.rs`: what becomes an event, a breadcrumb or a log
//! - `web/shop.js`: the page, which generates the ID and begins the trace
//! - `collector.rs`: a stand-in for Sentry, so that nothing but cargo is needed; set `SENTRY_DSN`
//!   and the events go there instead
//!
//! The page uses Sentry's browser SDK. `npm --prefix examples/hotdogs/web run build` puts it next
//! to the page; until then the page asks Sentry's content delivery network for it.

mod assets;
mod collector;
mod envelope;
mod first_order;
mod grill;
mod kitchen;
mod kitchen_process;
mod menu;
mod options;
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

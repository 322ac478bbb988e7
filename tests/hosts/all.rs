//! The same claims on each host: on each framework that serves with the server layer, and on each client that
//! calls with the client layer. `cargo hosts` runs them. The name of a test is its host and its claim.

mod clients;
mod guide;
mod kitchen;
mod sentry;
mod servers;
mod shop;
mod trial;
mod wire;

use std::panic;
use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    // The test of Lambda starts this program again, as its function.
    if servers::run_function() {
        return ExitCode::SUCCESS;
    }
    let show = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str() != Some(shop::PANIC) {
            show(panic);
        }
    }));
    let mut trials = servers::trials();
    trials.extend(clients::trials());
    trials.extend(guide::trials());
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

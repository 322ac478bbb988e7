//! Instructions per request: `cargo bench --bench instructions`. Needs valgrind.
//!
//! With the name of a case and of a variant, such as `-- "generate, on" ours`, it writes the profile of
//! this subject for `callgrind_annotate`.

mod variants;

use variants::{Case, callgrind, report, sentry_client};

fn main() {
    if !callgrind::is_installed() {
        println!("instructions: skipped, since valgrind is not installed");
        return;
    }
    // Cargo adds its own argument.
    let names: Vec<String> = std::env::args().skip(1).filter(|name| name != "--bench").collect();
    if callgrind::is_child() {
        let _sentry = sentry_client::init();
        print(callgrind::count);
    } else if names.is_empty() {
        let mut counts = callgrind::counts().into_iter();
        print(|_, _| counts.next().expect("one profile for each subject").round());
    } else {
        let profile = callgrind::profile(&names.join(" "));
        println!("callgrind_annotate --auto=no --tree=both {}", profile.display());
    }
}

/// Runs in the child and again in its parent, since the counts come in the order of the calls.
fn print(mut measure: impl report::Measure) {
    let frames = [Case::FRAMES_ON, Case::FRAMES_OFF];
    let cases: Vec<Case> = Case::MAIN.into_iter().chain(Case::SIX).chain(frames).collect();
    report::print("instructions", &cases, &mut measure);
    report::print_transactions("instructions", &mut measure);
    report::print_http2("instructions", measure);
}

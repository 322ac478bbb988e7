//! Instructions per request: `cargo bench --bench instructions`. Needs valgrind.
//!
//! With the name of a case and a variant, such as `-- "mint, on" ours`, it leaves the profile of
//! that one in `target/callgrind.out`.

mod variants;

use std::path::Path;

use variants::callgrind;
use variants::client::ClientCase;
use variants::table::Table;
use variants::{Case, Variant, sentry_client, subject};

fn cases() -> impl Iterator<Item = Case> {
    Case::MAIN.into_iter().chain([Case::FRAMES_ON, Case::FRAMES_OFF])
}

/// Makes the subjects in the order in which [`report`] reads the counts.
fn run_all() {
    let _sentry = sentry_client::init();
    for case in cases() {
        for variant in Variant::ALL {
            let name = format!("{} {}", case.name, variant.name());
            case.run(|| callgrind::count(&name, &mut subject(variant, &case)));
        }
    }
    for case in ClientCase::ALL {
        for with_layer in [false, true] {
            let name = format!("{} {}", case.name, if with_layer { "ours" } else { "bare" });
            case.run(|| callgrind::count(&name, &mut case.subject(with_layer)));
        }
    }
}

fn report() {
    let mut counts = callgrind::instructions().into_iter();
    let mut next = || counts.next().expect("one profile for each subject");
    let mut head = vec!["instructions added".to_owned()];
    head.extend(Variant::ALL.map(|variant| variant.name().to_owned()));
    let mut table = Table::new(head);
    for case in cases() {
        let bare = next();
        let mut row = vec![case.name.to_owned(), format!("({bare:.0})")];
        row.extend(Variant::ALL[1..].iter().map(|_| format!("{:.0}", next() - bare)));
        table.row(row);
    }
    table.print("Server: instructions over bare (of bare itself in brackets)");
    let mut table = Table::new(["instructions added", "bare", "ours"]);
    for case in ClientCase::ALL {
        let bare = next();
        let ours = next() - bare;
        table.row([case.name.to_owned(), format!("({bare:.0})"), format!("{ours:.0}")]);
    }
    table.print("Client layer: instructions over bare");
}

fn main() {
    if callgrind::is_child() {
        return run_all();
    }
    if !callgrind::is_installed() {
        println!("instructions: skipped, since valgrind is not installed");
        return;
    }
    // Cargo adds an argument of its own.
    let names: Vec<String> = std::env::args().skip(1).filter(|name| name != "--bench").collect();
    if names.is_empty() {
        report();
    } else {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/callgrind.out");
        callgrind::profile(&names.join(" "), &file);
        println!("callgrind_annotate --auto=no --tree=both {}", file.display());
    }
}

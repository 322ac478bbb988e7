//! Instructions, counted by valgrind's callgrind.
//!
//! The program runs itself under valgrind, which collects inside [`measured_by_callgrind`] only, and
//! writes one profile each time that the function returns. This needs little code. A harness such as
//! gungraun needs an installed runner of exactly its version, and the counts of `cargo test` have to
//! work from a clean clone.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Subject;

/// Set in the child, to the name of the subject that it runs. If it is empty, the child runs all.
const CHILD: &str = "TRANSACTION_ID_UNDER_CALLGRIND";
/// Requests before the count, which create things such as the thread's random generator.
const WARM_UP: u32 = 100;
/// Enough requests to spread rare work, such as a new seed for that generator.
const REQUESTS: u32 = 1000;

/// Whether this process is the child, whose instructions are counted.
pub(crate) fn is_child() -> bool {
    env::var_os(CHILD).is_some()
}

pub(crate) fn is_installed() -> bool {
    let valgrind = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    valgrind.is_ok_and(|status| status.success())
}

/// In the child: runs the counted work. The parent finds the figure.
pub(crate) fn count(name: &str, subject: &mut Subject) -> f64 {
    let wanted = env::var(CHILD).unwrap_or_default();
    if wanted.is_empty() || wanted == name {
        subject.serve(WARM_UP);
        measured_by_callgrind(subject, REQUESTS);
    }
    0.0
}

#[inline(never)]
fn measured_by_callgrind(subject: &mut Subject, requests: u32) {
    subject.serve(requests);
}

/// In the parent: instructions per request of each [`count`] that the child makes, in order.
pub(crate) fn counts() -> Vec<f64> {
    let folder = a_place(&format!("callgrind-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder for the profiles");
    // The pattern differs from the other option's, since callgrind keeps one of two equal patterns.
    run_child("", &folder.join("profile"), &["--dump-after=*ured_by_callgrind*"]);
    let counts = in_order(&folder).iter().map(|profile| total(profile)).collect();
    let _ = fs::remove_dir_all(&folder);
    counts
}

/// In the parent: the profile of one subject.
pub(crate) fn profile(name: &str) -> PathBuf {
    let file = a_place("callgrind.out");
    run_child(name, &file, &[]);
    file
}

fn a_place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn run_child(name: &str, file: &Path, options: &[&str]) {
    let program = env::current_exe().expect("a program knows its file");
    let status = Command::new("valgrind")
        .args(["--quiet", "--tool=callgrind", "--collect-atstart=no"])
        // Wild cards, since Rust mangles names in two ways.
        .arg("--toggle-collect=*measured_by_callgrind*")
        .arg(format!("--callgrind-out-file={}", file.display()))
        .args(options)
        .arg(program)
        .env(CHILD, name)
        .stdout(Stdio::null())
        .status()
        .expect("valgrind starts");
    assert!(status.success(), "valgrind ended with {status}");
}

/// `profile.1`, `profile.2` and so on. `profile` itself has the work that was not measured.
fn in_order(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).expect("the profiles are there");
    let mut profiles: Vec<(u32, PathBuf)> = files
        .filter_map(|file| {
            let path = file.ok()?.path();
            let number = path.extension().and_then(OsStr::to_str)?.parse().ok()?;
            Some((number, path))
        })
        .collect();
    profiles.sort();
    profiles.into_iter().map(|(_, path)| path).collect()
}

fn total(profile: &Path) -> f64 {
    let profile = fs::read_to_string(profile).expect("a profile is text");
    let total = profile.lines().find_map(|line| line.strip_prefix("totals: "));
    let total: f64 = total.and_then(|total| total.parse().ok()).expect("a profile has a total");
    total / f64::from(REQUESTS)
}

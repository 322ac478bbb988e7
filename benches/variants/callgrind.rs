//! Instructions, counted by valgrind's callgrind.
//!
//! No harness from elsewhere: gungraun, the maintained one, needs a runner of exactly its version
//! installed beside it, and a count that guards `cargo test` has to work from a clean clone. What
//! is left to do is little: the program runs itself under valgrind, which collects inside
//! [`measured_by_callgrind`] only, and writes one profile for each time that it is left.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Subject;

/// Set in the child: to the one subject that it is to run, or to nothing for all.
const CHILD: &str = "TRANSACTION_ID_UNDER_CALLGRIND";
/// Before counting: what is made once, such as the thread's random generator.
const WARM_UP: u32 = 100;
/// Enough to spread what happens now and then, such as a new seed for that generator.
const REQUESTS: u32 = 1000;

/// Whether this process is the one to be counted.
pub(crate) fn is_child() -> bool {
    env::var_os(CHILD).is_some()
}

pub(crate) fn is_installed() -> bool {
    let valgrind = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    valgrind.is_ok_and(|status| status.success())
}

/// In the child: the work that is counted. The figure is found by the parent.
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
    // Of two options with one pattern, callgrind keeps one: hence two spellings.
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
        // Wild cards, since there are two ways in which Rust mangles names.
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

/// `profile.1`, `profile.2` and so on. `profile` itself holds what was not measured.
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

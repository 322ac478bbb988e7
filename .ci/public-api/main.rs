//! Compares the public API of the library, with all features, with `tests/public-api.txt`.
//!
//! From the top of the repository, `cargo api` compares, and `API=write cargo api` rewrites the file.
//! The list leaves out blanket and auto traits, and has derived traits: whether a scope is `Clone`, for
//! example, is a decision. The list has no defaults of type parameters: `tests/downstream` checks these.

use std::collections::HashSet;
use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use rustdoc_types::{ItemEnum, Visibility};

const LIBRARY: &str = "tower_transaction_id";
const SNAPSHOT: &str = "tests/public-api.txt";
/// Each item at the root has to earn its place there.
const AT_THE_ROOT: usize = 24;
/// Set where cargo runs this program in place of rustdoc.
const AS_RUSTDOC: &str = "CHECK_PUBLIC_API_AS_RUSTDOC";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let checked = if env::var_os(AS_RUSTDOC).is_some() { run_rustdoc() } else { check() };
    checked.map_or_else(
        |error| {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn check() -> Result<()> {
    let json = write_json()?;
    let root = items_at_the_root(&fs::read_to_string(&json)?)?;
    if root.len() > AT_THE_ROOT {
        return Err(format!(
            "{} items at the root of the crate, where {AT_THE_ROOT} are allowed: {}",
            root.len(),
            root.join(", ")
        )
        .into());
    }
    let api = public_api::Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .build()?
        .to_string();
    if env::var_os("API").is_some_and(|value| value == "write") {
        fs::write(SNAPSHOT, &api)?;
    }
    let expected = fs::read_to_string(SNAPSHOT)
        .map_err(|error| format!("{SNAPSHOT}: {error}; `API=write cargo api` writes it"))?;
    if expected != api {
        print_difference(&expected, &api);
        return Err(format!(
            "the public API is not the one of {SNAPSHOT}: if it should change, run `API=write cargo \
             api`, and commit the file with the change"
        )
        .into());
    }
    println!(
        "{} lines, and at the root {} items: {}",
        api.lines().count(),
        root.len(),
        root.join(", ")
    );
    Ok(())
}

/// Has rustdoc write the API as JSON; returns the file.
fn write_json() -> Result<PathBuf> {
    let this = env::current_exe()?;
    // Cargo's own, so that the dependencies are not built anew.
    let target = this.ancestors().nth(2).ok_or("this program lies in no target directory")?;
    let file = target.join("doc").join(LIBRARY).with_extension("json");
    let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["rustdoc", "--locked", "--quiet", "--lib", "--all-features", "--target-dir"])
        .arg(target)
        .args(["--", "-Zunstable-options", "--output-format=json", "--cap-lints=allow"])
        .env("RUSTDOC", &this)
        .env(AS_RUSTDOC, env::var_os("RUSTDOC").unwrap_or_else(|| "rustdoc".into()))
        .env_remove("RUSTDOCFLAGS")
        .status()?;
    if !status.success() {
        return Err("cargo rustdoc failed, for the reason above".into());
    }
    Ok(file)
}

/// Runs rustdoc with the unstable options of a stable compiler. In the environment of cargo itself,
/// `RUSTC_BOOTSTRAP` would have many dependencies built anew, here and in what runs next.
fn run_rustdoc() -> Result<()> {
    let rustdoc: OsString = env::var_os(AS_RUSTDOC).unwrap_or_default();
    let status = Command::new(rustdoc)
        .args(env::args_os().skip(1))
        .env("RUSTC_BOOTSTRAP", "1")
        .env_remove("RUSTDOC")
        .env_remove(AS_RUSTDOC)
        .status()?;
    if status.success() { Ok(()) } else { Err("rustdoc failed".into()) }
}

/// Returns the names of the public items at the root of the crate; a module counts as one.
fn items_at_the_root(json: &str) -> Result<Vec<String>> {
    let version: serde_json::Value = serde_json::from_str(json)?;
    let format = &version["format_version"];
    if *format != rustdoc_types::FORMAT_VERSION {
        return Err(format!(
            "this rustdoc writes JSON of format {format}, and public-api reads {}: use the Rust of \
             .ci/rust-version, or set versions in .ci/public-api/Cargo.toml that read the other",
            rustdoc_types::FORMAT_VERSION,
        )
        .into());
    }
    let library: rustdoc_types::Crate = serde_json::from_value(version)?;
    let ItemEnum::Module(root) = &library.index[&library.root].inner else {
        return Err("the root of the crate is no module".into());
    };
    let items = root.items.iter().filter_map(|id| library.index.get(id));
    let public = items.filter(|item| item.visibility == Visibility::Public);
    let mut names: Vec<_> = public
        .filter_map(|item| match &item.inner {
            ItemEnum::Use(item) => Some(item.name.clone()),
            _ => item.name.clone(),
        })
        .collect();
    names.sort();
    Ok(names)
}

fn print_difference(expected: &str, api: &str) {
    let (old, new): (HashSet<_>, HashSet<_>) = (expected.lines().collect(), api.lines().collect());
    for line in expected.lines().filter(|line| !new.contains(line)) {
        println!("-{line}");
    }
    for line in api.lines().filter(|line| !old.contains(line)) {
        println!("+{line}");
    }
}

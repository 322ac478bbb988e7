//! The page of the guide shows the hosts that are tested, and the code that is.

use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::Trial;

use crate::trial::trial;

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = here().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn page() -> String {
    read("../../src/guide/hosts.md")
}

/// The files of the hosts.
fn files() -> Vec<PathBuf> {
    let folders = ["servers", "clients"].map(|folder| fs::read_dir(here().join(folder)).unwrap());
    let files = folders.into_iter().flatten().map(|file| file.unwrap().path());
    let is_host = |file: &PathBuf| read(file).contains(" Host for ");
    files.filter(is_host).collect()
}

pub(crate) fn trials() -> Vec<Trial> {
    let code = "the_code_of_the_page_is_tested_code";
    let rows = "each_host_is_a_row_of_the_page_with_its_version";
    vec![
        trial(&format!("guide::{code}"), code, &[], async || check_code()),
        trial(&format!("guide::{rows}"), rows, &[], async || check_rows()),
    ]
}

/// Each block is a part of the file of a host, line by line.
fn check_code() {
    let page = page();
    let blocks: Vec<_> = page
        .split("\n```rust,ignore\n")
        .skip(1)
        .map(|rest| rest.split("\n```\n").next().unwrap_or_default())
        .collect();
    assert!(blocks.len() >= 3, "{blocks:?}");
    let sources: Vec<_> = files().iter().map(read).collect();
    for block in blocks {
        assert!(sources.iter().any(|source| source.contains(block)), "no host has {block}");
    }
}

/// A row starts with the name and the version of a crate, and the name of its file.
fn check_rows() {
    let page = page();
    let lock = read("Cargo.lock");
    let rows: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("| ")).collect();
    let rows: Vec<_> = rows.into_iter().filter(|row| row.contains(".rs`")).collect();
    let files = files();
    assert_eq!(rows.len(), files.len());
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let folder = file.parent().unwrap().file_name().unwrap().to_str().unwrap();
        let cell = format!("| [`{name}`][{folder}/{name}] |");
        let link = format!("\n[{folder}/{name}]: ../../tests/hosts/{folder}/{name}\n");
        assert!(page.contains(&link), "{folder}/{name} has no link");
        let rows: Vec<_> = rows.iter().filter(|row| row.contains(&cell)).collect();
        assert!(!rows.is_empty(), "{name} is no row");
        for row in rows {
            let (host, _) = row.split_once(" |").unwrap();
            let (name, version) = host.split_once(' ').unwrap();
            let locked = format!("name = \"{name}\"\nversion = \"{version}.");
            assert!(lock.contains(&locked), "{host} is not the version of Cargo.lock");
        }
    }
}

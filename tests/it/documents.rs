//! The documents match the code, and each other.

use std::env::consts::EXE_SUFFIX;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The code blocks of a document: the language of each, with rustdoc's attributes, and its lines.
fn blocks(document: &str) -> Vec<(&str, Vec<&str>)> {
    let mut blocks = Vec::new();
    let mut open: Option<(&str, Vec<&str>)> = None;
    for line in document.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(language), None) => open = Some((language, Vec::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some((_, lines))) => lines.push(line),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block has no end");
    blocks
}

/// The pages of the guide, as paths from the top of the repository.
fn pages() -> Vec<String> {
    let files = fs::read_dir(root().join("src/guide")).unwrap().map(|file| file.unwrap().path());
    let pages = files.filter(|file| file.extension().is_some_and(|extension| extension == "md"));
    pages.map(|page| page.strip_prefix(root()).unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn each_test_that_security_names_exists() {
    let security = read("SECURITY.md");
    // Between backticks, in lower case: `module::test`.
    let code = security.split('`').skip(1).step_by(2);
    let tests: Vec<_> = code
        .filter_map(|code| code.split_once("::"))
        .filter(|(module, _)| module.starts_with(|c: char| c.is_ascii_lowercase()))
        .collect();
    assert!(tests.len() > 10, "{tests:?}");
    for (module, test) in tests {
        let file = fs::read_to_string(root().join("tests/it").join(format!("{module}.rs")));
        let is_there = file.is_ok_and(|file| file.contains(&format!("fn {test}(")));
        assert!(is_there, "{module}::{test}");
    }
}

#[test]
fn the_readme_is_short_and_shows_whole_programs() {
    let readme = read("README.md");
    assert!(readme.lines().count() <= 150, "{} lines", readme.lines().count());

    let code = shown_code(&readme);
    assert!(code.iter().any(|code| {
        ["fn main()", "sentry::init(", ".hub(Hub::main())"].iter().all(|part| code.contains(part))
    }));
}

#[test]
fn the_recipes_for_machines_show_all_their_code() {
    let recipes = read("llms.txt");
    assert_eq!(shown_code(&recipes).len(), recipes.matches("\n## Recipe ").count());
}

/// The Rust code of a document that rustdoc compiles as the reader sees it, and that uses each crate
/// of the first list of dependencies.
fn shown_code(document: &str) -> Vec<String> {
    let blocks = blocks(document);
    let rust: Vec<_> = blocks.iter().filter(|(language, _)| language.starts_with("rust")).collect();
    for (language, lines) in &rust {
        // rustdoc compiles a line that starts with `# `, and does not show the line to the reader.
        let hidden = lines.iter().find(|line| line.trim() == "#" || line.trim().starts_with("# "));
        assert_eq!(hidden, None);
        let is_compiled = matches!(*language, "rust" | "rust,no_run" | "rust,test_harness");
        assert!(is_compiled, "{language} is not compiled");
    }
    let code: Vec<_> = rust.iter().map(|(_, lines)| lines.join("\n")).collect();
    let all_code = code.concat();
    let (_, dependencies) = blocks.iter().find(|(language, _)| *language == "toml").unwrap();
    for line in dependencies {
        let Some((name, _)) = line.split_once(" =") else { continue };
        let name = name.replace('-', "_");
        assert!(all_code.contains(&format!("{name}::")), "no code uses {name}");
    }
    code
}

#[test]
fn the_readme_shows_the_output_of_the_demo() {
    let readme = read("README.md");
    let blocks = blocks(&readme);
    let (_, shown) = blocks.iter().find(|(_, lines)| lines[0].starts_with("Story ")).unwrap();
    assert_eq!(shown.len(), 8);

    let printed = demo();
    let mut printed_shapes = printed.lines().map(shape);
    // The README leaves out some lines, and keeps the order of the others.
    for line in shown {
        assert!(printed_shapes.any(|other| other == shape(line)), "no {line:?} in {printed}");
    }
}

/// The output of `cargo run --example hotdogs -- --once`.
fn demo() -> String {
    // `cargo test` has built the demo. A nested cargo would build it again for a sanitizer's target.
    let tests = std::env::current_exe().unwrap();
    let built: PathBuf = tests.ancestors().nth(2).unwrap().join("examples");
    let built = built.join(format!("hotdogs{EXE_SUFFIX}"));
    let mut command = if built.exists() {
        Command::new(built)
    } else {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["run", "--quiet", "--example", "hotdogs", "--"]).env_remove("RUSTFLAGS");
        cargo
    };
    command.current_dir(root()).arg("--once").env("NO_COLOR", "1").env_remove("SENTRY_DSN");
    let output = command.output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    printed
}

/// A line of the demo without its ID, times and ports.
fn shape(line: &str) -> String {
    let is_id = |word: &&str| word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let words: Vec<_> =
        line.split(' ').map(|word| if is_id(&word) { "ID" } else { word }).collect();
    let mut shape = words.join(" ").replace(|c: char| c.is_ascii_digit(), "0");
    while shape.contains("00") {
        shape = shape.replace("00", "0");
    }
    shape
}

#[test]
fn each_page_of_the_guide_is_compiled_and_short() {
    let guide = read("src/guide/mod.rs");
    let (readme, for_machines) = (read("README.md"), read("llms.txt"));
    let pages = pages();
    assert!(pages.len() > 10, "{pages:?}");
    for path in pages {
        let name = path.rsplit_once('/').unwrap().1;
        assert!(guide.contains(&format!("include_str!(\"{name}\")")), "{name} is no module");
        assert!(readme.contains(&path), "{path} is not in the README");
        assert!(for_machines.contains(&path), "{path} is not in llms.txt");
        let page = read(&path);
        assert!(page.starts_with("# "), "{path}");
        // The definitions of its links are not read.
        let is_read = |line: &&str| !(line.starts_with('[') && line.contains("]: "));
        let lines = page.lines().filter(is_read).count();
        assert!(lines <= 125, "{path} has {lines} lines");
    }
}

#[test]
fn the_guide_shows_the_configurations_of_proxies_that_the_run_tests() {
    let shown = ["src/guide/proxies.md", "src/guide/envoy.md"].map(read);
    let mut shown: Vec<_> =
        shown.iter().flat_map(|page| blocks(page)).map(|(_, lines)| lines.join("\n")).collect();
    let files = fs::read_dir(root().join("tests/e2e/proxies")).unwrap();
    let mut tested: Vec<_> = files
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap().trim_end().to_owned())
        .collect();
    assert_eq!(tested.len(), 5);
    shown.sort();
    tested.sort();
    assert_eq!(shown, tested);
}

#[test]
fn the_readme_has_the_figures_of_the_table() {
    let table = read("benches/README.md");
    let row = |start: &str| -> Vec<String> {
        let row = table.lines().find(|line| line.starts_with(start)).expect(start);
        row.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let (names, figures) = (row("| added nanoseconds "), row("| read, on "));
    let micros = |name: &str| {
        let at = names.iter().position(|other| other == name).expect(name);
        format!("{:.1} µs", figures[at].parse::<f64>().unwrap() / 1000.0)
    };
    let cost = format!("{} of CPU time in place of {}", micros("full"), micros("peer"));
    assert!(read("README.md").contains(&cost), "{cost}");
}

#[test]
fn links_between_documents_lead_to_files() {
    let others = [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "RELEASING.md",
        "SECURITY.md",
        "benches/README.md",
        "examples/README.md",
        "llms.txt",
        "tests/README.md",
        "tests/conformance/README.md",
        "tests/coverage.md",
        "tests/e2e/README.md",
    ];
    let mut links = 0;
    for path in others.into_iter().map(str::to_owned).chain(pages()) {
        let document = read(&path);
        let prose: Vec<_> = document.split("```").step_by(2).collect();
        let prose = prose.concat();
        let inline = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        let defined = prose.split("]: ").skip(1).filter_map(|rest| rest.split_once('\n'));
        let images = ["src=\"", "srcset=\""].into_iter().flat_map(|attribute| {
            prose.split(attribute).skip(1).filter_map(|rest| rest.split_once('"'))
        });
        for (target, _) in inline.chain(defined).chain(images) {
            let file = target.split('#').next().unwrap();
            if file.is_empty() || file.contains("://") {
                continue;
            }
            let place = root().join(&path).parent().unwrap().join(file);
            assert!(place.exists(), "{path} links to {target}");
            links += 1;
        }
    }
    assert!(links > 20, "{links}");
}

//! What the documents promise is there.

use std::fs;
use std::path::Path;

#[test]
fn each_test_that_security_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let security = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    // Between backticks, in lower case: `module::test`.
    let code = security.split('`').skip(1).step_by(2);
    let tests: Vec<_> = code
        .filter_map(|code| code.split_once("::"))
        .filter(|(module, _)| module.starts_with(|c: char| c.is_ascii_lowercase()))
        .collect();
    assert!(tests.len() > 10, "{tests:?}");
    for (module, test) in tests {
        let file = fs::read_to_string(root.join("tests/it").join(format!("{module}.rs")));
        let is_there = file.is_ok_and(|file| file.contains(&format!("fn {test}(")));
        assert!(is_there, "{module}::{test}");
    }
}

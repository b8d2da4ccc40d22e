//! Tests that documents name, as `module::name` or as a whole module.

use std::path::Path;

/// Whether a test or a module of tests with this name exists.
pub fn exists(name: &str) -> bool {
    let parts: Vec<_> = name.split("::").collect();
    let (last, module) = parts.split_last().unwrap();
    source(&parts).is_some()
        || source(module).is_some_and(|text| text.contains(&format!("fn {last}(")))
}

/// Whether a test with this name exists: a function with `#[test]` or `#[tokio::test]`, or with
/// `#[rstest]`, which is `#[test]` for one that is not asynchronous.
pub fn is_test(name: &str) -> bool {
    let parts: Vec<_> = name.split("::").collect();
    let Some((last, module)) = parts.split_last() else {
        return false;
    };
    let Some(text) = source(module) else {
        return false;
    };
    let function = format!("fn {last}(");
    let mut before = match text.split_once(&function) {
        None => return false,
        Some((before, _)) => before.lines().rev(),
    };
    // The line of the function itself, then its attributes.
    before.next();
    let attributes = before.take_while(|line| !line.trim().is_empty() && line.trim() != "}");
    let is_test =
        |line: &str| ["#[test]", "#[rstest]"].contains(&line) || line.starts_with("#[tokio::test");
    attributes.map(str::trim).any(is_test)
}

/// The source of a module of these tests, or of the crate.
fn source(path: &[&str]) -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = path.strip_suffix(&["tests"]).unwrap_or(path).join("/");
    ["tests/api", "src"]
        .iter()
        .flat_map(|start| {
            [
                format!("{start}/{path}.rs"),
                format!("{start}/{path}/mod.rs"),
            ]
        })
        .find_map(|file| std::fs::read_to_string(root.join(file)).ok())
}

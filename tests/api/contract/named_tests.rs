//! Tests that documents name, as `module::name` or as a whole module.

use std::path::Path;

/// Whether a test or a module of tests with this name exists.
pub fn exists(name: &str) -> bool {
    let parts: Vec<_> = name.split("::").collect();
    let (last, module) = parts.split_last().unwrap();
    source(&parts).is_some()
        || source(module).is_some_and(|text| text.contains(&format!("fn {last}(")))
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

use std::path::Path;

/// The tests and test modules that the page names: its code spans that contain `::`.
fn named() -> Vec<&'static str> {
    include_str!("../../../docs/security.md")
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|text| text.contains("::") && !text.contains(['/', ' ', '\n']))
        .collect()
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

#[test]
fn every_test_that_the_security_page_names_exists() {
    let named = named();
    assert!(named.len() > 50, "{} names", named.len());

    for name in named {
        let parts: Vec<_> = name.split("::").collect();
        let (last, module) = parts.split_last().unwrap();
        let exists = source(&parts).is_some()
            || source(module).is_some_and(|text| text.contains(&format!("fn {last}(")));
        assert!(
            exists,
            "docs/security.md names {name}, which does not exist"
        );
    }
}

#[test]
fn every_row_of_its_table_names_a_test() {
    let page = include_str!("../../../docs/security.md");
    let (_, table) = page
        .split_once("| requirement | how | shown by |\n|---|---|---|\n")
        .unwrap();
    let lines: Vec<_> = table.lines().filter(|line| line.starts_with('|')).collect();
    assert!(lines.len() > 30);

    for line in lines {
        let shown_by = line.trim_end_matches('|').rsplit('|').next().unwrap();
        assert!(shown_by.contains("::"), "{line}");
    }
}

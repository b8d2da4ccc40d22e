use super::named_tests::exists;

/// The tests and test modules that the page names: its code spans that contain `::`.
fn named() -> Vec<&'static str> {
    include_str!("../../../docs/security.md")
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|text| text.contains("::") && !text.contains(['/', ' ', '\n']))
        .collect()
}

#[test]
fn every_test_that_the_security_page_names_exists() {
    let named = named();
    assert!(named.len() > 50, "{} names", named.len());

    for name in named {
        assert!(
            exists(name),
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

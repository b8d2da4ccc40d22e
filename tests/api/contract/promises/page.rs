use super::{operations, security};
use crate::contract::named_tests::is_test;

/// The beginning of a paragraph, of an item of a list, or of the first cell of a row; and the tests
/// that show what it promises.
pub type Promise = (&'static str, &'static [&'static str]);

/// A page of which every paragraph, item and row is a promise with tests, or advice.
struct Page {
    text: &'static str,
    /// Sections that other tests compare with their tests.
    others: &'static [&'static str],
    /// In the order of the page.
    promises: &'static [Promise],
    /// Beginnings of what promises nothing: introductions, and what an operator should do.
    advice: &'static [&'static str],
}

const SECURITY: Page = Page {
    text: include_str!("../../../../docs/security.md"),
    // `security_page.rs`
    others: &["OWASP ASVS 5.0, level 2"],
    promises: &security::PROMISES,
    advice: &security::ADVICE,
};

const OPERATIONS: Page = Page {
    text: include_str!("../../../../docs/operations.md"),
    // `fault_table.rs`
    others: &["Failures"],
    promises: &operations::PROMISES,
    advice: &operations::ADVICE,
};

/// The paragraphs, items and first cells of a page, without headings and code.
fn blocks(page: &Page) -> Vec<String> {
    let (mut blocks, mut is_code, mut is_listed) = (Vec::<String>::new(), false, true);
    let (mut continues, mut table_line) = (false, 0);
    for line in page.text.lines() {
        is_code ^= line.starts_with("```");
        let is_row = line.starts_with('|');
        table_line = if is_row { table_line + 1 } else { 0 };
        if let Some(heading) = line.strip_prefix('#') {
            let heading = heading.trim_start_matches('#').trim();
            is_listed = !page.others.contains(&heading);
        }
        let is_text = !is_code
            && !line.starts_with("```")
            && !line.starts_with('#')
            && !line.starts_with("    ")
            && !line.trim().is_empty();
        if !is_listed || !is_text {
            continues = false;
        } else if is_row {
            // The first two lines of a table are its head.
            if table_line > 2 {
                blocks.push(line.split('|').nth(1).unwrap_or_default().trim().to_owned());
            }
            continues = false;
        } else if let Some(item) = item(line) {
            blocks.push(item.to_owned());
            continues = true;
        } else if let (true, Some(last)) = (continues, blocks.last_mut()) {
            last.push(' ');
            last.push_str(line.trim());
        } else {
            blocks.push(line.trim().to_owned());
            continues = true;
        }
    }
    blocks
}

/// The text of a line that begins an item of a list.
fn item(line: &str) -> Option<&str> {
    let numbered = line.trim_start_matches(|c: char| c.is_ascii_digit());
    line.strip_prefix("- ")
        .or_else(|| numbered.strip_prefix(". ").filter(|_| numbered != line))
}

/// What is missing: promises without an entry, entries without a promise, and names of no test.
fn faults(page: &Page) -> Vec<String> {
    let mut faults = Vec::new();
    let (mut promises, mut advice) = (page.promises.iter().peekable(), page.advice.to_vec());
    for block in blocks(page) {
        if let Some(known) = advice.iter().position(|start| block.starts_with(start)) {
            advice.remove(known);
        } else if promises
            .next_if(|(start, _)| block.starts_with(start))
            .is_none()
        {
            faults.push(format!("no entry, or in another order: {block}"));
        }
    }
    faults.extend(promises.map(|(start, _)| format!("the page has no {start:?} any more")));
    faults.extend(
        advice
            .iter()
            .map(|start| format!("the page has no {start:?} any more")),
    );
    for (start, tests) in page.promises {
        if tests.is_empty() {
            faults.push(format!("{start:?} has no test"));
        }
        let missing = tests.iter().filter(|name| !is_test(name));
        faults.extend(missing.map(|name| format!("{start:?}: {name} is no test")));
    }
    faults
}

#[test]
fn every_promise_about_security_has_a_test() {
    assert_eq!(faults(&SECURITY), Vec::<String>::new());
}

#[test]
fn every_promise_to_operators_has_a_test() {
    assert_eq!(faults(&OPERATIONS), Vec::<String>::new());
}

#[test]
fn a_promise_without_an_entry_and_an_entry_without_a_test_are_found() {
    let page = |promises: &'static [Promise]| Page {
        text: "# A\n\nOne\ntwo.\n\n| head |\n|---|\n| row | x |\n\n- item\n\n# B\n\nOther.\n",
        others: &["B"],
        promises,
        advice: &["item"],
    };
    const THIS: &str = "contract::promises::page::a_promise_without_an_entry_and_an_entry_without_a_test_are_found";

    assert_eq!(
        faults(&page(&[("One two", &[THIS]), ("row", &[THIS])])),
        Vec::<String>::new()
    );
    assert_eq!(faults(&page(&[("One two", &[THIS])])).len(), 1);
    assert_eq!(
        faults(&page(&[
            ("One", &[THIS]),
            ("row", &[THIS]),
            ("gone", &[THIS])
        ]))
        .len(),
        1
    );
    assert_eq!(
        faults(&page(&[
            ("One", &[]),
            ("row", &["contract::promises::page::faults"])
        ]))
        .len(),
        2
    );
}

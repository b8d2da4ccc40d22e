//! The layers of `src/lib.rs`, enforced: imports point down its map, and no two files
//! import each other.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod imports;
mod source;

use std::collections::{BTreeMap, BTreeSet};

use imports::imports;
use source::Source;

/// The modules of the map in `src/lib.rs`, from top to bottom.
fn modules(map: &str) -> Vec<&str> {
    let rows = map.lines().filter_map(|line| line.strip_prefix("//! | [`"));
    rows.map(|row| row.split_once('`').unwrap().0).collect()
}

/// Each import between two files of the crate, as `(importer, imported)`.
fn edges(source: &Source) -> BTreeSet<(String, String)> {
    let files = source.files();
    let edges = files.flat_map(|file| {
        let targets = imports(source, file).into_iter();
        targets.map(|target| (file.to_owned(), target))
    });
    edges.filter(|(from, to)| from != to).collect()
}

/// The first folder or file below `src`: `auth` of `src/auth/token.rs`.
fn module_of(file: &str) -> &str {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    path.split('/').next().unwrap()
}

fn upward(edges: &BTreeSet<(String, String)>, modules: &[&str]) -> Vec<String> {
    let row_of = |file| modules.iter().position(|known| *known == module_of(file));
    let edges = edges
        .iter()
        .filter(|(from, to)| module_of(from) != module_of(to));
    let wrong = edges.filter(|(from, to)| match (row_of(from), row_of(to)) {
        (Some(above), Some(below)) => above >= below,
        // `main.rs` and `lib.rs` are above the map.
        (None, _) => false,
        (_, None) => true,
    });
    wrong
        .map(|(from, to)| format!("{from} imports {to}"))
        .collect()
}

/// A pair of files that reach each other, for each file that is part of a cycle.
fn cycles(edges: &BTreeSet<(String, String)>) -> Vec<String> {
    let mut next: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (from, to) in edges {
        next.entry(from).or_default().push(to);
    }
    let reaches = |from: &str, goal: &str| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(file) = open.pop() {
            if file == goal {
                return true;
            }
            if seen.insert(file) {
                open.extend(next.get(file).into_iter().flatten());
            }
        }
        false
    };
    let back = edges.iter().filter(|(from, to)| reaches(to, from));
    back.map(|(from, to)| format!("{from} imports {to}, which reaches {from}"))
        .collect()
}

#[test]
fn every_import_points_down_the_map() {
    let source = Source::read("src");
    let modules = modules(source.text("src/lib.rs"));
    assert!(modules.len() > 10, "the map of src/lib.rs was not found");

    let wrong = upward(&edges(&source), &modules);

    assert!(
        wrong.is_empty(),
        "imports that point up:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn every_module_is_on_the_map() {
    let source = Source::read("src");
    let modules = modules(source.text("src/lib.rs"));
    for file in source
        .files()
        .filter(|file| !["src/lib.rs", "src/main.rs"].contains(file))
    {
        assert!(
            modules.contains(&module_of(file)),
            "{file} is on no row of the map"
        );
    }
}

#[test]
fn no_two_files_import_each_other() {
    let wrong = cycles(&edges(&Source::read("src")));
    assert!(
        wrong.is_empty(),
        "imports in a cycle:\n{}",
        wrong.join("\n")
    );
}

/// A crate of three files, of which `domain.rs` holds the given line.
fn trial(line: &str) -> (Vec<String>, Vec<String>) {
    let source = Source::of([
        (
            "src/lib.rs",
            "//! | [`services`] | x |\n//! | [`domain`] | x |\n",
        ),
        (
            "src/services/mod.rs",
            "mod project;\npub use project::Project;\n",
        ),
        ("src/services/project.rs", "use crate::domain::Name;\n"),
        ("src/domain.rs", line),
    ]);
    let edges = edges(&source);
    let modules = modules(source.text("src/lib.rs"));
    (upward(&edges, &modules), cycles(&edges))
}

#[test]
fn an_upward_import_is_named_with_both_files() {
    for line in [
        "use crate::services::Project;",
        "use crate::{services::{Project as P}};",
        "fn f() { on_engine!(x => crate::services::project::Project::new()) }",
    ] {
        let (upward, cycles) = trial(line);
        assert_eq!(upward, ["src/domain.rs imports src/services/project.rs"]);
        assert_eq!(cycles.len(), 2, "{cycles:?}");
    }
}

#[test]
fn imports_of_tests_and_of_other_crates_do_not_count() {
    for line in [
        "#[cfg(test)]\nmod tests { use crate::services::Project; }",
        "use std::fmt;\nuse tonic::Status;",
        "/// [`crate::services::Project`]\npub struct Name;",
    ] {
        assert_eq!(trial(line), (vec![], vec![]), "{line}");
    }
}

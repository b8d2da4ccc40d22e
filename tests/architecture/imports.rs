use std::collections::BTreeSet;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::source::Source;

/// The files that a file imports from: by `use`, and by paths that begin with `crate` or
/// `super` anywhere else. Re-exports are followed to the file that defines the item.
pub fn imports(source: &Source, file: &str) -> BTreeSet<String> {
    let module = Source::module_of(file);
    let paths = paths(source.text(file));
    let imported = paths.iter().filter(|path| !is_reexport(file, path));
    let targets = imported.filter_map(|path| target(source, &module, &path.segments));
    targets.collect()
}

/// A path in the code of a file.
struct CodePath {
    segments: Vec<String>,
    /// Whether it stands in a `pub use`.
    is_public: bool,
}

/// A `mod.rs` that re-exports its own children does not depend on them.
fn is_reexport(file: &str, path: &CodePath) -> bool {
    file.ends_with("mod.rs") && path.is_public
}

/// The file that defines the item of a path, as seen from a module.
fn target(source: &Source, module: &[String], path: &[String]) -> Option<String> {
    let mut at: Vec<String> = Vec::new();
    let mut rest = path;
    match path.first()?.as_str() {
        "crate" => rest = &path[1..],
        "super" => {
            at = module.to_vec();
            while rest.first().is_some_and(|segment| segment == "super") {
                at.pop()?;
                rest = &rest[1..];
            }
        }
        "self" => {
            at = module.to_vec();
            rest = &path[1..];
        }
        _ => {
            // A child module of this one.
            let child = [module, &path[..1]].concat();
            source.file_of(&child)?;
            at = module.to_vec();
        }
    }
    resolve(source, at, rest)
}

fn resolve(source: &Source, mut at: Vec<String>, path: &[String]) -> Option<String> {
    let mut rest = path;
    while let Some((first, others)) = rest.split_first() {
        let child = [&at[..], std::slice::from_ref(first)].concat();
        if source.file_of(&child).is_none() {
            break;
        }
        (at, rest) = (child, others);
    }
    let file = source.file_of(&at)?;
    // A name that this module re-exports from a child.
    if let Some(name) = rest.first()
        && file.ends_with("mod.rs")
    {
        let exported = paths(source.text(file)).into_iter().find(|path| {
            path.is_public && path.segments.last() == Some(name) && path.segments.len() > 1
        });
        if let Some(path) = exported
            && let Some(target) = target(source, &at, &path.segments)
        {
            return Some(target);
        }
    }
    Some(file.to_owned())
}

/// All paths of a text outside of its tests.
fn paths(text: &str) -> Vec<CodePath> {
    let tokens: TokenStream = text.parse().unwrap();
    let mut found = Vec::new();
    collect(&tokens.into_iter().collect::<Vec<_>>(), &mut found);
    found
}

fn collect(tokens: &[TokenTree], found: &mut Vec<CodePath>) {
    let mut index = 0;
    while index < tokens.len() {
        if is_test_attribute(&tokens[index..]) {
            // Skips to the end of the item that follows: its body, or its semicolon.
            index += 2;
            while index < tokens.len() && !ends_item(&tokens[index]) {
                index += 1;
            }
        } else if is_word(&tokens[index], "use") {
            let end = (index..tokens.len()).find(|at| is_mark(&tokens[*at], ';'));
            let end = end.unwrap_or(tokens.len());
            let is_public = is_public(&tokens[..index]);
            tree(&tokens[index + 1..end], &[], is_public, found);
            index = end;
        } else if is_word(&tokens[index], "crate") || is_word(&tokens[index], "super") {
            let (segments, next) = plain_path(tokens, index);
            // `pub(super)` is no path.
            if segments.len() > 1 {
                found.push(CodePath {
                    segments,
                    is_public: false,
                });
            }
            index = next;
            continue;
        } else if let TokenTree::Group(group) = &tokens[index] {
            let inner: Vec<_> = group.stream().into_iter().collect();
            collect(&inner, found);
        }
        index += 1;
    }
}

/// `a::b::c` from an index on, and the index behind it.
fn plain_path(tokens: &[TokenTree], mut index: usize) -> (Vec<String>, usize) {
    let mut segments = Vec::new();
    while let Some(TokenTree::Ident(word)) = tokens.get(index) {
        segments.push(word.to_string());
        index += 1;
        let colons = [index, index + 1].map(|at| tokens.get(at).is_some_and(|it| is_mark(it, ':')));
        if colons != [true, true] {
            break;
        }
        index += 2;
    }
    (segments, index)
}

/// The paths of a `use` tree, such as `crate::{a, b::{self, c as d}}`.
fn tree(tokens: &[TokenTree], prefix: &[String], is_public: bool, found: &mut Vec<CodePath>) {
    let branches = tokens.split(|token| is_mark(token, ','));
    for branch in branches.filter(|branch| !branch.is_empty()) {
        let (mut segments, next) = plain_path(branch, 0);
        segments = [prefix, &segments].concat();
        match branch.get(next) {
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let inner: Vec<_> = group.stream().into_iter().collect();
                tree(&inner, &segments, is_public, found);
            }
            _ => {
                if segments.len() > 1 && segments.last().is_some_and(|last| last == "self") {
                    segments.pop();
                }
                found.push(CodePath {
                    segments,
                    is_public,
                });
            }
        }
    }
}

/// Whether what stands before a `use` ends in `pub` or `pub(…)`.
fn is_public(before: &[TokenTree]) -> bool {
    match before {
        [.., last] if is_word(last, "pub") => true,
        [.., word, TokenTree::Group(_)] => is_word(word, "pub"),
        _ => false,
    }
}

/// Whether tokens begin with `#[cfg(test)]`.
fn is_test_attribute(tokens: &[TokenTree]) -> bool {
    match tokens {
        [hash, TokenTree::Group(group), ..] if is_mark(hash, '#') => {
            group.stream().to_string().replace(' ', "") == "cfg(test)"
        }
        _ => false,
    }
}

fn ends_item(token: &TokenTree) -> bool {
    match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        token => is_mark(token, ';'),
    }
}

fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == word)
}

fn is_mark(token: &TokenTree, mark: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == mark)
}

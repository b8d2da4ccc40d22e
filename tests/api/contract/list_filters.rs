//! In every list RPC, pages contain every row once, filters select what they say, and a page token
//! works only with the filters of its page.

use std::collections::{BTreeMap, BTreeSet};

use rstest::rstest;

use super::{
    descriptors::requests,
    lists::{Effect, List, Rows},
};
use crate::harness::{Engine, Postgres, Sqlite, refused};

/// All rows, read in pages of this size; each page but the last has as many.
async fn all(rows: &Rows, list: &List, parts: &[&[u8]], page_size: i32) -> Vec<Vec<u8>> {
    let (mut found, mut token) = (Vec::new(), String::new());
    loop {
        let page = rows.page(list, parts, page_size, &token).await;
        let (page, next) = page.expect(list.path);
        let is_full = page.len() == usize::try_from(page_size).unwrap();
        assert!(is_full || next.is_empty(), "{}", list.path);
        found.extend(page);
        token = next;
        if token.is_empty() {
            return found;
        }
    }
}

#[tokio::test]
async fn every_list_rpc_and_each_of_its_fields_is_tested_and_no_entry_is_stale() {
    let lists = Rows::create(Sqlite).await.lists();
    let tested: BTreeMap<_, BTreeSet<_>> = lists
        .iter()
        .map(|list| {
            let fields = list.filters.iter().map(|filter| filter.field.to_owned());
            (list.path.to_owned(), fields.collect())
        })
        .collect();

    let described = requests().into_iter().filter_map(|(path, request)| {
        let fields = request.field.iter().map(|field| field.name().to_owned());
        let mut fields: BTreeSet<_> = fields.collect();
        fields.remove("page_size");
        fields.remove("page_token").then_some((path, fields))
    });

    assert_eq!(tested, described.collect());
}

#[rstest]
#[tokio::test]
async fn pages_of_any_size_contain_every_row_once(#[values(Sqlite, Postgres)] engine: Engine) {
    let rows = Rows::create(engine).await;
    for list in rows.lists() {
        let name = list.path;
        let expected = all(&rows, &list, &[&list.request], 200).await;
        assert!(expected.len() >= 2, "{name}: {}", expected.len());
        let distinct: BTreeSet<_> = expected.iter().collect();
        assert_eq!(distinct.len(), expected.len(), "{name}");

        for page_size in [1, 2] {
            let read = all(&rows, &list, &[&list.request], page_size).await;
            assert_eq!(read, expected, "{name} in pages of {page_size}");
        }
    }
}

#[rstest]
#[tokio::test]
async fn every_filter_selects_its_rows_in_the_order_of_the_list(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let rows = Rows::create(engine).await;
    for list in rows.lists() {
        let everything = all(&rows, &list, &[&list.request], 200).await;
        let filters = list.filters.iter();
        for filter in filters.filter(|filter| filter.effect != Effect::Replaces) {
            let name = format!("{} {}", list.path, filter.field);
            let (mut selected, mut is_narrower) = (Vec::new(), false);
            for value in &filter.values {
                let parts = [&*list.request, value];
                let part = all(&rows, &list, &parts, 200).await;
                assert_eq!(all(&rows, &list, &parts, 1).await, part, "{name}");
                let in_order = everything.iter().filter(|row| part.contains(row));
                assert!(in_order.eq(&part), "{name}");
                is_narrower |= part.len() < everything.len();
                selected.extend(part);
            }
            assert!(is_narrower && !selected.is_empty(), "{name}");
            let distinct: BTreeSet<_> = selected.iter().collect();
            assert_eq!(distinct.len(), selected.len(), "{name}");
            if filter.effect == Effect::Divides {
                assert_eq!(selected.len(), everything.len(), "{name}");
            }
        }
        assert_bounds_divide(&rows, &list, everything.len()).await;
    }
}

/// A row is after or before a time.
async fn assert_bounds_divide(rows: &Rows, list: &List, total: usize) {
    let bounds = ["_after", "_before"];
    let find = |end: &str| {
        list.filters
            .iter()
            .find(|filter| filter.field.ends_with(end))
    };
    let bounds = bounds.map(find);
    let [Some(after), Some(before)] = bounds else {
        return;
    };
    let mut found = 0;
    for filter in [after, before] {
        let parts = [&*list.request, &filter.values[0]];
        found += all(rows, list, &parts, 200).await.len();
    }
    assert_eq!(found, total, "{}", list.path);
}

#[rstest]
#[tokio::test]
async fn no_list_accepts_the_page_token_of_other_filters_or_of_another_list(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let rows = Rows::create(engine).await;
    let lists = rows.lists();
    let mut tokens = Vec::new();
    for list in &lists {
        let page = rows.page(list, &[&list.request], 1, "").await;
        let (_, token) = page.expect(list.path);
        assert_ne!(token, "", "{}", list.path);
        tokens.push(token);
    }

    for (list, own) in lists.iter().zip(&tokens) {
        let page = async |parts: &[&[u8]], token: &str| {
            let page = rows.page(list, parts, 1, token).await;
            page.map(tonic::Response::new)
        };
        page(&[&list.request], own).await.expect(list.path);

        for filter in &list.filters {
            let name = format!("{} {}", list.path, filter.field);
            for value in &filter.values {
                let refusal = refused(page(&[&list.request, value], own).await);
                assert_eq!(refusal.fields(), ["page_token"], "{name}");
            }
        }
        for (other, token) in lists.iter().zip(&tokens) {
            if other.path != list.path {
                let refusal = refused(page(&[&list.request], token).await);
                let name = format!("{} with a token of {}", list.path, other.path);
                assert_eq!(refusal.fields(), ["page_token"], "{name}");
            }
        }
    }
}

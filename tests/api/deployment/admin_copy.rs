use std::collections::BTreeMap;

use rstest::rstest;

use super::populated_database::PopulatedDatabase;
use crate::{
    contract::dump::dump,
    harness::{CommandOutput, Engine, Pooled, Postgres, Process, Sqlite, TestDatabase, TestServer},
};

/// `sluice admin copy`.
async fn copy(from: &TestDatabase, to: &TestDatabase) -> CommandOutput {
    Process::run(Process::admin(from, &["copy", "--to", &to.url], &[])).await
}

/// All rows except those of the migrations.
async fn rows(database: &TestDatabase) -> Vec<String> {
    let mut rows = dump(database).await;
    rows.retain(|row| !row.starts_with("_sqlx_migrations"));
    rows
}

/// Number of rows of each table that is not empty.
fn counts(rows: &[String]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for row in rows {
        let (table, _) = row.split_once(": ").unwrap();
        *counts.entry(table.to_owned()).or_default() += 1;
    }
    counts
}

fn other(engine: Engine) -> Engine {
    match engine {
        Sqlite => Postgres,
        Postgres | Pooled => Sqlite,
    }
}

/// A database with one account, whose server has stopped.
async fn small(engine: Engine) -> TestDatabase {
    let server = TestServer::start(engine).await;
    server.user().await;
    server.stop().await
}

#[rstest]
#[tokio::test]
async fn after_a_copy_all_sessions_streams_and_relays_continue(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let PopulatedDatabase { database, clients } = PopulatedDatabase::create(engine).await;
    let target = TestDatabase::empty(other(engine)).await;

    let output = copy(&database, &target).await;

    assert_eq!(output.exit_code, Some(0), "{}", output.stderr);
    let TestDatabase {
        url,
        directory: _kept,
        ..
    } = target;
    clients.assert_all_continue(url, database.directory).await;
}

#[tokio::test]
async fn a_copy_there_and_back_preserves_every_row_of_every_table() {
    let PopulatedDatabase { database, .. } = PopulatedDatabase::create(Sqlite).await;
    let there = TestDatabase::empty(Postgres).await;
    let back = TestDatabase::empty(Sqlite).await;
    let before = rows(&database).await;
    let counted = counts(&before);
    let tables = "select count(*) from sqlite_schema
                  where type = 'table' and name <> '_sqlx_migrations'";
    let tables = database.number(tables).await;
    assert_eq!(
        counted.len(),
        usize::try_from(tables).unwrap(),
        "{counted:?}"
    );

    let first = copy(&database, &there).await;
    assert_eq!(first.exit_code, Some(0), "{}", first.stderr);
    let second = copy(&there, &back).await;
    assert_eq!(second.exit_code, Some(0), "{}", second.stderr);

    assert_eq!(counts(&rows(&there).await), counted);
    assert_eq!(rows(&back).await, before);
    assert_eq!(first.stdout, second.stdout);
    for (table, rows) in counted {
        let line = format!("{table:<20} {rows:>12}");
        assert!(
            first.stdout.lines().any(|printed| printed == line),
            "{line}"
        );
    }
    assert!(
        first.stdout.contains("SLUICE_SEALING_KEYS"),
        "{}",
        first.stdout
    );
}

#[rstest]
#[tokio::test]
async fn a_target_that_is_not_empty_is_refused_and_unchanged(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let (source, target) = (small(engine).await, small(other(engine)).await);
    let before = dump(&target).await;

    let output = copy(&source, &target).await;

    assert_eq!(output.exit_code, Some(1));
    let sentence = "sluice: the target is not empty: there are rows in ";
    assert!(
        output.stderr.lines().last().unwrap().starts_with(sentence),
        "{}",
        output.stderr
    );
    assert_eq!(dump(&target).await, before);
}

#[rstest]
#[tokio::test]
async fn a_database_in_use_can_be_neither_source_nor_target(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(true, false)] as_source: bool,
) {
    let server = TestServer::start(engine).await;
    let idle = match as_source {
        true => TestDatabase::empty(other(engine)).await,
        false => small(other(engine)).await,
    };

    let output = match as_source {
        true => copy(&server.database, &idle).await,
        false => copy(&idle, &server.database).await,
    };

    assert_eq!(output.exit_code, Some(1));
    let sentence = "database is in use: stop every server and command that uses it";
    assert!(
        output.stderr.trim_end().ends_with(sentence),
        "{}",
        output.stderr
    );
    server.user().await;
}

#[tokio::test]
async fn a_failed_copy_leaves_no_rows_and_can_be_repeated() {
    let (source, target) = (small(Sqlite).await, TestDatabase::create(Postgres).await);
    let hinder = "alter table audit_events add constraint hindrance check (action = '')";
    target.execute(hinder).await;

    let output = copy(&source, &target).await;
    assert_eq!(output.exit_code, Some(1));
    assert!(output.stderr.contains("hindrance"), "{}", output.stderr);
    assert_eq!(rows(&target).await, [""; 0]);

    target
        .execute("alter table audit_events drop constraint hindrance")
        .await;
    let output = copy(&source, &target).await;
    assert_eq!(output.exit_code, Some(0), "{}", output.stderr);
    assert_eq!(counts(&rows(&target).await), counts(&rows(&source).await));
}

#[tokio::test]
async fn a_target_that_alters_rows_is_detected() {
    let (source, target) = (small(Sqlite).await, TestDatabase::create(Postgres).await);
    let change = "create function change() returns trigger language plpgsql as
                      $$ begin new.display_name = lower(new.display_name); return new; end $$;
                  create trigger change before insert on users
                      for each row execute function change()";
    target.execute(change).await;

    let output = copy(&source, &target).await;

    assert_eq!(output.exit_code, Some(1));
    let sentence = "the rows of users in the target differ from the source";
    assert!(output.stderr.contains(sentence), "{}", output.stderr);
    assert_eq!(rows(&target).await, [""; 0]);
}

#[tokio::test]
async fn a_difference_between_the_schemas_is_named() {
    let (source, target) = (small(Sqlite).await, TestDatabase::create(Postgres).await);
    target
        .execute("create table notes (id uuid primary key)")
        .await;

    let output = copy(&source, &target).await;

    assert_eq!(output.exit_code, Some(1));
    assert!(
        output.stderr.contains("only one of them has notes.id"),
        "{}",
        output.stderr
    );
}

#[rstest]
#[tokio::test]
async fn a_copy_to_the_same_engine_is_refused(#[values(Sqlite, Postgres)] engine: Engine) {
    let (one, same) = (
        TestDatabase::create(engine).await,
        TestDatabase::empty(engine).await,
    );

    let output = copy(&one, &same).await;

    assert_eq!(output.exit_code, Some(2));
    assert!(
        output.stderr.contains("both databases are of the engine"),
        "{}",
        output.stderr
    );
    assert!(!output.stderr.contains(&same.url), "{}", output.stderr);
}

#[tokio::test]
async fn a_missing_source_is_not_created() {
    let (source, target) = (
        TestDatabase::empty(Sqlite).await,
        TestDatabase::empty(Postgres).await,
    );

    let output = copy(&source, &target).await;

    assert_eq!(output.exit_code, Some(1));
    let made = std::fs::read_dir(source.directory.path()).unwrap().count();
    assert_eq!(made, 0, "{}", output.stderr);
    let tables = "select count(*) from pg_tables where schemaname = 'public'";
    assert_eq!(target.number(tables).await, 0);
}

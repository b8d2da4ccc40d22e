use std::{fs, io::ErrorKind, path::Path};

use rstest::rstest;
use tempfile::TempDir;
use tokio::process::Command;

use super::populated_database::PopulatedDatabase;
use crate::harness::{Engine, Postgres, Sqlite, TestDatabase, TestServer};

const PAGE: &str = include_str!("../../../docs/operations.md");

/// The documented commands with a title.
fn commands(title: &str) -> &'static str {
    let start = format!("```sh\n# {title}\n");
    let mut found = PAGE.split(&start).skip(1);
    let rest = found
        .next()
        .unwrap_or_else(|| panic!("the page has no commands to: {title}"));
    assert!(
        found.next().is_none(),
        "the page says twice how to: {title}"
    );
    rest.split("```").next().unwrap()
}

/// Runs the commands of a title in a directory with the server's `data`.
async fn run_documented_commands(title: &str, directory: &Path, database: &TestDatabase) {
    let data = directory.join("data");
    if fs::symlink_metadata(&data).is_err() {
        std::os::unix::fs::symlink(database.directory.path(), &data).unwrap();
    }
    let done = Command::new("sh")
        .args(["-euc", commands(title)])
        .current_dir(directory)
        .env("DATABASE_URL", &database.url)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{title}: {said}");
}

/// Deletes the database and the files of its server.
async fn destroy(database: &TestDatabase) {
    if database.url.starts_with("postgres") {
        let statement = "drop schema public cascade; create schema public";
        database.execute(statement).await;
    }
    for entry in fs::read_dir(database.directory.path()).unwrap() {
        let path = entry.unwrap().path();
        let removed = match path.is_dir() {
            true => fs::remove_dir_all(path),
            false => fs::remove_file(path),
        };
        // The last SQLite connection removes its own files on close.
        if let Err(error) = removed {
            assert_eq!(error.kind(), ErrorKind::NotFound);
        }
    }
}

#[rstest]
#[case(Sqlite, "SQLite")]
#[case(Postgres, "PostgreSQL")]
#[tokio::test]
async fn after_a_backup_and_restore_all_sessions_streams_and_relays_continue(
    #[case] engine: Engine,
    #[case] name: &str,
) {
    let PopulatedDatabase { database, clients } = PopulatedDatabase::create(engine).await;
    let directory = TempDir::new().unwrap();

    let users = "select count(*) from users";
    let saved = database.number(users).await;
    let server = TestServer::start_on(database, &[]).await;
    run_documented_commands("Save the keys", directory.path(), &server.database).await;
    run_documented_commands(&format!("Save {name}"), directory.path(), &server.database).await;
    // Changes after the backup are lost.
    server.user().await;
    let database = server.stop().await;
    destroy(&database).await;
    run_documented_commands("Put back the keys", directory.path(), &database).await;
    run_documented_commands(&format!("Put back {name}"), directory.path(), &database).await;

    assert_eq!(database.number(users).await, saved);
    clients
        .assert_all_continue(database.url, database.directory)
        .await;
}

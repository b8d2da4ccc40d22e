use std::{fs, io::ErrorKind, path::Path};

use rstest::rstest;
use tempfile::TempDir;
use tokio::process::Command;

use super::filled::Filled;
use crate::harness::{Engine, Postgres, Sqlite, TestDatabase, TestServer};

const PAGE: &str = include_str!("../../../docs/operations.md");

/// The commands on the page that begin with a title.
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

/// Runs the commands of a title where `data` is the directory of a server.
async fn follow(title: &str, place: &Path, database: &TestDatabase) {
    let data = place.join("data");
    if fs::symlink_metadata(&data).is_err() {
        std::os::unix::fs::symlink(database.directory.path(), &data).unwrap();
    }
    let done = Command::new("sh")
        .args(["-euc", commands(title)])
        .current_dir(place)
        .env("DATABASE_URL", &database.url)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{title}: {said}");
}

/// Loses the database, and all that is in the directory of its server.
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
        // SQLite's last connection removes files of its own when it is closed.
        if let Err(error) = removed {
            assert_eq!(error.kind(), ErrorKind::NotFound);
        }
    }
}

#[rstest]
#[case(Sqlite, "SQLite")]
#[case(Postgres, "PostgreSQL")]
#[tokio::test]
async fn after_a_backup_a_loss_and_a_restore_everybody_goes_on_with_what_they_have(
    #[case] engine: Engine,
    #[case] name: &str,
) {
    let Filled { database, callers } = Filled::create(engine).await;
    let place = TempDir::new().unwrap();

    let server = TestServer::over(database, &[]).await;
    follow("Save the keys", place.path(), &server.database).await;
    follow(&format!("Save {name}"), place.path(), &server.database).await;
    // What comes after the backup is lost.
    server.user().await;
    let database = server.stop().await;
    destroy(&database).await;
    follow("Put back the keys", place.path(), &database).await;
    follow(&format!("Put back {name}"), place.path(), &database).await;

    assert_eq!(database.number("select count(*) from users").await, 1);
    callers.go_on(database.url, database.directory).await;
}

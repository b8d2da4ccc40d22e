//! Commands for operators use the database and the keys of a server, and create neither.

use std::fs;

use rstest::rstest;

use crate::harness::{Engine, Pooled, Postgres, Process, Sqlite, TestDatabase, TestServer};

const COMMANDS: [&[&str]; 5] = [
    &[
        "create-api-key",
        "--scope",
        "streams:publish",
        "--name",
        "m",
    ],
    &["end-sessions", "--all"],
    &["rotate-signing-key"],
    &["rotate-sealing-key"],
    &["copy", "--to", "postgres://127.0.0.1:1/none"],
];

#[tokio::test]
async fn beside_a_server_with_another_data_directory_they_fail_and_create_nothing() {
    let server = TestServer::start(Sqlite).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let other = elsewhere.path().join("data");

    for command in COMMANDS {
        let arguments = [&["admin"], command].concat();
        let settings = [("SLUICE_DATA_DIR", other.to_str().unwrap())];
        let output = Process::run(Process::command(&arguments, &settings)).await;

        assert_eq!(output.exit_code, Some(1), "{command:?}: {output:?}");
        let error = output.stderr.lines().last().unwrap();
        let file = other.join("sluice.db");
        let start = format!(
            "sluice: there is no database {} (SLUICE_DATA_DIR)",
            file.display()
        );
        assert!(error.starts_with(&start), "{command:?}: {output:?}");
        assert_eq!(output.stdout, "", "{command:?}");
    }
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    drop(server);
}

#[tokio::test]
async fn the_setting_that_names_the_database_is_named() {
    let elsewhere = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/x.db", elsewhere.path().display());

    let arguments = ["admin", "end-sessions", "--all"];
    let output = Process::run(Process::command(&arguments, &[("DATABASE_URL", &url)])).await;

    assert_eq!(output.exit_code, Some(1), "{output:?}");
    assert!(output.stderr.contains("x.db (DATABASE_URL)"), "{output:?}");
}

#[rstest]
#[tokio::test]
async fn an_empty_database_gets_no_schema(#[values(Sqlite, Postgres)] engine: Engine) {
    let database = TestDatabase::empty(engine).await;
    if engine == Sqlite {
        fs::write(database.directory.path().join("sluice.db"), "").unwrap();
    }

    let output = Process::run(Process::admin(&database, COMMANDS[0], &[])).await;

    assert_eq!(output.exit_code, Some(1), "{output:?}");
    assert!(
        output
            .stderr
            .contains("the database of DATABASE_URL is empty"),
        "{output:?}"
    );
    let tables = match engine {
        Sqlite => "select count(*) from sqlite_schema",
        Postgres | Pooled => {
            "select count(*) from pg_class where relnamespace = 'public'::regnamespace"
        }
    };
    assert_eq!(database.number(tables).await, 0);
}

#[rstest]
#[tokio::test]
async fn an_outdated_schema_is_not_migrated(#[values(Sqlite, Postgres)] engine: Engine) {
    let database = TestDatabase::create(engine).await;
    database
        .execute("delete from _sqlx_migrations where version = 12")
        .await;

    let output = Process::run(Process::admin(&database, COMMANDS[0], &[])).await;

    assert_eq!(output.exit_code, Some(1), "{output:?}");
    assert!(output.stderr.contains("run `sluice migrate`"), "{output:?}");
}

#[rstest]
#[tokio::test]
async fn no_key_is_generated(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values("rotate-signing-key", "rotate-sealing-key")] command: &str,
) {
    let database = TestDatabase::create(engine).await;

    let output = Process::run(Process::admin(&database, &[command], &[])).await;

    assert_eq!(output.exit_code, Some(2), "{output:?}");
    let error = output.stderr.lines().last().unwrap();
    assert!(
        error.starts_with("sluice: SLUICE_DATA_DIR must be the data directory"),
        "{error}"
    );
    assert!(error.contains("jwt.secret"), "{error}");
    for file in ["jwt.secret", "sealing.key"] {
        assert!(!database.directory.path().join(file).exists());
    }
}

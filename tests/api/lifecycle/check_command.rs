//! `sluice check` reports what a start would, and changes nothing.

use std::{collections::BTreeSet, fs, path::Path};

use rstest::rstest;
use tokio::net::TcpListener;

use super::sealing_key_rotation::sealing_keys_flag;
use crate::harness::{
    Certificate, CommandOutput, Engine, Postgres, Process, Sqlite, TestDatabase, TestServer,
};

async fn check(database: &TestDatabase, settings: &[(&str, &str)]) -> CommandOutput {
    let directory = database.directory.path().to_str().unwrap();
    let own = [
        ("SLUICE_LISTEN", "127.0.0.1:0"),
        ("DATABASE_URL", &*database.url),
        ("SLUICE_DATA_DIR", directory),
    ];
    let settings: Vec<_> = own.into_iter().chain(settings.iter().copied()).collect();
    Process::run(Process::command(&["check"], &settings)).await
}

/// The line about a subject.
fn line<'a>(output: &'a CommandOutput, subject: &str) -> &'a str {
    let mut lines = output.stdout.lines();
    let found = lines.find(|line| {
        ["ok ", "FAILED "].iter().any(|verdict| {
            let rest = line.strip_prefix(verdict);
            rest.is_some_and(|rest| rest.trim_start().starts_with(subject))
        })
    });
    found.unwrap_or_else(|| panic!("{subject}: {output:?}"))
}

fn files(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    // SQLite makes these for readers too.
    names
        .filter(|name| !name.ends_with("-shm") && !name.ends_with("-wal"))
        .collect()
}

#[rstest]
#[tokio::test]
async fn what_would_serve_passes_and_is_not_changed(#[values(Sqlite, Postgres)] engine: Engine) {
    let database = TestServer::start(engine).await.stop().await;
    let before = files(database.directory.path());

    let output = check(&database, &[]).await;

    assert_eq!(output.exit_code, Some(0), "{output:?}");
    assert!(
        line(&output, "database").contains("schema of this version"),
        "{output:?}"
    );
    assert_eq!(files(database.directory.path()), before);
}

#[rstest]
#[tokio::test]
async fn a_first_start_is_announced_and_nothing_is_created(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let database = TestDatabase::empty(engine).await;
    let missing = database.directory.path().join("some/data");

    let output = check(&database, &[("SLUICE_DATA_DIR", missing.to_str().unwrap())]).await;

    assert_eq!(output.exit_code, Some(0), "{output:?}");
    assert!(
        line(&output, "data directory").contains("would be created"),
        "{output:?}"
    );
    assert!(line(&output, "keys").contains("sealing.key"), "{output:?}");
    let expected = if engine == Sqlite {
        "would be created"
    } else {
        "has no schema yet"
    };
    assert!(line(&output, "database").contains(expected), "{output:?}");
    assert_eq!(files(database.directory.path()), BTreeSet::new());
}

#[tokio::test]
async fn no_secret_is_shown() {
    let database = TestDatabase::empty(Postgres).await;
    let secret = "never-shown-1f2e3d4c5b6a798801020304";
    let settings = [
        ("SLUICE_JWT_SECRET", secret),
        (
            "SLUICE_SEALING_KEYS",
            "S0ypXl2hVd1m6tFv0RwqO3eJ8nZbT4kUaG7cHs5yI9Q=",
        ),
        ("SLUICE_MAIL", "smtp://ada:never-shown@127.0.0.1:1"),
    ];

    let output = check(&database, &settings).await;

    assert_eq!(output.exit_code, Some(0), "{output:?}");
    for text in ["never-shown", "S0ypXl2h", &database.url] {
        assert!(!output.stdout.contains(text), "{output:?}");
    }
    for name in [
        "SLUICE_JWT_SECRET",
        "SLUICE_SEALING_KEYS",
        "SLUICE_MAIL",
        "DATABASE_URL",
    ] {
        assert!(
            output.stdout.contains(&format!("\n{name}=*** ")),
            "{output:?}"
        );
    }
}

#[rstest]
#[tokio::test]
async fn everything_that_would_fail_is_reported_at_once(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let database = TestDatabase::create(engine).await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    database
        .execute("insert into _sqlx_migrations (version, description, success, checksum, execution_time, installed_on) select 999, 'later', success, checksum, 0, installed_on from _sqlx_migrations where version = 1")
        .await;
    let settings = [
        ("SLUICE_LISTEN", &*address),
        ("SLUICE_OPERATIONS_LISTEN", &*address),
        ("SLUICE_TLS_CERT", "/no/cert.pem"),
        ("SLUICE_TLS_KEY", "/no/key.pem"),
        ("SLUICE_JWT_KEY_FILES", "/no/key.pem"),
        (
            "SLUICE_SEALING_KEYS",
            "S0ypXl2hVd1m6tFv0RwqO3eJ8nZbT4kUaG7cHs5yI9Q=",
        ),
        ("SLUICE_DATA_DIR", "/dev/null/data"),
    ];

    let output = check(&database, &settings).await;

    assert_eq!(output.exit_code, Some(1), "{output:?}");
    for (subject, part) in [
        ("data directory", "SLUICE_DATA_DIR"),
        ("keys", "SLUICE_JWT_KEY_FILES: /no/key.pem"),
        ("certificate", "SLUICE_TLS_CERT cannot be read"),
        ("API address", "SLUICE_LISTEN"),
        ("operations port", "SLUICE_OPERATIONS_LISTEN"),
        ("database", "later version"),
    ] {
        let line = line(&output, subject);
        assert!(line.starts_with("FAILED") && line.contains(part), "{line}");
    }
}

#[tokio::test]
async fn an_unreachable_database_fails() {
    let database = TestDatabase::create(Sqlite).await;
    let url = "postgres://ada:never-shown@127.0.0.1:1/sluice";

    let output = check(&database, &[("DATABASE_URL", url)]).await;

    assert_eq!(output.exit_code, Some(1), "{output:?}");
    let line = line(&output, "database");
    let expected = "cannot connect to 127.0.0.1:1 (DATABASE_URL): ";
    assert_eq!(line.matches(expected).count(), 1, "{line}");
    assert!(!output.stdout.contains("never-shown"), "{output:?}");
}

#[rstest]
#[tokio::test]
async fn an_outdated_schema_is_announced(#[values(Sqlite, Postgres)] engine: Engine) {
    let database = TestDatabase::create(engine).await;
    database
        .execute("delete from _sqlx_migrations where version = 12")
        .await;

    let output = check(&database, &[]).await;

    assert_eq!(output.exit_code, Some(0), "{output:?}");
    let line = line(&output, "database");
    assert!(
        line.contains("lacks 1 migrations: run `sluice migrate`"),
        "{line}"
    );
}

#[tokio::test]
async fn the_validity_of_the_certificate_is_shown() {
    let database = TestDatabase::create(Sqlite).await;
    let certificate = Certificate::make(database.directory.path()).await;
    let settings = [
        ("SLUICE_TLS_CERT", certificate.file.to_str().unwrap()),
        ("SLUICE_TLS_KEY", certificate.key.to_str().unwrap()),
    ];

    let output = check(&database, &settings).await;

    assert_eq!(output.exit_code, Some(0), "{output:?}");
    assert!(
        line(&output, "certificate").contains("valid until 20"),
        "{output:?}"
    );
}

#[tokio::test]
async fn a_log_file_that_cannot_be_opened_and_unusable_mail_fail() {
    let database = TestDatabase::create(Sqlite).await;
    let settings = [
        ("SLUICE_LOG_FILE", "/nonexistent/sluice.log"),
        (
            "SLUICE_MAIL",
            "smtps://mail.example.com?ca=/nonexistent.pem",
        ),
    ];

    let output = check(&database, &settings).await;

    assert_eq!(output.exit_code, Some(1), "{output:?}");
    for (subject, setting) in [("log file", "SLUICE_LOG_FILE"), ("mail", "SLUICE_MAIL")] {
        let line = line(&output, subject);
        assert!(
            line.starts_with("FAILED") && line.contains(setting),
            "{line}"
        );
    }
}

#[tokio::test]
async fn a_new_log_file_is_not_created() {
    let database = TestDatabase::create(Sqlite).await;
    let file = database.directory.path().join("sluice.log");
    let settings = [
        ("SLUICE_LOG_FILE", file.to_str().unwrap()),
        ("SLUICE_LOG_ROTATION", "never"),
    ];

    let output = check(&database, &settings).await;

    assert_eq!(output.exit_code, Some(0), "{output:?}");
    let line = line(&output, "log file");
    assert!(line.ends_with(file.to_str().unwrap()), "{line}");
    assert!(!file.exists());
}

#[tokio::test]
async fn a_running_server_has_its_file_of_sqlite_for_itself() {
    let database = TestDatabase::create(Sqlite).await;
    let server = Process::serve(&database, &[]);
    server.channel().await;

    let output = check(&database, &[]).await;

    assert_eq!(output.exit_code, Some(1), "{output:?}");
    assert!(
        line(&output, "database").contains("another server uses"),
        "{output:?}"
    );
}

#[rstest]
#[tokio::test]
async fn a_missing_sealing_key_fails(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start_with(engine, &[&sealing_keys_flag(&[1])]).await;
    let database = server.stop().await;

    let output = check(&database, &[]).await;

    assert_eq!(output.exit_code, Some(1), "{output:?}");
    let line = line(&output, "database");
    assert!(line.contains("sealing.key is missing"), "{line}");
    assert!(!database.directory.path().join("sealing.key").exists());
}

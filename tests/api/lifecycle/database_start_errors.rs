//! Databases that cannot be used: the start says which file or setting is wrong, and what to do.

use std::{
    fs,
    io::{Seek, SeekFrom, Write},
    time::Duration,
};

use rstest::rstest;
use tempfile::TempDir;
use tokio::time::sleep;
use url::Url;

use super::startup::outcome;
use crate::harness::{Engine, Pooled, Postgres, Process, Sqlite, TestDatabase, eventually};

/// The last line of a command that fails with exit code 1, without its prefix.
async fn failure(command: &str, settings: &[(&str, &str)]) -> String {
    let folder = TempDir::new().unwrap();
    let data = ("SLUICE_DATA_DIR", folder.path().to_str().unwrap());
    let own = [data, ("SLUICE_LISTEN", "127.0.0.1:0")];
    let settings: Vec<_> = own.into_iter().chain(settings.iter().copied()).collect();
    let (code, stderr) = outcome(&[command], &settings).await;
    assert_eq!(code, Some(1), "{stderr}");
    assert!(!stderr.contains("internal error"), "{stderr}");
    let last = stderr.lines().last().unwrap();
    last.strip_prefix("sluice: ").unwrap().to_owned()
}

/// The sentence with which `serve` ends.
async fn serve_failure(url: &str) -> String {
    failure("serve", &[("DATABASE_URL", url)]).await
}

/// The URL of a test database, changed.
async fn postgres_url(change: impl Fn(&mut Url)) -> String {
    let database = TestDatabase::create(Postgres).await;
    let mut url = Url::parse(&database.url).unwrap();
    change(&mut url);
    url.into()
}

fn address(url: &str) -> String {
    let url = Url::parse(url).unwrap();
    format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5432))
}

#[tokio::test]
async fn a_wrong_password_names_its_setting_and_is_not_shown() {
    let url = postgres_url(|url| url.set_password(Some("hunter2-wrong")).unwrap()).await;

    let sentence = serve_failure(&url).await;

    let expected = "does not accept the user or the password of DATABASE_URL, correct them";
    assert!(
        sentence.starts_with(&format!("{} {expected}", address(&url))),
        "{sentence}"
    );
    assert!(!sentence.contains("hunter2-wrong"), "{sentence}");
}

#[tokio::test]
async fn a_database_that_does_not_exist_is_named() {
    let url = postgres_url(|url| url.set_path("/no_such_shows")).await;
    let expected = |setting| {
        let address = address(&url);
        format!(
            "{address} has no database \"no_such_shows\" ({setting}): create it, or correct the name"
        )
    };

    assert_eq!(serve_failure(&url).await, expected("DATABASE_URL"));

    let parsed = Url::parse(&url).unwrap();
    let port = parsed.port().unwrap_or(5432).to_string();
    let parts = [
        ("DB_HOST", parsed.host_str().unwrap()),
        ("DB_PORT", &port),
        ("DB_USER", parsed.username()),
        ("DB_PASSWORD", parsed.password().unwrap_or_default()),
        ("DB_NAME", "no_such_shows"),
    ];
    assert_eq!(failure("migrate", &parts).await, expected("DB_NAME"));
}

#[tokio::test]
async fn a_server_without_tls_names_sslmode() {
    let url = postgres_url(|url| url.set_query(Some("sslmode=require"))).await;

    let sentence = serve_failure(&url).await;

    let expected = "with TLS: check sslmode and the certificates (DATABASE_URL)";
    assert!(sentence.contains(expected), "{sentence}");
}

#[tokio::test]
async fn a_host_that_is_unknown_or_unreachable_is_named() {
    let unknown = "postgres://ada@no-such-host.invalid/shows";
    let sentence = failure("migrate", &[("DATABASE_URL", unknown)]).await;
    assert!(sentence.contains("no-such-host.invalid:5432"), "{sentence}");
    assert!(sentence.contains("(DATABASE_URL)"), "{sentence}");

    let unreachable = [("DB_HOST", "127.0.0.1"), ("DB_PORT", "1")];
    let sentence = failure("migrate", &unreachable).await;
    let expected = "cannot connect to 127.0.0.1:1 (DB_HOST): ";
    assert!(sentence.starts_with(expected), "{sentence}");
}

#[tokio::test]
async fn a_server_that_waits_for_its_database_says_so_once_in_a_while() {
    let database = TestDatabase::create(Sqlite).await;
    let unreachable = ("DATABASE_URL", "postgres://ada@127.0.0.1:1/shows");
    let short = ("SLUICE_DB_ACQUIRE_TIMEOUT", "100ms");
    let server = Process::serve(&database, &[unreachable, short]);
    let warnings = || {
        let log = server.log().into_iter();
        let is_warning = |line: &String| line.contains("\"level\":\"WARN\"");
        log.filter(is_warning).collect::<Vec<_>>()
    };
    eventually("it says why it waits", async || {
        (!warnings().is_empty()).then_some(())
    })
    .await;

    sleep(Duration::from_secs(4)).await;

    let warnings = warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let expected = "cannot connect to 127.0.0.1:1 (DATABASE_URL): ";
    assert_eq!(warnings[0].matches(expected).count(), 1, "{warnings:?}");
}

#[rstest]
#[tokio::test]
async fn a_database_of_a_later_version_is_refused(#[values(Sqlite, Postgres)] engine: Engine) {
    let database = TestDatabase::create(engine).await;
    let checksum = match engine {
        Sqlite => "x'00'",
        Postgres | Pooled => "'\\x00'",
    };
    let later = format!(
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
         values (9999, 'later', true, {checksum}, 0)"
    );
    database.execute(&later).await;

    let sentence = serve_failure(&database.url).await;

    let expected = "was migrated by a later version of Sluice: it has migration 9999";
    assert!(sentence.contains(expected), "{sentence}");
    assert_names(&sentence, &database);
}

#[rstest]
#[tokio::test]
async fn a_database_with_another_migration_is_refused(#[values(Sqlite, Postgres)] engine: Engine) {
    let database = TestDatabase::empty(engine).await;
    migrate(&database).await;
    let checksum = match engine {
        Sqlite => "x'00'",
        Postgres | Pooled => "'\\x00'",
    };
    let changed = format!("update _sqlx_migrations set checksum = {checksum} where version = 3");
    database.execute(&changed).await;

    let sentence = serve_failure(&database.url).await;

    let expected = "has another migration 3 than this program";
    assert!(sentence.contains(expected), "{sentence}");
    assert_names(&sentence, &database);
}

#[tokio::test]
async fn a_user_who_may_not_create_tables_is_told_so() {
    let database = TestDatabase::empty(Postgres).await;
    let mut url = Url::parse(&database.url).unwrap();
    let user = format!("{}_guest", url.path().trim_start_matches('/'));
    let create = format!("create role {user} login password 'guest'");
    database.execute(&create).await;
    database
        .execute("revoke create on schema public from public")
        .await;
    url.set_username(&user).unwrap();
    url.set_password(Some("guest")).unwrap();

    let sentence = serve_failure(url.as_str()).await;

    let expected = "the user of DATABASE_URL may not create or use tables in the database";
    assert!(sentence.starts_with(expected), "{sentence}");
    database.execute(&format!("drop role {user}")).await;
}

/// Damages a file of SQLite from a byte on.
fn damage(database: &TestDatabase, from: u64) {
    let file = database.directory.path().join("sluice.db");
    let length = fs::metadata(&file).unwrap().len();
    let mut file = fs::OpenOptions::new().write(true).open(file).unwrap();
    file.seek(SeekFrom::Start(from)).unwrap();
    let garbage = vec![0xa5; usize::try_from(length - from).unwrap()];
    file.write_all(&garbage).unwrap();
}

#[rstest]
#[case::in_its_header(0)]
#[case::in_its_schema(100)]
#[case::behind_its_first_page(4096)]
#[tokio::test]
async fn a_damaged_sqlite_file_is_named(#[case] from: u64) {
    let database = TestDatabase::create(Sqlite).await;
    damage(&database, from);

    let sentence = serve_failure(&database.url).await;

    let expected = "is damaged or not an SQLite database: restore it from a backup";
    assert!(sentence.contains(expected), "{sentence}");
    assert_names(&sentence, &database);
}

#[tokio::test]
async fn a_folder_without_the_sqlite_file_is_named() {
    let sentence = serve_failure("sqlite:/nonexistent/sluice.db").await;

    let expected = "cannot create the lock file /nonexistent/sluice.db.server-lock";
    assert!(sentence.starts_with(expected), "{sentence}");
    assert!(sentence.contains("DATABASE_URL"), "{sentence}");
}

async fn migrate(database: &TestDatabase) {
    let settings = [
        ("DATABASE_URL", &*database.url),
        (
            "SLUICE_DATA_DIR",
            database.directory.path().to_str().unwrap(),
        ),
    ];
    let (code, stderr) = outcome(&["migrate"], &settings).await;
    assert_eq!(code, Some(0), "{stderr}");
}

/// Checks that a sentence names the file of a database, or its setting.
#[track_caller]
fn assert_names(sentence: &str, database: &TestDatabase) {
    let file = database.url.strip_prefix("sqlite:");
    let name = file.unwrap_or("(DATABASE_URL)");
    assert!(sentence.contains(name), "{sentence}");
}

use std::os::unix::fs::PermissionsExt;

use rstest::rstest;
use sluice::proto::v1 as pb;
use sqlx::Connection;
use sqlx_postgres::PgConnection;

use crate::harness::{Client, Engine, Postgres, Process, Signal, Sqlite, TestDatabase, eventually};

/// A secret that production accepts.
const RANDOM_SECRET: &str = "c1f0a9e6b37d58422e6b1d07f98a3c54";

/// Keys that production accepts.
const KEYS: [(&str, &str); 2] = [
    ("SLUICE_JWT_SECRET", RANDOM_SECRET),
    (
        "SLUICE_SEALING_KEYS",
        "S0ypXl2hVd1m6tFv0RwqO3eJ8nZbT4kUaG7cHs5yI9Q=",
    ),
];

/// Runs a command; returns its exit code and standard error.
pub async fn outcome(arguments: &[&str], settings: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = Process::command(arguments, settings)
        .output()
        .await
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[tokio::test]
async fn the_data_directory_is_created_with_mode_0700() {
    let directory = tempfile::tempdir().unwrap();
    let made = directory.path().join("some/data");

    let settings = [("SLUICE_DATA_DIR", made.to_str().unwrap())];
    let (code, stderr) = outcome(&["migrate"], &settings).await;

    assert_eq!(code, Some(0), "{stderr}");
    let mode = std::fs::metadata(&made).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[rstest]
#[case("jwt.secret")]
#[case("sealing.key")]
#[tokio::test]
async fn a_truncated_secret_file_stops_the_start(#[case] file: &str) {
    let database = TestDatabase::create(Sqlite).await;
    std::fs::write(database.directory.path().join(file), "\n").unwrap();
    let settings = [
        ("DATABASE_URL", &*database.url),
        (
            "SLUICE_DATA_DIR",
            database.directory.path().to_str().unwrap(),
        ),
    ];

    let (code, stderr) = outcome(&["serve"], &settings).await;

    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.lines().last().unwrap().contains(file), "{stderr}");
}

#[tokio::test]
async fn two_mutually_exclusive_settings_are_both_named() {
    let secret = "0123456789abcdef0123456789abcdef";
    let both = [
        ("SLUICE_JWT_SECRET", secret),
        ("SLUICE_JWT_KEY_FILES", "a.pem"),
    ];
    let (code, stderr) = outcome(&["serve"], &both).await;
    assert_eq!(code, Some(2), "{stderr}");
    assert!(
        stderr.contains("SLUICE_JWT_SECRET") && stderr.contains("SLUICE_JWT_KEY_FILES"),
        "{stderr}"
    );
    assert!(!stderr.contains(secret), "{stderr}");

    let both = [
        ("DB_HOST", "localhost"),
        ("DATABASE_URL", "postgres://localhost/x"),
    ];
    let (code, stderr) = outcome(&["serve"], &both).await;
    assert_eq!(code, Some(2), "{stderr}");
    assert!(
        stderr.contains("DB_HOST") && stderr.contains("DATABASE_URL"),
        "{stderr}"
    );
}

#[rstest]
#[case(&[], &["SLUICE_JWT_SECRET", "SLUICE_SEALING_KEYS"])]
#[case(&[("SLUICE_JWT_SECRET", RANDOM_SECRET)], &["SLUICE_SEALING_KEYS"])]
#[case(&[("SLUICE_BCRYPT_COST", "9"), KEYS[0], KEYS[1]], &["SLUICE_BCRYPT_COST"])]
#[case(&[("SLUICE_MAIL", "smtps://mail.example.com"), KEYS[0], KEYS[1]], &["SLUICE_MAIL_FROM"])]
#[case(&[("SLUICE_JWT_SECRET", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), KEYS[1]], &["SLUICE_JWT_SECRET"])]
#[case(&[KEYS[0], ("SLUICE_SEALING_KEYS", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")], &["SLUICE_SEALING_KEYS"])]
#[tokio::test]
async fn in_production_no_secret_is_generated(
    #[case] settings: &[(&str, &str)],
    #[case] named: &[&str],
) {
    let directory = tempfile::tempdir().unwrap();
    let own = [
        ("SLUICE_ENV", "production"),
        ("SLUICE_DATA_DIR", directory.path().to_str().unwrap()),
    ];
    let settings: Vec<_> = own.into_iter().chain(settings.iter().copied()).collect();

    let (code, stderr) = outcome(&["serve"], &settings).await;

    assert_eq!(code, Some(2), "{stderr}");
    let errors: Vec<_> = stderr.lines().collect();
    assert_eq!(errors.len(), named.len(), "{stderr}");
    for (error, named) in errors.iter().zip(named) {
        assert!(error.starts_with(&format!("sluice: {named}")), "{stderr}");
    }
    let made = std::fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(made, 0);
}

#[tokio::test]
async fn missing_secrets_are_generated_once_with_mode_0600() {
    let database = TestDatabase::create(Sqlite).await;
    let path = |file| database.directory.path().join(file);
    let mut first = Process::serve(&database, &[]);
    let mut client = Client::anonymous(&first.channel().await);
    let tokens = sign_up(&mut client).await;
    first.signal(Signal::TERM);
    assert_eq!(first.wait_for_exit().await, Some(0));
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path("jwt.secret")), 0o600);
    assert_eq!(mode(path("sealing.key")), 0o600);

    let second = Process::serve(&database, &[]);
    let mut ada = Client::with_token(&second.channel().await, &tokens.access_token);
    ada.auth.get_me(pb::GetMeRequest {}).await.unwrap();
}

#[tokio::test]
async fn several_ports_need_as_many_hosts() {
    let hosts = [("DB_HOST", "a,b"), ("DB_PORT", "1,2,3")];

    let (code, stderr) = outcome(&["serve"], &hosts).await;

    assert_eq!(code, Some(2), "{stderr}");
    let last = stderr.lines().last().unwrap();
    let expected = "sluice: DB_PORT must have one port, or one for each host of DB_HOST";
    assert_eq!(last, expected);
}

/// Predecessor's defect G20: each start ran the migrations as a child process, unguarded.
#[tokio::test]
async fn several_servers_started_at_once_on_an_empty_database_all_serve() {
    let database = TestDatabase::empty(Postgres).await;
    let servers: Vec<_> = (0..4).map(|_| Process::serve(&database, &[])).collect();

    let mut tokens = None;
    for server in &servers {
        let channel = server.channel().await;
        let tokens = match &tokens {
            Some(tokens) => tokens,
            None => tokens.insert(sign_up(&mut Client::anonymous(&channel)).await),
        };
        // Each accepts the token that the first one issued.
        let mut ada = Client::with_token(&channel, &tokens.access_token);
        ada.auth.get_me(pb::GetMeRequest {}).await.unwrap();
    }
}

#[tokio::test]
async fn a_file_of_sqlite_has_one_server_however_many_are_started() {
    let database = TestDatabase::empty(Sqlite).await;
    let mut servers: Vec<_> = (0..3).map(|_| Process::serve(&database, &[])).collect();

    let mut refused = 0;
    let serving = eventually("all but one server have stopped", async || {
        for at in (0..servers.len()).rev() {
            if servers[at]
                .log()
                .iter()
                .any(|line| line.starts_with("sluice: "))
            {
                let mut stopped = servers.remove(at);
                assert_eq!(stopped.wait_for_exit().await, Some(1));
                let log = stopped.log();
                let sentence = log.last().unwrap();
                assert!(sentence.contains("another server uses"), "{sentence}");
                assert!(sentence.contains("DATABASE_URL"), "{sentence}");
                refused += 1;
            }
        }
        (refused == 2).then_some(())
    });
    serving.await;
    let channel = servers[0].channel().await;
    sign_up(&mut Client::anonymous(&channel)).await;

    // A command for operators works beside the server; a link to the file is the same file.
    Process::create_operator_key(&database).await;
    let link = database.directory.path().join("link.db");
    std::os::unix::fs::symlink(database.directory.path().join("sluice.db"), &link).unwrap();
    let url = format!("sqlite:{}", link.display());
    let mut second = Process::serve(&database, &[("DATABASE_URL", &url)]);
    assert_eq!(second.wait_for_exit().await, Some(1));

    servers[0].signal(Signal::KILL);
    assert_eq!(servers[0].wait_for_exit().await, None);
    Process::serve(&database, &[]).channel().await;
}

#[tokio::test]
async fn a_server_waits_for_the_migration_of_another_without_a_timeout() {
    let database = TestDatabase::create(Postgres).await;
    let mut other = PgConnection::connect(&database.url).await.unwrap();
    let lock = "begin; lock table _sqlx_migrations in access exclusive mode";
    sqlx::raw_sql(lock).execute(&mut other).await.unwrap();

    let server = Process::serve(&database, &[]);
    eventually(
        "it waits longer than a call may wait for a connection",
        async || {
            let waiting = "select count(*) from pg_stat_activity
                       where datname = current_database() and wait_event_type = 'Lock'
                         and query_start < now() - interval '3 seconds'";
            (database.number(waiting).await > 0).then_some(())
        },
    )
    .await;
    sqlx::raw_sql("rollback").execute(&mut other).await.unwrap();

    server.channel().await;
}

#[rstest]
#[tokio::test]
async fn a_migration_with_a_lower_number_than_the_last_applied_one_is_applied(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let database = TestDatabase::create(engine).await;
    for statement in [
        "alter table projects drop column outage_policy",
        "delete from _sqlx_migrations where version = 22",
    ] {
        database.execute(statement).await;
    }

    Process::serve(&database, &[]).channel().await;

    let applied = "select count(*) from _sqlx_migrations where version = 22 and success";
    assert_eq!(database.number(applied).await, 1);
    let holding = "select count(*) from projects where outage_policy = 'hold'";
    assert_eq!(database.number(holding).await, 0);
}

#[rstest]
#[tokio::test]
async fn acknowledged_writes_survive_a_kill(#[values(Sqlite, Postgres)] engine: Engine) {
    let database = TestDatabase::create(engine).await;
    let mut first = Process::serve(&database, &[]);
    let mut client = Client::anonymous(&first.channel().await);
    let tokens = sign_up(&mut client).await;
    let mut ada = Client::with_token(&first.channel().await, &tokens.access_token);
    let request = pb::CreateProjectRequest {
        display_name: "Show".to_owned(),
        ..Default::default()
    };
    let made = ada
        .project
        .create_project(request)
        .await
        .unwrap()
        .into_inner();
    first.signal(Signal::KILL);
    assert_eq!(first.wait_for_exit().await, None);

    let second = Process::serve(&database, &[]);
    let mut ada = Client::with_token(&second.channel().await, &tokens.access_token);
    let project_id = made.project.unwrap().id;
    let request = pb::RevealStreamKeyRequest { project_id };
    let revealed = ada
        .project
        .reveal_stream_key(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(revealed.stream_key, made.stream_key);
}

#[rstest]
#[tokio::test]
async fn migrate_can_be_run_repeatedly_before_the_first_start(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let database = TestDatabase::empty(engine).await;
    let directory = database.directory.path().to_str().unwrap();
    let settings = [
        ("DATABASE_URL", &*database.url),
        ("SLUICE_DATA_DIR", directory),
    ];

    for _ in 0..2 {
        let (code, stderr) = outcome(&["migrate"], &settings).await;
        assert_eq!(code, Some(0), "{stderr}");
    }
    assert_eq!(database.number("select count(*) from users").await, 0);
}

#[tokio::test]
async fn the_database_can_be_configured_by_separate_variables() {
    let database = TestDatabase::empty(Postgres).await;
    let url = url::Url::parse(&database.url).unwrap();
    let port = url.port().unwrap_or(5432).to_string();
    let settings = [
        ("DB_HOST", url.host_str().unwrap()),
        ("DB_PORT", &port),
        ("DB_USER", url.username()),
        ("DB_PASSWORD", url.password().unwrap_or_default()),
        ("DB_NAME", url.path().trim_start_matches('/')),
        (
            "SLUICE_DATA_DIR",
            database.directory.path().to_str().unwrap(),
        ),
    ];

    let (code, stderr) = outcome(&["migrate"], &settings).await;

    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(database.number("select count(*) from users").await, 0);
}

#[tokio::test]
async fn an_operator_key_requires_an_operator_scope() {
    let directory = tempfile::tempdir().unwrap();
    let settings = [("SLUICE_DATA_DIR", directory.path().to_str().unwrap())];
    let arguments = [
        "admin",
        "create-api-key",
        "--scope",
        "projects:read",
        "--name",
        "x",
    ];

    let (code, stderr) = outcome(&arguments, &settings).await;

    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("streams:publish"), "{stderr}");
}

async fn sign_up(client: &mut Client) -> pb::Tokens {
    let request = pb::SignUpRequest {
        email: "ada@example.com".to_owned(),
        password: "correct horse battery".to_owned(),
        display_name: "Ada".to_owned(),
        request_id: String::new(),
    };
    client
        .auth
        .sign_up(request)
        .await
        .unwrap()
        .into_inner()
        .tokens
        .unwrap()
}

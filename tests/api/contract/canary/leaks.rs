//! Canary secrets enter the real program through every RPC, in calls that succeed and in
//! calls that fail, at log level trace. Then its outputs are searched for them.

use std::{collections::BTreeSet, process::Stdio};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rstest::rstest;
use tokio::process::Command;
use uuid::Uuid;

use super::recorder::{Recorder, canary};
use super::scanner::SecretScanner;
use crate::contract::descriptors::requests;
use crate::harness::{Collector, Engine, Postgres, Process, Signal, Sqlite, TestDatabase};

/// Settings of the program beside the secrets and the log.
const SETTINGS: &[(&str, &str)] = &[
    ("SLUICE_BCRYPT_COST", "4"),
    ("SLUICE_WEBAUTHN_RP_ID", "example.com"),
    ("SLUICE_WEBAUTHN_ORIGINS", "https://app.example.com"),
];

/// All bytes of a database: its files, or the output of `pg_dump`.
async fn stored(database: &TestDatabase) -> Vec<u8> {
    if database.url.starts_with("sqlite:") {
        let mut bytes = Vec::new();
        for name in ["sluice.db", "sluice.db-wal"] {
            // The write-ahead log is deleted with the last connection.
            let path = database.directory.path().join(name);
            bytes.extend(std::fs::read(path).unwrap_or_default());
        }
        return bytes;
    }
    let dump = Command::new("pg_dump")
        .args(["--dbname", &database.url])
        .stderr(Stdio::inherit())
        .output()
        .await
        .unwrap();
    assert!(dump.status.success());
    dump.stdout
}

#[rstest]
#[tokio::test]
async fn no_secret_leaks_into_a_log_an_error_an_audit_event_or_the_database(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let database = TestDatabase::create(engine).await;
    let collector = Collector::start().await;
    let jwt_secret = canary("jwt-secret");
    let sealing_key = STANDARD.encode(&Uuid::now_v7().simple().to_string()[..]);
    let secrets = [
        ("SLUICE_LOG", "trace"),
        ("SLUICE_JWT_SECRET", &*jwt_secret),
        ("SLUICE_SEALING_KEYS", &*sealing_key),
        ("SLUICE_OTLP_ENDPOINT", &*collector.url),
        ("SLUICE_TRACE_RATIO", "1"),
    ];
    let settings: Vec<_> = secrets.iter().chain(SETTINGS).copied().collect();

    let directory = database.directory.path().to_str().unwrap();
    let admin = [
        "admin",
        "create-api-key",
        "--scope=streams:publish",
        "--scope=relays:work",
        "--scope=operator:read",
        "--scope=operator:write",
        "--name=m",
    ];
    let of_admin = [
        ("DATABASE_URL", &*database.url),
        ("SLUICE_DATA_DIR", directory),
    ];
    let of_admin: Vec<_> = settings.iter().chain(&of_admin).copied().collect();
    let operator = Process::command(&admin, &of_admin).output().await.unwrap();
    let operators_key = String::from_utf8(operator.stdout).unwrap();

    let mut program = Process::serve(&database, &settings);
    let mut recorder = Recorder::new(program.channel().await);
    recorder.secret("JWT secret", &jwt_secret);
    recorder.secret("sealing key", &sealing_key);
    let url = url::Url::parse(&database.url).unwrap();
    if let Some(password) = url.password() {
        recorder.secret("password of the database", password);
    }
    let key = STANDARD.decode(&sealing_key).unwrap();
    recorder
        .secrets
        .push(("bytes of the sealing key".to_owned(), key));
    let operators_key = recorder.secret("operator's key", operators_key.trim());

    let left = recorder.all_but_deletions(&database, operators_key).await;
    let full = stored(&database).await;
    recorder.deletions(left).await;
    let emptied = stored(&database).await;
    let metrics = program.operations("GET", "/metrics", "").await;
    let metrics = metrics.body.into_bytes();
    program.signal(Signal::TERM);
    program.wait_for_exit().await;
    let log = program.log().join("\n").into_bytes();
    let traces = format!("{:?}", collector.received()).into_bytes();

    let all: BTreeSet<_> = requests().into_keys().collect();
    assert_eq!(recorder.called, all, "every RPC is part of the recorder");
    let secrets = recorder.secrets.iter();
    let scanner =
        SecretScanner::new(secrets.map(|(name, secret)| (name.as_str(), secret.as_slice())));
    for (place, text) in [
        ("the log", &log),
        ("the metrics", &metrics),
        ("a trace", &traces),
        ("the log of the operator's command", &operator.stderr),
        ("a refusal or an audit event", &recorder.refusals),
        ("the full database", &full),
        ("the emptied database", &emptied),
        ("the stopped database", &stored(&database).await),
    ] {
        assert!(text.len() > 100, "{place} is not empty");
        assert_eq!(scanner.find_in(text), BTreeSet::new(), "in {place}");
    }
    let log = String::from_utf8(log).unwrap();
    for target in ["h2::", "sqlx::", "sluice::"] {
        assert!(log.contains(target), "the log includes {target}");
    }
}

//! The commands for operators that work at the database print JSON too.

use chrono::{DateTime, Utc};
use rstest::rstest;
use serde_json::Value;
use sluice::domain::Scope;

use crate::harness::{Engine, Postgres, Process, Sqlite, TestDatabase, TestServer, exchange};

/// The JSON that a command prints; nothing else is on standard output.
async fn json(database: &TestDatabase, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["-o", "json"]].concat();
    let output = Process::run(Process::admin(database, &arguments, &[])).await;
    assert_eq!(output.exit_code, Some(0), "{arguments:?}: {output:?}");
    serde_json::from_str(&output.stdout).unwrap()
}

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap().parse().unwrap()
}

#[rstest]
#[tokio::test]
async fn a_key_that_is_created_at_the_database_is_the_response_of_the_api(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let create = [
        "create-api-key",
        "--name=media 1",
        "--scope=streams:publish",
        "--node-id=n1",
    ];

    let created = json(&server.database, &create).await;

    let key = &created["operatorKey"];
    assert_eq!(key["displayName"], "media 1");
    assert_eq!(key["nodeId"], "n1");
    assert_eq!(key["scopes"][0], Scope::StreamsPublish.as_str());
    assert_eq!(key["state"], "OPERATOR_KEY_STATE_ACTIVE");
    let id = key["id"].as_str().unwrap().replace('-', "");
    let secret = created["secret"].as_str().unwrap();
    assert!(secret.starts_with(&format!("slk_{id}_")));
    exchange(&server.channel, secret).await;
}

#[rstest]
#[tokio::test]
async fn ended_sessions_and_rotated_keys_are_counted_and_named(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    server.user().await;

    let ended = json(&server.database, &["end-sessions", "--all"]).await;
    assert_eq!(ended["endedSessions"], 1);

    let rotated = json(&server.database, &["rotate-signing-key"]).await;
    assert!(rotated["keyId"].is_string(), "{rotated}");
    assert!(time(&rotated["activeTime"]) < time(&rotated["othersRetireTime"]));

    let rotate = ["rotate-sealing-key", "--activate-after=5s"];
    let rotated = json(&server.database, &rotate).await;
    assert!(rotated["keyId"].is_string(), "{rotated}");
    assert!(rotated["sealedValues"].is_u64(), "{rotated}");
    assert_eq!(rotated["unreadableValues"], 0);
    assert!(time(&rotated["othersRetireTime"]) > Utc::now());
}

#[tokio::test]
async fn a_copy_lists_the_rows_of_each_table() {
    let server = TestServer::start(Sqlite).await;
    server.user().await;
    let database = server.stop().await;
    let target = TestDatabase::empty(Postgres).await;

    let copied = json(&database, &["copy", "--to", &target.url]).await;

    let tables = copied["tables"].as_array().unwrap();
    let rows = |table: &Value| table["rows"].as_u64().unwrap();
    let users = tables.iter().find(|table| table["name"] == "users");
    assert_eq!(rows(users.unwrap()), 1);
    let all: u64 = tables.iter().map(rows).sum();
    assert_eq!(copied["rows"], all);
}

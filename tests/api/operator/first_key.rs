//! `sluice admin create-api-key` works at the database until there is an operator.

use rstest::rstest;
use sluice::proto::v1 as pb;

use super::fixture::Fixture;
use crate::harness::{CommandOutput, Engine, Postgres, Process, Sqlite, TestDatabase};

async fn create(database: &TestDatabase, arguments: &[&str]) -> CommandOutput {
    let arguments = [&["create-api-key", "--name", "key"], arguments].concat();
    Process::run(Process::admin(database, &arguments, &[])).await
}

#[rstest]
#[tokio::test]
async fn keys_are_created_at_the_database_until_there_is_an_operator(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let database = TestDatabase::create(engine).await;
    let media = ["--scope=streams:publish"];
    let operator = ["--scope=operator:read", "--scope=operator:write"];

    // A media server, one that is bound to a node, and a reader: none of them can create keys.
    for arguments in [
        &media[..],
        &["--scope=relays:work", "--node-id=n1"],
        &["--scope=operator:read"],
        &operator,
    ] {
        let output = create(&database, arguments).await;
        assert_eq!(output.exit_code, Some(0), "{output:?}");
        assert!(output.stdout.starts_with("slk_"), "{output:?}");
    }

    for arguments in [&media[..], &operator] {
        let output = create(&database, arguments).await;
        assert_eq!(output.exit_code, Some(5), "{output:?}");
        assert!(output.stderr.contains("create-operator-key"), "{output:?}");
        assert!(output.stderr.contains("--break-glass"), "{output:?}");
        assert_eq!(output.stdout, "");
    }
    let query = "select count(*) from api_keys";
    assert_eq!(database.number(query).await, 4);

    let forced = ["--scope=operator:write", "--break-glass"];
    let output = create(&database, &forced).await;
    assert_eq!(output.exit_code, Some(0), "{output:?}");
}

#[rstest]
#[tokio::test]
async fn a_revoked_or_expired_operator_does_not_count(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values("revoke_time", "expire_time")] column: &str,
) {
    let fixture = Fixture::start(engine).await;
    let database = &fixture.server.database;
    let refused = create(database, &["--scope=operator:write"]).await;
    assert_eq!(refused.exit_code, Some(5), "{refused:?}");

    let statement = format!("update api_keys set {column} = create_time");
    database.execute(&statement).await;

    let output = create(database, &["--scope=operator:write"]).await;
    assert_eq!(output.exit_code, Some(0), "{output:?}");
}

#[tokio::test]
async fn only_keys_of_media_servers_and_workers_are_bound_to_a_node() {
    let database = TestDatabase::create(Sqlite).await;

    let arguments = ["--scope=operator:read", "--node-id=n1"];
    let output = create(&database, &arguments).await;

    assert_eq!(output.exit_code, Some(2), "{output:?}");
    assert!(output.stderr.contains("--node-id"), "{output:?}");
}

#[rstest]
#[tokio::test]
async fn a_key_of_the_database_has_no_creator_and_is_audited(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;

    let keys = fixture.keys(pb::ListOperatorKeysRequest::default()).await;
    let events = fixture
        .events(pb::OperatorServiceListAuditEventsRequest::default())
        .await;

    assert_eq!(keys[0].creator_key_id, "");
    assert_eq!(events.len(), 1);
    assert_eq!(
        events[0].event.as_ref().unwrap().action,
        "CreateOperatorKey"
    );
    assert_eq!(events[0].operator_key_display_name, "");
}

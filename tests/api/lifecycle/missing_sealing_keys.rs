//! A server without a sealing key that it needs.

use rstest::rstest;
use sluice::proto::v1 as pb;

use super::sealing_key_rotation::{
    SealedSecrets, rotate, sealing_key_id, sealing_keys_flag, start_error,
};
use crate::harness::{Engine, Postgres, Process, Sqlite, TestServer, eventually};

#[rstest]
#[tokio::test]
async fn a_server_without_a_required_key_does_not_start(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start_with(engine, &[&sealing_keys_flag(&[1])]).await;
    let mut secrets = SealedSecrets::create(&server).await;
    let database = server.stop().await;

    let refusal = start_error(&database, &sealing_keys_flag(&[2])).await;
    assert!(refusal.contains(&sealing_key_id(&[1; 32])), "{refusal}");
    let admin = ["rotate-signing-key", &sealing_keys_flag(&[2])];
    let output = Process::run(Process::admin(&database, &admin, &[])).await;
    assert_eq!(output.exit_code, Some(2), "{output:?}");
    assert!(
        output.stderr.contains(&sealing_key_id(&[1; 32])),
        "{output:?}"
    );

    let server = TestServer::start_on(database, &[&sealing_keys_flag(&[2, 1])]).await;
    secrets.assert_readable(&server).await;
}

#[rstest]
#[case("seal", "sealing")]
#[case("sign", "signing")]
#[tokio::test]
async fn a_server_that_cannot_open_a_stored_key_does_not_start(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[case] purpose: &str,
    #[case] noun: &str,
) {
    let server = TestServer::start_with(engine, &[&sealing_keys_flag(&[1])]).await;
    let command = format!("rotate-{noun}-key");
    let admin = [&*command, "--activate-after=5s", &sealing_keys_flag(&[1])];
    let output = Process::run(Process::admin(&server.database, &admin, &[])).await;
    assert_eq!(output.exit_code, Some(0), "{output:?}");
    let database = server.stop().await;

    // Someone marks the root key as retired.
    let retired = "update keys set retire_time = '2020-01-01T00:00:00+00:00'
                   where secret_sealed is null";
    database.execute(retired).await;
    let refusal = start_error(&database, &sealing_keys_flag(&[2])).await;
    assert!(refusal.contains(&sealing_key_id(&[1; 32])), "{refusal}");
    assert!(refusal.contains(&format!("the {noun} key")), "{refusal}");

    // Or the key was moved from another row.
    let moved = format!(
        "update keys set id = '00000000' where secret_sealed is not null and purpose = '{purpose}'"
    );
    database.execute(&moved).await;
    let refusal = start_error(&database, &sealing_keys_flag(&[1])).await;
    assert!(
        refusal.contains(&format!("the {noun} key 00000000")),
        "{refusal}"
    );
}

#[rstest]
#[tokio::test]
async fn a_running_server_that_cannot_open_a_new_key_stops_serving(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start_with(engine, &[&sealing_keys_flag(&[1])]).await;
    let secrets = SealedSecrets::create(&server).await;
    rotate(&server.database, &[&sealing_keys_flag(&[1])]).await;
    let mut client = secrets.user.client.auth.clone();
    client.get_me(pb::GetMeRequest {}).await.unwrap();

    let arguments = ["rotate-signing-key", &sealing_keys_flag(&[2, 1])];
    let output = Process::run(Process::admin(&server.database, &arguments, &[])).await;
    assert_eq!(output.exit_code, Some(0), "{output:?}");

    let refusal = eventually("calls are refused", async || {
        client.get_me(pb::GetMeRequest {}).await.err()
    })
    .await;
    assert_eq!(refusal.code(), tonic::Code::Unavailable);
}

/// What the lost key has sealed could be opened by no other.
#[rstest]
#[tokio::test]
async fn a_lost_sealing_key_is_not_replaced_by_a_new_one(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let mut secrets = SealedSecrets::create(&server).await;
    let database = server.stop().await;
    let file = database.directory.path().join("sealing.key");
    let kept = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let settings = [
        ("SLUICE_LISTEN", "127.0.0.1:0"),
        (
            "SLUICE_DATA_DIR",
            database.directory.path().to_str().unwrap(),
        ),
        ("DATABASE_URL", &*database.url),
    ];

    let output = Process::run(Process::command(&["serve"], &settings)).await;

    assert_eq!(output.exit_code, Some(2), "{output:?}");
    let error = output.stderr.lines().last().unwrap();
    assert!(
        error.starts_with(&format!("sluice: {} was missing", file.display())),
        "{error}"
    );
    assert!(
        error.contains("put the file back, or set SLUICE_SEALING_KEYS"),
        "{error}"
    );
    assert!(!file.exists());

    // Another key in its place is left alone.
    let other = "S0ypXl2hVd1m6tFv0RwqO3eJ8nZbT4kUaG7cHs5yI9Q=";
    std::fs::write(&file, other).unwrap();
    let output = Process::run(Process::command(&["serve"], &settings)).await;
    assert_eq!(output.exit_code, Some(2), "{output:?}");
    let error = output.stderr.lines().last().unwrap();
    assert!(
        error.starts_with(&format!("sluice: {} has another key", file.display())),
        "{error}"
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), other);

    std::fs::write(&file, kept).unwrap();
    let server = TestServer::start_on(database, &[]).await;
    secrets.assert_readable(&server).await;
}

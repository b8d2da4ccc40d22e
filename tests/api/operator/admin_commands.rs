//! The commands for operators that call OperatorService.

use rstest::rstest;
use sluice::{domain::Scope, proto::v1 as pb};
use tonic::Code;

use super::fixture::Fixture;
use crate::{
    auth::calls::{exchange_api_key, sign_in},
    harness::{CommandOutput, Engine, Postgres, Process, Sqlite, exchange, refused},
    organization::fixture::{create as create_organization, verified_user},
    relay::fixture::Worker,
};

/// The id of no user and no key.
const UNKNOWN: &str = "01890000-0000-7000-8000-000000000000";

/// Runs `sluice admin` with the operator's key.
async fn admin(fixture: &Fixture, arguments: &[&str]) -> CommandOutput {
    admin_with(fixture, &fixture.secret, arguments).await
}

async fn admin_with(fixture: &Fixture, key: &str, arguments: &[&str]) -> CommandOutput {
    let server = format!("http://{}", fixture.server.address);
    let settings = [("SLUICE_SERVER", &*server), ("SLUICE_OPERATOR_KEY", key)];
    let arguments = [&["admin"], arguments].concat();
    Process::run(Process::command(&arguments, &settings)).await
}

/// The output of a command that succeeds.
async fn printed(fixture: &Fixture, arguments: &[&str]) -> String {
    let output = admin(fixture, arguments).await;
    assert_eq!(output.exit_code, Some(0), "{arguments:?}: {output:?}");
    assert_eq!(output.stderr, "", "{arguments:?}");
    output.stdout
}

#[rstest]
#[tokio::test]
async fn an_operator_creates_lists_and_revokes_keys(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;

    let create = [
        "create-operator-key",
        "--name=media server 1",
        "--scope=streams:publish",
        "--scope=relays:work",
        "--node-id=n1",
        "--expire-after=90days",
    ];
    let secret = printed(&fixture, &create).await;
    let secret = secret.trim();
    exchange(&fixture.server.channel, secret).await;

    let request = pb::ListOperatorKeysRequest {
        node_id: "n1".to_owned(),
        ..Default::default()
    };
    let key = fixture.keys(request).await.remove(0);
    assert!(key.expire_time.is_some());
    assert_eq!(key.creator_key_id, fixture.key_id);
    let list = ["list-operator-keys", "--state=active", "--node-id=n1"];
    let listed = printed(&fixture, &list).await;
    let lines: Vec<_> = listed.lines().collect();
    assert_eq!(lines.len(), 2, "{listed}");
    for text in [
        &*key.id,
        "media server 1",
        "ACTIVE",
        "streams:publish,relays:work",
        "n1",
    ] {
        assert!(lines[1].contains(text), "{text}: {listed}");
    }
    assert!(!listed.contains(secret));

    let revoke = ["revoke-operator-key", &key.id, "--include-created"];
    assert_eq!(printed(&fixture, &revoke).await, "1 keys revoked\n");
    let refusal = refused(exchange_api_key(&fixture.server.channel, secret).await);
    assert_eq!(refusal.reason, "API_KEY_INVALID");
}

#[rstest]
#[tokio::test]
async fn an_operator_changes_single_limits_of_a_quota(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let ada = fixture.server.user().await;
    ada.project().await;
    let id = &*ada.user.id;

    let none = printed(&fixture, &["get-quota", id]).await;
    assert_eq!(none.matches("unlimited").count(), 6, "{none}");
    let set = ["set-quota", id, "--projects=1", "--delivered-bytes=1000000"];
    let set = printed(&fixture, &set).await;
    assert_eq!(set.matches("unlimited").count(), 4, "{set}");
    assert!(set.contains("1000000"), "{set}");

    let lifted = printed(&fixture, &["set-quota", id, "--projects", "unlimited"]).await;
    assert_eq!(lifted.matches("unlimited").count(), 5, "{lifted}");
    assert!(
        lifted.contains("1000000"),
        "the other limit stays: {lifted}"
    );
    let nothing = admin(&fixture, &["set-quota", id]).await;
    assert_eq!(nothing.exit_code, Some(2), "{nothing:?}");
}

#[rstest]
#[tokio::test]
async fn an_operator_suspends_and_resumes_a_user(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let ada = fixture.server.user().await;
    let email = format!("--email={}", ada.email.to_uppercase());

    let suspended = printed(&fixture, &["suspend-user", &email]).await;
    assert!(suspended.contains("SUSPENDED"), "{suspended}");
    let refusal = refused(sign_in(&fixture.server.channel, &ada.email, ada.password).await);
    assert_eq!(refusal.reason, "ACCOUNT_SUSPENDED");
    let listed = printed(&fixture, &["list-users", "--suspended"]).await;
    assert!(listed.contains(&ada.email), "{listed}");

    let user_id = format!("--user-id={}", ada.user.id);
    let resumed = printed(&fixture, &["resume-user", &user_id]).await;
    assert!(resumed.contains("ACTIVE"), "{resumed}");
    sign_in(&fixture.server.channel, &ada.email, ada.password)
        .await
        .unwrap();
    let shown = printed(&fixture, &["get-user", &email]).await;
    assert!(shown.contains(&ada.user.id), "{shown}");

    let log = printed(
        &fixture,
        &["list-audit-events", "--action=SuspendUser", "--since=1h"],
    )
    .await;
    assert!(log.contains(&ada.user.id), "{log}");
    assert!(log.contains(&fixture.key_id), "{log}");
}

#[rstest]
#[tokio::test]
async fn an_operator_suspends_and_resumes_an_organization(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let owner = verified_user(&fixture.server).await;
    let id = &*create_organization(&owner).await.id;

    let suspended = printed(&fixture, &["suspend-organization", id]).await;
    assert!(suspended.contains("SUSPENDED"), "{suspended}");
    let listed = printed(&fixture, &["list-organizations", "--suspended"]).await;
    assert!(listed.contains(id), "{listed}");
    let resumed = json(&fixture, &["resume-organization", id]).await;
    assert_eq!(
        resumed["organization"]["state"],
        "ORGANIZATION_STATE_ACTIVE"
    );
    let listed = printed(&fixture, &["list-organizations", "--suspended"]).await;
    assert!(!listed.contains(id), "{listed}");
    let member = format!("--user-id={}", owner.user.id);
    let listed = json(&fixture, &["list-organizations", &member]).await;
    assert_eq!(listed["organizations"][0]["id"], *id);
    let personal = admin(&fixture, &["suspend-organization", &owner.user.id]).await;
    assert_eq!(personal.exit_code, Some(5), "{personal:?}");
}

#[rstest]
#[tokio::test]
async fn an_operator_lists_nodes_workers_and_live_streams(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let ada = fixture.server.user().await;
    let (_, key) = ada.project().await;
    let media = fixture.server.media_server().await;
    let stream = media.live(&key, "c1").await;
    let workers = fixture.server.operator(&[Scope::RelaysWork]).await;
    let mut worker = Worker::claim(&workers, "w1", "", 5).await;
    worker.next().await.unwrap();

    let nodes = printed(&fixture, &["list-nodes"]).await;
    assert!(nodes.contains("n1"), "{nodes}");
    let workers = printed(&fixture, &["list-workers"]).await;
    assert!(workers.contains("w1"), "{workers}");
    let streams = printed(&fixture, &["list-live-streams", "--node-id=n1"]).await;
    for text in [&stream.id, &ada.user.id] {
        assert!(streams.contains(text.as_str()), "{streams}");
    }
}

/// The output of a command with `-o json`: one document.
async fn json(fixture: &Fixture, arguments: &[&str]) -> serde_json::Value {
    let output = printed(fixture, &[arguments, &["-o", "json"]].concat()).await;
    serde_json::from_str(&output).unwrap()
}

#[rstest]
#[tokio::test]
async fn json_is_the_response_of_the_api_in_one_document(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let ada = fixture.server.user().await;
    let (_, key) = ada.project().await;
    let stream = fixture.server.media_server().await.live(&key, "c1").await;
    let workers = fixture.server.operator(&[Scope::RelaysWork]).await;
    let mut worker = Worker::claim(&workers, "w1", "", 5).await;
    worker.next().await.unwrap();
    let streams = json(&fixture, &["list-live-streams"]).await;
    assert_eq!(streams["liveStreams"][0]["stream"]["id"], *stream.id);

    let create = [
        "create-operator-key",
        "--name=reader",
        "--scope=operator:read",
    ];
    let created = json(&fixture, &create).await;
    assert_eq!(created["operatorKey"]["displayName"], "reader");
    assert_eq!(created["operatorKey"]["creatorKeyId"], *fixture.key_id);
    exchange(&fixture.server.channel, created["secret"].as_str().unwrap()).await;
    let id = created["operatorKey"]["id"].as_str().unwrap();
    let listed = json(&fixture, &["list-operator-keys"]).await;
    assert_eq!(listed["operatorKeys"][0]["id"], *id);
    assert_eq!(
        listed["operatorKeys"][0]["state"],
        "OPERATOR_KEY_STATE_ACTIVE"
    );
    let revoked = json(&fixture, &["revoke-operator-key", id]).await;
    assert_eq!(revoked["revokedKeyIds"], serde_json::json!([id]));

    let email = format!("--email={}", ada.email);
    for (command, state) in [
        ("get-user", "USER_STATE_ACTIVE"),
        ("suspend-user", "USER_STATE_SUSPENDED"),
        ("resume-user", "USER_STATE_ACTIVE"),
    ] {
        let shown = json(&fixture, &[command, &email]).await;
        assert_eq!(shown["user"]["user"]["email"], *ada.email, "{command}");
        assert_eq!(shown["user"]["state"], state, "{command}");
    }
    let users = json(&fixture, &["list-users", &email]).await;
    assert_eq!(users["users"][0]["user"]["id"], *ada.user.id);

    let nodes = json(&fixture, &["list-nodes"]).await;
    assert_eq!(nodes["nodes"][0]["nodeId"], "n1");
    let drained = json(&fixture, &["drain-node", "n1"]).await;
    assert!(drained["node"]["drainTime"].is_string(), "{drained}");
    let resumed = json(&fixture, &["resume-node", "n1"]).await;
    assert!(resumed["node"]["drainTime"].is_null(), "{resumed}");
    let workers = json(&fixture, &["list-workers"]).await;
    assert_eq!(workers["workers"][0]["workerId"], "w1");
    let audited = ["list-audit-events", "--action=SuspendUser"];
    let audited = json(&fixture, &audited).await;
    assert_eq!(audited["auditEvents"][0]["userId"], *ada.user.id);
    assert_eq!(audited["auditEvents"][0]["event"]["action"], "SuspendUser");
}

#[tokio::test]
async fn a_list_prints_all_pages_up_to_its_limit() {
    let fixture = Fixture::start(Sqlite).await;
    for _ in 0..4 {
        fixture.server.user().await;
    }

    let all = printed(&fixture, &["list-users"]).await;
    assert_eq!(all.lines().count(), 5, "{all}");
    let output = admin(&fixture, &["list-users", "--limit=3"]).await;
    assert_eq!(output.stdout.lines().count(), 4, "{output:?}");
    assert!(output.stderr.contains("--limit"), "{output:?}");
}

#[tokio::test]
async fn an_error_names_the_setting_or_the_argument_and_the_remedy() {
    let fixture = Fixture::start(Sqlite).await;
    let (_, media) = fixture
        .server
        .operator_key(&[Scope::StreamsPublish], None, None)
        .await;
    for (key, arguments, code, text) in [
        ("", &["list-users"][..], 2, "SLUICE_OPERATOR_KEY must"),
        (
            "slk_wrong",
            &["list-users"],
            3,
            "neither revoked nor expired",
        ),
        (&*media, &["list-users"], 3, "operator:read"),
        (
            &*fixture.secret,
            &["get-user", "--user-id=1"],
            2,
            "user_id must",
        ),
        (
            &*fixture.secret,
            &["get-user", "--email=nobody@example.com"],
            4,
            "no such account",
        ),
        (
            &*fixture.secret,
            &["get-user", &format!("--user-id={UNKNOWN}")],
            4,
            "no such user",
        ),
        (
            &*fixture.secret,
            &["revoke-operator-key", UNKNOWN],
            4,
            "no such operator_key",
        ),
    ] {
        let output = admin_with(&fixture, key, arguments).await;
        assert_eq!(output.exit_code, Some(code), "{arguments:?}: {output:?}");
        let error = output.stderr.lines().last().unwrap();
        assert!(error.starts_with("sluice: "), "{output:?}");
        assert!(error.contains(text), "{text}: {output:?}");
        assert_eq!(output.stdout, "");
    }
}

/// What a script passes whose variable is not set.
#[tokio::test]
async fn an_empty_address_or_id_is_refused_and_suspends_nobody() {
    let fixture = Fixture::start(Sqlite).await;
    let newest = fixture.server.user().await;

    for argument in ["--email=", "--email= ", "--user-id="] {
        let output = admin(&fixture, &["suspend-user", argument]).await;

        assert_eq!(output.exit_code, Some(2), "{argument}: {output:?}");
        assert!(output.stderr.contains("must not be empty"), "{output:?}");
        let option = argument.split('=').next().unwrap();
        assert!(output.stderr.contains(option), "{output:?}");
        assert_eq!(output.stdout, "");
    }
    sign_in(&fixture.server.channel, &newest.email, newest.password)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_named() {
    let settings = [
        ("SLUICE_SERVER", "http://127.0.0.1:1"),
        ("SLUICE_OPERATOR_KEY", "slk_x"),
    ];
    let output = Process::run(Process::command(&["admin", "list-nodes"], &settings)).await;

    assert_eq!(output.exit_code, Some(6), "{output:?}");
    assert!(output.stderr.contains("http://127.0.0.1:1"), "{output:?}");
    assert!(output.stderr.contains("SLUICE_SERVER"), "{output:?}");
}

#[tokio::test]
async fn the_operator_key_can_be_in_a_file() {
    let fixture = Fixture::start(Sqlite).await;
    let file = fixture
        .server
        .database
        .directory
        .path()
        .join("operator.key");
    std::fs::write(&file, format!("{}\n", fixture.secret)).unwrap();
    let server = format!("http://{}", fixture.server.address);
    let settings = [
        ("SLUICE_SERVER", &*server),
        ("SLUICE_OPERATOR_KEY_FILE", file.to_str().unwrap()),
    ];

    let output = Process::run(Process::command(&["admin", "list-users"], &settings)).await;

    assert_eq!(output.exit_code, Some(0), "{output:?}");
    let refusal = refused(
        fixture
            .server
            .anonymous()
            .operator
            .list_users(pb::ListUsersRequest::default())
            .await,
    );
    assert_eq!(refusal.code, Code::Unauthenticated);
}

#[tokio::test]
async fn operator_is_another_name_of_the_command() {
    let fixture = Fixture::start(Sqlite).await;
    let server = format!("http://{}", fixture.server.address);
    let settings = [
        ("SLUICE_SERVER", &*server),
        ("SLUICE_OPERATOR_KEY", &*fixture.secret),
    ];

    for name in ["operator", "admin"] {
        let command = Process::command(&[name, "list-operator-keys", "-o", "json"], &settings);
        let output = Process::run(command).await;

        assert_eq!(output.exit_code, Some(0), "{output:?}");
        assert!(output.stdout.contains(&fixture.key_id), "{output:?}");
    }
}

/// A command in a folder with a `.env` file, with the variables of the environment.
async fn in_folder_with(file: &str, settings: &[(&str, &str)]) -> CommandOutput {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".env"), file).unwrap();
    let mut command = Process::command(&["operator", "list-users"], settings);
    command
        .env_remove("SLUICE_ENV_FILE")
        .current_dir(folder.path());
    Process::run(command).await
}

#[tokio::test]
async fn a_file_of_the_current_folder_does_not_decide_which_server_receives_the_key() {
    let thief = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let file = format!("SLUICE_SERVER=http://{}\n", thief.local_addr().unwrap());

    let output = in_folder_with(&file, &[("SLUICE_OPERATOR_KEY", "slk_x")]).await;

    assert_ne!(output.exit_code, Some(0), "{output:?}");
    thief.set_nonblocking(true).unwrap();
    let error = thief.accept().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{output:?}");
}

#[tokio::test]
async fn a_key_in_a_file_of_the_current_folder_is_not_used() {
    let output = in_folder_with("SLUICE_OPERATOR_KEY=slk_x\n", &[]).await;

    assert_eq!(output.exit_code, Some(2), "{output:?}");
    let said = "SLUICE_OPERATOR_KEY must be set";
    assert!(output.stderr.contains(said), "{output:?}");
    assert!(output.stderr.contains(".env is not read"), "{output:?}");
}

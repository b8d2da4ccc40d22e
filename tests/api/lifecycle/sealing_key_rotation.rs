//! Rotation of the keys that seal secrets at rest.

use std::process::Stdio;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rstest::rstest;
use sluice::proto::v1 as pb;

use crate::{
    harness::{
        BackgroundCalls, Client, CommandOutput, Engine, MediaServer, Pooled, Postgres, Process,
        Sqlite, TestDatabase, TestServer, User, eventually,
    },
    webhooks::fixture::create_quiet,
};

const ROTATE: [&str; 2] = ["rotate-sealing-key", "--activate-after=5s"];

/// The columns with sealed secrets.
const SEALED_COLUMNS: [(&str, &str); 7] = [
    ("projects", "stream_key_sealed"),
    ("destinations", "stream_key_sealed"),
    ("destinations", "srt_passphrase_sealed"),
    ("sessions", "refresh_seed"),
    ("streams", "play_url_sealed"),
    ("webhooks", "secret_sealed"),
    ("webhooks", "previous_secret_sealed"),
];

/// The flag `--sealing-keys` with keys that each repeat one byte.
pub fn sealing_keys_flag(bytes: &[u8]) -> String {
    let keys: Vec<_> = bytes
        .iter()
        .map(|byte| STANDARD.encode([*byte; 32]))
        .collect();
    format!("--sealing-keys={}", keys.join(","))
}

pub async fn rotate(database: &TestDatabase, flags: &[&str]) -> CommandOutput {
    let arguments: Vec<_> = ROTATE.iter().chain(flags).copied().collect();
    // It competes with the writes of servers.
    let settings = [("SLUICE_DB_ACQUIRE_TIMEOUT", "30s")];
    let output = Process::run(Process::admin(database, &arguments, &settings)).await;
    assert_eq!(output.exit_code, Some(0), "{output:?}");
    output
}

/// The id of the new key of a rotation.
fn new_key_id(output: &CommandOutput) -> &str {
    let line = output.stdout.lines().next().unwrap();
    line.rsplit(' ').next().unwrap()
}

/// How many values are sealed under a key, and how many under others.
async fn count_sealed(database: &TestDatabase, key: &str) -> (i64, i64) {
    let (mut under, mut others) = (0, 0);
    for (table, column) in SEALED_COLUMNS {
        let id = if database.url.starts_with("sqlite:") {
            format!("lower(hex(substr({column}, 1, 4)))")
        } else {
            format!("encode(substr({column}, 1, 4), 'hex')")
        };
        let count = format!("select count(*) from {table} where {column} is not null and {id}");
        under += database.number(&format!("{count} = '{key}'")).await;
        others += database.number(&format!("{count} <> '{key}'")).await;
    }
    (under, others)
}

/// A user with sealed secrets: the stream key of a project, the stream key and SRT passphrase of a
/// destination, the seed of refresh tokens, the play URL of a stream, and both secrets of a webhook.
pub struct SealedSecrets {
    pub user: User,
    project: pb::Project,
    stream_key: String,
    destination: pb::Destination,
    webhook: pb::Webhook,
}

impl SealedSecrets {
    pub async fn create(server: &TestServer) -> Self {
        let user = server.user().await;
        let (project, stream_key) = user.project().await;
        let request = pb::CreateDestinationRequest {
            project_id: project.id.clone(),
            platform: pb::Platform::Custom.into(),
            display_name: "Own".to_owned(),
            url: "srt://example.com:9000".to_owned(),
            stream_key: "abcd-efgh".to_owned(),
            srt_passphrase: "correct horse".to_owned(),
            ..Default::default()
        };
        let answer = user
            .client
            .project
            .clone()
            .create_destination(request)
            .await;
        let destination = answer.unwrap().into_inner().destination.unwrap();
        let request = pb::BeginPublishRequest {
            stream_key: stream_key.clone(),
            publisher: Some(MediaServer::connection("a")),
            media_flowing: true,
            play_url: "rtmp://10.0.0.5/live/secret".to_owned(),
        };
        let mut node = server.media_server().await.client.stream;
        node.begin_publish(request).await.unwrap();
        let webhook = create_quiet(&user, &project.id, true).await;
        let request = pb::RotateWebhookSecretRequest {
            webhook_id: webhook.id.clone(),
            grace: Some(prost_types::Duration {
                seconds: 7 * 24 * 60 * 60,
                nanos: 0,
            }),
            ..Default::default()
        };
        let mut webhooks = user.client.webhook.clone();
        webhooks.rotate_webhook_secret(request).await.unwrap();
        Self {
            user,
            project,
            stream_key,
            destination,
            webhook,
        }
    }

    /// Asserts that a server can open all of them.
    pub async fn assert_readable(&mut self, server: &TestServer) {
        let request = pb::RefreshTokensRequest {
            refresh_token: self.user.tokens.refresh_token.clone(),
        };
        let answer = server.anonymous().auth.refresh_tokens(request).await;
        self.user.tokens = answer.unwrap().into_inner().tokens.unwrap();
        let token = &self.user.tokens.access_token;
        let mut project = Client::with_token(&server.channel, token).project;
        let request = pb::RevealStreamKeyRequest {
            project_id: self.project.id.clone(),
        };
        let revealed = project.reveal_stream_key(request).await.unwrap();
        assert_eq!(revealed.into_inner().stream_key, self.stream_key);
        // A changed URL makes the server open the destination's secrets.
        let request = pb::UpdateDestinationRequest {
            destination_id: self.destination.id.clone(),
            url: Some("srt://example.com:9000?latency=20".to_owned()),
            ..Default::default()
        };
        project.update_destination(request).await.unwrap();
        // A test makes the server open both secrets, although the host does not exist.
        let mut webhooks = Client::with_token(&server.channel, token).webhook;
        let request = pb::TestWebhookRequest {
            webhook_id: self.webhook.id.clone(),
        };
        webhooks.test_webhook(request).await.unwrap();
    }
}

#[rstest]
#[tokio::test]
async fn a_rotation_reseals_all_secrets_and_no_call_fails(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let replica = server.replica().await;
    let mut secrets = SealedSecrets::create(&server).await;
    secrets.user.project().await;
    let again = pb::CreateProjectRequest {
        display_name: "Show".to_owned(),
        request_id: uuid::Uuid::now_v7().to_string(),
        ..Default::default()
    };
    let made = secrets.user.project_with(again.clone()).await;
    let list = pb::ListProjectsRequest {
        page_size: 1,
        ..Default::default()
    };
    let page = secrets
        .user
        .client
        .project
        .list_projects(list.clone())
        .await;
    let page_token = page.unwrap().into_inner().next_page_token;
    let background = BackgroundCalls::start(&server, &replica).await;

    let output = rotate(&server.database, &[]).await;

    let (under, others) = count_sealed(&server.database, new_key_id(&output)).await;
    assert!(under > 20, "{under}");
    assert_eq!(others, 0);
    background.stop().await;
    assert_eq!(
        count_sealed(&server.database, new_key_id(&output)).await.1,
        0
    );
    secrets.assert_readable(&server).await;
    assert_eq!(secrets.user.project_with(again).await, made);
    let next = pb::ListProjectsRequest { page_token, ..list };
    let mut there = Client::with_token(&replica, &secrets.user.tokens.access_token).project;
    let next = there.list_projects(next).await.unwrap().into_inner();
    assert_ne!(next.projects[0].id, made.0.id);
}

#[rstest]
#[tokio::test]
async fn a_root_key_can_be_removed_from_the_settings_after_its_retirement(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start_with(engine, &[&sealing_keys_flag(&[1])]).await;
    let mut secrets = SealedSecrets::create(&server).await;
    rotate(&server.database, &[&sealing_keys_flag(&[1])]).await;
    let database = server.stop().await;

    let server = TestServer::start_on(database, &[&sealing_keys_flag(&[2, 1])]).await;
    let output = rotate(&server.database, &[&sealing_keys_flag(&[2, 1])]).await;
    secrets.assert_readable(&server).await;
    let database = server.stop().await;

    // Request ids and page tokens are valid for a day.
    let refusal = start_error(&database, &sealing_keys_flag(&[2])).await;
    assert!(refusal.contains("lacks the key"), "{refusal}");
    let day = "update keys set retire_time = '2020-01-01T00:00:00+00:00'
               where retire_time is not null";
    database.execute(day).await;

    let server = TestServer::start_on(database, &[&sealing_keys_flag(&[2])]).await;
    assert_eq!(
        count_sealed(&server.database, new_key_id(&output)).await.1,
        0
    );
    secrets.assert_readable(&server).await;
    // The first stored key is no longer needed.
    let left = "select count(*) from keys where secret_sealed is not null";
    eventually("the first stored key is deleted", async || {
        (server.database.number(left).await == 1).then_some(())
    })
    .await;
    let roots = "select count(*) from keys where secret_sealed is null";
    assert_eq!(server.database.number(roots).await, 2);
}

#[rstest]
#[case::stream_key("projects", "stream_key_sealed")]
#[case::destination_key("destinations", "stream_key_sealed")]
#[case::passphrase("destinations", "srt_passphrase_sealed")]
#[case::play_url("streams", "play_url_sealed")]
#[case::webhook_secret("webhooks", "secret_sealed")]
#[case::previous_webhook_secret("webhooks", "previous_secret_sealed")]
#[tokio::test]
async fn a_retired_key_is_kept_while_a_value_is_sealed_under_it(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[case] table: &str,
    #[case] column: &str,
) {
    let server = TestServer::start(engine).await;
    let mut secrets = SealedSecrets::create(&server).await;
    let first = rotate(&server.database, &[]).await;
    let save = format!("create table saved as select id, {column} from {table}");
    server.database.execute(&save).await;
    rotate(&server.database, &[]).await;

    // As if a value that was sealed before the rotation had been written after it.
    let late = format!(
        "update {table} set {column} =
             (select saved.{column} from saved where saved.id = {table}.id)"
    );
    server.database.execute(&late).await;
    let retired = "update keys set retire_time = '2020-01-01T00:00:00+00:00'
                   where retire_time is not null";
    server.database.execute(retired).await;
    let purged = "insert into revocations (id, revoke_time)
                  select id, '2020-01-01T00:00:00+00:00' from projects";
    server.database.execute(purged).await;

    // The purge runs when the server starts, and deletes keys after revocations.
    let server = server.restart().await;
    eventually("the purge has run", async || {
        let left = server.database.number("select count(*) from revocations");
        (left.await == 0).then_some(())
    })
    .await;
    secrets.assert_readable(&server).await;
    let server = server.restart().await;
    secrets.assert_readable(&server).await;
    assert_eq!(
        count_sealed(&server.database, new_key_id(&first)).await.0,
        1
    );
    let third = rotate(&server.database, &[]).await;
    assert_eq!(
        count_sealed(&server.database, new_key_id(&third)).await.1,
        0
    );
}

#[rstest]
#[tokio::test]
async fn a_killed_rotation_is_continued_even_by_two_processes_at_once(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let mut secrets = SealedSecrets::create(&server).await;
    for _ in 0..900 {
        let request = pb::SignInRequest {
            email: secrets.user.email.clone(),
            password: secrets.user.password.to_owned(),
            ..Default::default()
        };
        server.anonymous().auth.sign_in(request).await.unwrap();
    }
    let mut command = Process::admin(&server.database, &ROTATE, &[]);
    let mut first = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let old = root_key_id(&server.database).await;
    let halfway = eventually("some values are resealed", async || {
        let (_, anew) = count_sealed(&server.database, &old).await;
        (anew > 0).then_some(anew)
    })
    .await;
    first.kill().await.unwrap();
    assert!(halfway < 905, "{halfway}");

    let (second, third) =
        tokio::join!(rotate(&server.database, &[]), rotate(&server.database, &[]));

    for output in [&second, &third] {
        assert!(
            output.stderr.contains("continuing an unfinished rotation"),
            "{output:?}"
        );
    }
    assert_eq!(new_key_id(&second), new_key_id(&third));
    assert_eq!(
        count_sealed(&server.database, new_key_id(&second)).await,
        (907, 0)
    );
    let stored_keys = "select count(*) from keys where secret_sealed is not null";
    assert_eq!(server.database.number(stored_keys).await, 1);
    secrets.assert_readable(&server).await;
}

#[rstest]
#[tokio::test]
async fn a_value_that_cannot_be_opened_is_reported_and_all_others_are_resealed(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (mut secrets, broken) = (
        SealedSecrets::create(&server).await,
        SealedSecrets::create(&server).await,
    );
    let moved = format!(
        "update projects set stream_key_sealed = (select stream_key_sealed from destinations
             where project_id = '{}') where id = '{}'",
        broken.project.id, broken.project.id
    );
    let moved = match engine {
        Postgres | Pooled => moved,
        Sqlite => moved.replace(
            &format!("'{}'", broken.project.id),
            &format!("x'{}'", broken.project.id.replace('-', "")),
        ),
    };
    server.database.execute(&moved).await;

    let output = Process::run(Process::admin(&server.database, &ROTATE, &[])).await;

    assert_eq!(output.exit_code, Some(1), "{output:?}");
    let last = output.stderr.lines().last().unwrap();
    assert_eq!(last, "sluice: 1 values cannot be opened, see above");
    assert!(output.stderr.contains(&broken.project.id), "{output:?}");
    assert_eq!(
        count_sealed(&server.database, new_key_id(&output)).await,
        (13, 1)
    );
    secrets.assert_readable(&server).await;
}

#[rstest]
#[case("rotate-signing-key")]
#[case("rotate-sealing-key")]
#[tokio::test]
async fn an_activation_delay_shorter_than_replicas_need_is_refused(#[case] command: &str) {
    let database = TestDatabase::create(Sqlite).await;
    let arguments = [command, "--activate-after=4s"];
    let output = Process::run(Process::admin(&database, &arguments, &[])).await;

    assert_eq!(output.exit_code, Some(2), "{output:?}");
    let wanted = "must be a duration from 5s to 1h";
    assert!(output.stderr.contains("--activate-after"), "{output:?}");
    assert!(output.stderr.contains(wanted), "{output:?}");
}

/// The id of the only root key, from its file.
async fn root_key_id(database: &TestDatabase) -> String {
    let text = std::fs::read_to_string(database.directory.path().join("sealing.key")).unwrap();
    sealing_key_id(&STANDARD.decode(text.trim()).unwrap())
}

/// The id of a sealing key.
pub fn sealing_key_id(key: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, key);
    let id = &digest.as_ref()[..4];
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The error of a `sluice serve` that does not start.
pub async fn start_error(database: &TestDatabase, flag: &str) -> String {
    let directory = database.directory.path().to_str().unwrap();
    let settings = [
        ("SLUICE_LISTEN", "127.0.0.1:0"),
        ("SLUICE_DATA_DIR", directory),
        ("DATABASE_URL", &*database.url),
    ];
    let output = Process::run(Process::command(&["serve", flag], &settings)).await;
    assert_eq!(output.exit_code, Some(2), "{output:?}");
    let last = output.stderr.lines().last().unwrap();
    assert!(last.starts_with("sluice: SLUICE_SEALING_KEYS "), "{last}");
    last.to_owned()
}

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rstest::rstest;
use serde_json::Value;
use sluice::proto::v1 as pb;
use tempfile::TempDir;
use tonic::{Code, transport::Channel};

use super::{
    calls::{get_me, new_session, refreshed, sign_in},
    jwks::key_file,
};
use crate::harness::{
    BackgroundCalls, Client, Engine, Pooled, Postgres, Process, Sqlite, TestServer, User,
    eventually, refused,
};

const INVALID: (Code, &str) = (Code::Unauthenticated, "ACCESS_TOKEN_INVALID");

/// A server with a key file, and a replica of it.
struct ServerPair {
    server: TestServer,
    replica: Channel,
    file: String,
    _directory: TempDir,
}

impl ServerPair {
    async fn start(engine: Engine) -> Self {
        let directory = TempDir::new().unwrap();
        let file = key_file(&directory, "key.pem");
        let flag = format!("--jwt-key-files={file}");
        let server = TestServer::start_with(engine, &[&flag]).await;
        let replica = server.replica().await;
        Self {
            server,
            replica,
            file,
            _directory: directory,
        }
    }

    /// Runs `sluice admin rotate-signing-key`; returns the id of the new key.
    async fn rotate(&self, flags: &[&str]) -> String {
        rotate(&self.server, flags, &[("SLUICE_JWT_KEY_FILES", &self.file)]).await
    }

    /// Waits until both replicas sign with a key.
    async fn until_signing(&self, user: &User, kid: &str) {
        for channel in [&self.server.channel, &self.replica] {
            eventually("the new key signs", async || {
                let answer = sign_in(channel, &user.email, user.password).await.unwrap();
                let tokens = answer.into_inner().tokens.unwrap();
                (signing_key_id(&tokens.access_token) == kid).then_some(())
            })
            .await;
        }
    }
}

async fn rotate(server: &TestServer, flags: &[&str], settings: &[(&str, &str)]) -> String {
    let arguments: Vec<_> = ["rotate-signing-key", "--activate-after=5s"]
        .iter()
        .chain(flags)
        .copied()
        .collect();
    let output = Process::run(Process::admin(&server.database, &arguments, settings)).await;
    assert_eq!(output.exit_code, Some(0), "{output:?}");
    output.stdout.split(' ').nth(2).unwrap().to_owned()
}

/// The ids of the published keys.
async fn published(channel: &Channel) -> Vec<String> {
    let mut auth = Client::anonymous(channel).auth;
    let answer = auth.get_jwks(pb::GetJwksRequest {}).await.unwrap();
    let keys = answer.into_inner().keys;
    keys.into_iter().map(|key| key.kid).collect()
}

/// The id of the key that signed a token.
fn signing_key_id(token: &str) -> String {
    let (header, _) = token.split_once('.').unwrap();
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

/// Backdates the retirement of keys that have one.
async fn retire(server: &TestServer) {
    let retirement = "update keys set retire_time = '2020-01-01T00:00:00+00:00'
                      where purpose = 'sign' and retire_time is not null";
    server.database.execute(retirement).await;
}

#[rstest]
#[tokio::test]
async fn a_new_key_takes_over_on_all_replicas_and_no_call_fails(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let pair = ServerPair::start(engine).await;
    let ada = pair.server.user().await;
    let old = signing_key_id(&ada.tokens.access_token);
    let background = BackgroundCalls::start(&pair.server, &pair.replica).await;

    let new = pair.rotate(&[]).await;
    for channel in [&pair.server.channel, &pair.replica] {
        eventually(
            "both keys are published before the new one signs",
            async || (published(channel).await == [&*new, &*old]).then_some(()),
        )
        .await;
    }
    let early = new_session(&pair.server, &ada).await;
    assert_eq!(signing_key_id(&early.access_token), old);
    pair.until_signing(&ada, &new).await;

    for channel in [&pair.server.channel, &pair.replica] {
        for token in [&ada.tokens, &early] {
            let client = Client::with_token(channel, &token.access_token);
            get_me(&client).await.unwrap();
        }
    }
    background.stop().await;
}

#[rstest]
#[tokio::test]
async fn a_retired_key_is_neither_accepted_nor_published_even_if_the_settings_still_name_it(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let pair = ServerPair::start(engine).await;
    let ada = pair.server.user().await;
    let old = Client::with_token(&pair.replica, &ada.tokens.access_token);
    let new = pair.rotate(&[]).await;
    pair.until_signing(&ada, &new).await;
    let tokens = new_session(&pair.server, &ada).await;
    get_me(&old).await.unwrap();

    retire(&pair.server).await;

    for channel in [&pair.server.channel, &pair.replica] {
        eventually("one key is left", async || {
            (published(channel).await == [&*new]).then_some(())
        })
        .await;
    }
    assert_eq!(refused(get_me(&old).await).class(), INVALID);
    let server = pair.server.restart().await;
    assert_eq!(published(&server.channel).await, [&*new]);
    let old = Client::with_token(&server.channel, &ada.tokens.access_token);
    assert_eq!(refused(get_me(&old).await).class(), INVALID);
    let client = Client::with_token(&server.channel, &tokens.access_token);
    get_me(&client).await.unwrap();
    let next = refreshed(&server.channel, &ada.tokens.refresh_token).await;
    assert_eq!(signing_key_id(&next.access_token), new);
}

#[rstest]
#[tokio::test]
async fn tokens_of_a_leaked_key_are_refused_as_soon_as_the_new_one_signs(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let pair = ServerPair::start(engine).await;
    let ada = pair.server.user().await;
    let new = pair.rotate(&["--revoke-old"]).await;

    let channels = [&pair.server.channel, &pair.replica];
    let token = &ada.tokens.access_token;
    let old = channels.map(|channel| Client::with_token(channel, token));
    for old in &old {
        get_me(old).await.unwrap();
    }
    for (channel, old) in channels.into_iter().zip(&old) {
        eventually("the leaked key is refused", async || {
            let refusal = get_me(old).await.err()?;
            assert_eq!(refused::<()>(Err(refusal)).class(), INVALID);
            Some(())
        })
        .await;
        assert_eq!(published(channel).await, [&*new]);
    }
    let tokens = refreshed(&pair.replica, &ada.tokens.refresh_token).await;
    let client = Client::with_token(&pair.server.channel, &tokens.access_token);
    get_me(&client).await.unwrap();
}

/// The command's lifetime of tokens is shorter than that of the servers, so that
/// tokens outlive their key.
#[rstest]
#[tokio::test]
async fn a_replaced_shared_secret_verifies_until_its_tokens_expire(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    assert_eq!(published(&server.channel).await, [""; 0]);

    let first = rotate(&server, &["--access-token-lifetime=1s"], &[]).await;
    let second = rotate(&server, &["--access-token-lifetime=1s"], &[]).await;

    eventually("the newest key signs", async || {
        let tokens = new_session(&server, &ada).await;
        (signing_key_id(&tokens.access_token) == second).then_some(())
    })
    .await;
    get_me(&ada.client).await.unwrap();
    assert_eq!(published(&server.channel).await, [&*second, &*first]);
    eventually("the earlier keys retire", async || {
        (published(&server.channel).await == [&*second]).then_some(())
    })
    .await;
    assert_eq!(refused(get_me(&ada.client).await).class(), INVALID);
}

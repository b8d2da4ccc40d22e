//! Marked secrets go into the real program by every RPC, right and wrong, with
//! everything logged. Then they are looked for wherever they must not be.

use std::{collections::BTreeSet, process::Stdio};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use prost::Message;
use rstest::rstest;
use sluice::proto::v1 as pb;
use tokio::process::Command;
use tonic::{Code, transport::Channel};
use tonic_types::StatusExt;
use uuid::Uuid;

use super::{described::requests, secret_search::Search, wire::bearer, wire::call};
use crate::harness::{Engine, MediaServer, Postgres, Process, Sqlite, TestDatabase, eventually};

/// Settings of the program beside the secrets and the log.
const SETTINGS: &[(&str, &str)] = &[("SLUICE_BCRYPT_COST", "4")];

/// A text that nothing else contains.
fn marked(what: &str) -> String {
    format!("canary-{what}-{}", Uuid::now_v7().simple())
}

/// A run of the program, and what there is to find and to search.
struct Run {
    channel: Channel,
    secrets: Vec<(String, Vec<u8>)>,
    called: BTreeSet<String>,
    /// All that callers were told when they were refused.
    refusals: Vec<u8>,
}

/// What a call is to end with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Right,
    Wrong,
    /// It depends on what is configured.
    Either,
}
use Outcome::{Either, Right, Wrong};

impl Run {
    /// Keeps a secret to look for, and its parts.
    fn secret(&mut self, name: &str, secret: &str) -> String {
        let mut keep = |name: String, bytes: &[u8]| self.secrets.push((name, bytes.to_vec()));
        keep(name.to_owned(), secret.as_bytes());
        // What is secret of a token is its last part.
        if let Some((_, last)) = secret.rsplit_once(['.', '_'])
            && last.len() >= 20
        {
            keep(format!("last part of the {name}"), last.as_bytes());
            if let Ok(bytes) = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(last) {
                keep(format!("bytes of the {name}"), &bytes);
            }
        }
        secret.to_owned()
    }

    fn new_secret(&mut self, name: &str) -> String {
        let what = name.replace(|letter: char| !letter.is_alphanumeric(), "");
        self.secret(name, &marked(&what))
    }

    async fn call<A: Message + Default>(
        &mut self,
        outcome: Outcome,
        rpc: &str,
        token: &str,
        request: impl Message,
    ) -> A {
        let path = format!("/sluice.v1.{rpc}");
        let authorization = match token {
            "" => vec![],
            token => vec![bearer(token)],
        };
        let answer = call(
            &self.channel,
            &path,
            &authorization,
            request.encode_to_vec(),
        )
        .await;
        self.called.insert(path);
        match answer {
            Ok(answer) => {
                assert!(outcome != Wrong, "{rpc} is refused");
                A::decode(answer.into_inner().as_slice()).unwrap()
            }
            Err(status) => {
                assert!(outcome != Right, "{rpc}: {status:?}");
                self.refusals.extend(format!("{status:?}").into_bytes());
                self.refusals.extend(status.details());
                assert!(status.get_error_details().error_info().is_some(), "{rpc}");
                assert_ne!(status.code(), Code::Internal, "{rpc}: {status:?}");
                A::default()
            }
        }
    }

    /// Keeps the tokens of a sign-in, and gives them.
    fn tokens(&mut self, tokens: Option<pb::Tokens>) -> (String, String) {
        let tokens = tokens.unwrap();
        self.secret("access token", &tokens.access_token);
        self.secret("refresh token", &tokens.refresh_token);
        (tokens.access_token, tokens.refresh_token)
    }

    async fn sign_in(&mut self, password: &str) -> (String, String) {
        let request = pb::SignInRequest {
            email: "ada@example.com".to_owned(),
            password: password.to_owned(),
        };
        let answer: pb::SignInResponse = self.call(Right, "AuthService/SignIn", "", request).await;
        self.tokens(answer.tokens)
    }

    /// The RPCs that need no token; gives an access token and the password.
    async fn public_rpcs(&mut self) -> (String, String) {
        let password = self.new_secret("password");
        let sign_up = pb::SignUpRequest {
            email: "ada@example.com".to_owned(),
            password: password.clone(),
            display_name: "Ada".to_owned(),
            request_id: Uuid::now_v7().to_string(),
        };
        let rpc = "AuthService/SignUp";
        let answer: pb::SignUpResponse = self.call(Right, rpc, "", sign_up.clone()).await;
        let (access_token, refresh_token) = self.tokens(answer.tokens);
        let wrong = pb::SignUpRequest {
            email: "no address".to_owned(),
            password: self.new_secret("password of a refused sign-up"),
            request_id: self.new_secret("request id"),
            ..sign_up
        };
        self.call::<()>(Wrong, rpc, "", wrong).await;
        let wrong = pb::SignInRequest {
            email: "ada@example.com".to_owned(),
            password: self.new_secret("wrong password"),
        };
        self.call::<()>(Wrong, "AuthService/SignIn", "", wrong)
            .await;
        self.sign_in(&password).await;

        let rpc = "AuthService/RefreshTokens";
        let answer: pb::RefreshTokensResponse = self
            .call(Right, rpc, "", pb::RefreshTokensRequest { refresh_token })
            .await;
        self.tokens(answer.tokens);
        let refresh_token = self.new_secret("unknown refresh token");
        self.call::<()>(Wrong, rpc, "", pb::RefreshTokensRequest { refresh_token })
            .await;

        let request = pb::SignInWithIdTokenRequest {
            provider: "google".to_owned(),
            id_token: self.new_secret("id token"),
            nonce: self.new_secret("nonce"),
        };
        let rpc = "AuthService/SignInWithIdToken";
        self.call::<()>(Wrong, rpc, "", request).await;
        let token = self.new_secret("token to verify");
        self.call::<()>(
            Wrong,
            "AuthService/VerifyEmail",
            "",
            pb::VerifyEmailRequest { token },
        )
        .await;
        let request = pb::ResetPasswordRequest {
            token: self.new_secret("token to reset"),
            new_password: self.new_secret("password of a reset"),
        };
        self.call::<()>(Wrong, "AuthService/ResetPassword", "", request)
            .await;
        let email = "ada@example.com".to_owned();
        let rpc = "AuthService/RequestPasswordReset";
        self.call::<()>(Either, rpc, "", pb::RequestPasswordResetRequest { email })
            .await;
        self.call::<()>(Right, "AuthService/GetJwks", "", pb::GetJwksRequest {})
            .await;
        (access_token, password)
    }

    /// The RPCs of an account, but those that end it; gives the new password.
    async fn account_rpcs(&mut self, token: &str, password: String) -> String {
        let forged = self.new_secret("forged access token");
        self.call::<()>(Wrong, "AuthService/GetMe", &forged, pb::GetMeRequest {})
            .await;
        self.call::<()>(Right, "AuthService/GetMe", token, pb::GetMeRequest {})
            .await;
        let display_name = Some("Ada L.".to_owned());
        let rpc = "AuthService/UpdateMe";
        self.call::<()>(Right, rpc, token, pb::UpdateMeRequest { display_name })
            .await;
        let rpc = "AuthService/RequestEmailVerification";
        self.call::<()>(Either, rpc, token, pb::RequestEmailVerificationRequest {})
            .await;

        let rpc = "AuthService/ChangePassword";
        let new_password = self.new_secret("new password");
        let request = pb::ChangePasswordRequest {
            current_password: password,
            new_password: new_password.clone(),
        };
        let answer: pb::ChangePasswordResponse = self.call(Right, rpc, token, request).await;
        self.tokens(answer.tokens);
        let wrong = pb::ChangePasswordRequest {
            current_password: new_password.clone(),
            new_password: self.new_secret("password that is too long").repeat(3),
        };
        self.call::<()>(Wrong, rpc, token, wrong).await;

        self.sign_in(&new_password).await;
        let list = pb::ListSessionsRequest::default();
        let rpc = "AuthService/ListSessions";
        let listed: pb::ListSessionsResponse = self.call(Right, rpc, token, list).await;
        let other = listed.sessions.into_iter().find(|session| !session.current);
        let rpc = "AuthService/RevokeSession";
        let session_id = other.unwrap().id;
        self.call::<()>(Right, rpc, token, pb::RevokeSessionRequest { session_id })
            .await;
        let session_id = self.new_secret("token instead of a session id");
        self.call::<()>(Wrong, rpc, token, pb::RevokeSessionRequest { session_id })
            .await;
        let (other, _) = self.sign_in(&new_password).await;
        let request = pb::SignOutRequest::default();
        self.call::<()>(Right, "AuthService/SignOut", &other, request)
            .await;
        self.call::<()>(Wrong, "AuthService/SignOut", &other, request)
            .await;
        new_password
    }

    async fn api_key_rpcs(&mut self, token: &str) {
        let request = pb::CreateApiKeyRequest {
            display_name: "Bot".to_owned(),
            scopes: vec!["projects:read".to_owned()],
            ..Default::default()
        };
        let rpc = "AuthService/CreateApiKey";
        let made: pb::CreateApiKeyResponse = self.call(Right, rpc, token, request).await;
        let secret = self.secret("API key", &made.secret);
        let api_key_id = made.api_key.unwrap().id;
        let wrong = pb::CreateApiKeyRequest {
            scopes: vec![self.new_secret("secret instead of a scope")],
            ..Default::default()
        };
        self.call::<()>(Wrong, rpc, token, wrong).await;
        self.exchange(secret.clone()).await;
        let unknown = self.new_secret("unknown API key");
        let rpc = "AuthService/ExchangeApiKey";
        self.call::<()>(
            Wrong,
            rpc,
            "",
            pb::ExchangeApiKeyRequest { secret: unknown },
        )
        .await;
        let request = pb::ListApiKeysRequest::default();
        self.call::<()>(Right, "AuthService/ListApiKeys", token, request)
            .await;
        let wrong = pb::ListApiKeysRequest {
            page_token: self.new_secret("secret instead of a page token"),
            ..Default::default()
        };
        self.call::<()>(Wrong, "AuthService/ListApiKeys", token, wrong)
            .await;
        let request = pb::RevokeApiKeyRequest { api_key_id };
        self.call::<()>(Right, "AuthService/RevokeApiKey", token, request)
            .await;
        self.call::<()>(Wrong, rpc, "", pb::ExchangeApiKeyRequest { secret })
            .await;
    }

    /// ExchangeApiKey; gives the access token.
    async fn exchange(&mut self, secret: String) -> String {
        let request = pb::ExchangeApiKeyRequest { secret };
        let rpc = "AuthService/ExchangeApiKey";
        let answer: pb::ExchangeApiKeyResponse = self.call(Right, rpc, "", request).await;
        self.secret("access token of an API key", &answer.access_token)
    }

    /// Projects and destinations that stay; gives a project and its stream key.
    async fn project_rpcs(&mut self, token: &str) -> (String, String) {
        let request = pb::CreateProjectRequest {
            name: "Show".to_owned(),
            request_id: Uuid::now_v7().to_string(),
            ..Default::default()
        };
        let rpc = "ProjectService/CreateProject";
        let made: pb::CreateProjectResponse = self.call(Right, rpc, token, request).await;
        let project_id = made.project.unwrap().id;
        self.secret("stream key", &made.stream_key);
        let id = || project_id.clone();

        let rpc = "ProjectService/RotateStreamKey";
        let grace = Some(prost_types::Duration {
            seconds: 60,
            nanos: 0,
        });
        let request = pb::RotateStreamKeyRequest {
            project_id: id(),
            grace,
        };
        let rotated: pb::RotateStreamKeyResponse = self.call(Right, rpc, token, request).await;
        let stream_key = self.secret("new stream key", &rotated.stream_key);
        let request = pb::RevealStreamKeyRequest { project_id: id() };
        self.call::<()>(Right, "ProjectService/RevealStreamKey", token, request)
            .await;
        let request = pb::GetProjectRequest { project_id: id() };
        self.call::<()>(Right, "ProjectService/GetProject", token, request)
            .await;
        let wrong = pb::GetProjectRequest {
            project_id: self.new_secret("secret instead of a project id"),
        };
        self.call::<()>(Wrong, "ProjectService/GetProject", token, wrong)
            .await;
        let request = pb::ListProjectsRequest::default();
        self.call::<()>(Right, "ProjectService/ListProjects", token, request)
            .await;
        let request = pb::UpdateProjectRequest {
            project_id: id(),
            name: Some("Renamed".to_owned()),
            ..Default::default()
        };
        self.call::<()>(Right, "ProjectService/UpdateProject", token, request)
            .await;
        let request = pb::ListPlatformsRequest {};
        self.call::<()>(Right, "ProjectService/ListPlatforms", token, request)
            .await;
        self.destination_rpcs(token, &project_id).await;
        (project_id, stream_key)
    }

    async fn destination_rpcs(&mut self, token: &str, project_id: &str) {
        let request = pb::CreateDestinationRequest {
            project_id: project_id.to_owned(),
            platform: pb::Platform::Custom.into(),
            name: "Mine".to_owned(),
            url: "rtmp://live.example.com/app".to_owned(),
            stream_key: self.new_secret("destination key"),
            request_id: Uuid::now_v7().to_string(),
            ..Default::default()
        };
        let rpc = "ProjectService/CreateDestination";
        let made: pb::CreateDestinationResponse =
            self.call(Right, rpc, token, request.clone()).await;
        let destination_id = made.destination.unwrap().id;
        let pasted = self.new_secret("key pasted into the address");
        let user = self.new_secret("password in the address");
        let passphrase = self.new_secret("passphrase in the address");
        for url in [
            format!("rtmp://live.example.com/app/{pasted}"),
            format!("rtmp://live.example.com/app?key={pasted}"),
            format!("rtmp://ada:{user}@live.example.com/app"),
            format!("srt://live.example.com:9000?passphrase={passphrase}"),
            format!("rtmp://localhost/{pasted}"),
            format!("nonsense {pasted}"),
        ] {
            let wrong = pb::CreateDestinationRequest {
                url: url.clone(),
                stream_key: pasted.clone(),
                ..request.clone()
            };
            self.call::<()>(Wrong, rpc, token, wrong).await;
            let wrong = pb::UpdateDestinationRequest {
                destination_id: destination_id.clone(),
                url: Some(url),
                stream_key: Some(pasted.clone()),
                ..Default::default()
            };
            self.call::<()>(Wrong, "ProjectService/UpdateDestination", token, wrong)
                .await;
        }
        let request = pb::UpdateDestinationRequest {
            destination_id: destination_id.clone(),
            stream_key: Some(self.new_secret("new destination key")),
            ..Default::default()
        };
        self.call::<()>(Right, "ProjectService/UpdateDestination", token, request)
            .await;
        let request = pb::GetDestinationRequest { destination_id };
        self.call::<()>(Right, "ProjectService/GetDestination", token, request)
            .await;
        let request = pb::ListDestinationsRequest {
            project_id: project_id.to_owned(),
            ..Default::default()
        };
        self.call::<()>(Right, "ProjectService/ListDestinations", token, request)
            .await;
    }

    /// A stream from its begin to its end, by a media server and the owner.
    async fn stream_rpcs(&mut self, token: &str, media: &str, project: &str, stream_key: &str) {
        let publisher = Some(MediaServer::connection("c1"));
        let request = pb::BeginPublishRequest {
            stream_key: stream_key.to_owned(),
            publisher: publisher.clone(),
            media_flowing: true,
        };
        let rpc = "StreamService/BeginPublish";
        let begun: pb::BeginPublishResponse = self.call(Right, rpc, media, request.clone()).await;
        let stream = begun.stream.unwrap();
        let (stream_id, epoch) = (stream.id, stream.epoch);
        for wrong in [self.new_secret("unknown stream key"), "x".repeat(300)] {
            let wrong = pb::BeginPublishRequest {
                stream_key: wrong,
                ..request.clone()
            };
            self.call::<()>(Wrong, rpc, media, wrong).await;
        }
        let wrong = pb::BeginPublishRequest {
            publisher: Some(MediaServer::connection("c2")),
            ..request.clone()
        };
        self.call::<()>(Wrong, rpc, media, wrong).await;
        self.call::<()>(Wrong, rpc, token, request).await;

        let request = pb::HeartbeatPublishRequest {
            stream_id: stream_id.clone(),
            epoch,
            publisher: publisher.clone(),
            stats: None,
        };
        self.call::<()>(Right, "StreamService/HeartbeatPublish", media, request)
            .await;
        let request = pb::GetStreamRequest {
            stream_id: stream_id.clone(),
        };
        self.call::<()>(Right, "StreamService/GetStream", token, request)
            .await;
        let request = pb::ListStreamsRequest {
            project_id: project.to_owned(),
            ..Default::default()
        };
        self.call::<()>(Right, "StreamService/ListStreams", token, request)
            .await;
        let request = pb::StopStreamRequest {
            stream_id: stream_id.clone(),
            hold: None,
        };
        self.call::<()>(Right, "StreamService/StopStream", token, request)
            .await;
        let request = pb::EndPublishRequest {
            stream_id,
            epoch,
            publisher,
        };
        self.call::<()>(Right, "StreamService/EndPublish", media, request)
            .await;
    }

    /// What deletes.
    async fn last_rpcs(&mut self, token: &str, project_id: String, password: String) {
        let request = pb::ListDestinationsRequest {
            project_id: project_id.clone(),
            ..Default::default()
        };
        let rpc = "ProjectService/ListDestinations";
        let listed: pb::ListDestinationsResponse = self.call(Right, rpc, token, request).await;
        let destination_id = listed.destinations[0].id.clone();
        let request = pb::DeleteDestinationRequest { destination_id };
        self.call::<()>(Right, "ProjectService/DeleteDestination", token, request)
            .await;
        let request = pb::DeleteProjectRequest {
            project_id,
            force: true,
        };
        self.call::<()>(Right, "ProjectService/DeleteProject", token, request)
            .await;
        let request = pb::ListAuditEventsRequest::default();
        let rpc = "AuthService/ListAuditEvents";
        let audit: pb::ListAuditEventsResponse = self.call(Right, rpc, token, request).await;
        assert_ne!(audit.events, []);
        self.refusals.extend(format!("{audit:?}").into_bytes());
        let wrong = pb::DeleteMeRequest {
            password: self.new_secret("wrong password of a deletion"),
        };
        self.call::<()>(Wrong, "AuthService/DeleteMe", token, wrong)
            .await;
        let request = pb::DeleteMeRequest { password };
        self.call::<()>(Right, "AuthService/DeleteMe", token, request)
            .await;
    }
}

/// All bytes that a database keeps: its files, or what `pg_dump` says.
async fn stored(database: &TestDatabase) -> Vec<u8> {
    if database.url.starts_with("sqlite:") {
        let mut bytes = Vec::new();
        for name in ["sluice.db", "sluice.db-wal"] {
            // The log is gone when the last connection is closed.
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
async fn no_secret_stands_in_a_log_an_error_an_audit_event_or_the_database(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let database = TestDatabase::create(engine).await;
    let jwt_secret = marked("jwt-secret");
    let sealing_key = STANDARD.encode(&Uuid::now_v7().simple().to_string()[..]);
    let secrets = [
        ("SLUICE_LOG", "trace"),
        ("SLUICE_JWT_SECRET", &*jwt_secret),
        ("SLUICE_SEALING_KEYS", &*sealing_key),
    ];
    let settings: Vec<_> = secrets.iter().chain(SETTINGS).copied().collect();

    let directory = database.directory.path().to_str().unwrap();
    let admin = [
        "admin",
        "create-api-key",
        "--scope=streams:publish",
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
    let mut run = Run {
        channel: program.channel().await,
        secrets: Vec::new(),
        called: BTreeSet::new(),
        refusals: Vec::new(),
    };
    run.secret("JWT secret", &jwt_secret);
    run.secret("sealing key", &sealing_key);
    let url = url::Url::parse(&database.url).unwrap();
    if let Some(password) = url.password() {
        run.secret("password of the database", password);
    }
    let key = STANDARD.decode(&sealing_key).unwrap();
    run.secrets
        .push(("bytes of the sealing key".to_owned(), key));
    let operators_key = run.secret("operator's key", operators_key.trim());

    let (token, password) = run.public_rpcs().await;
    let password = run.account_rpcs(&token, password).await;
    run.api_key_rpcs(&token).await;
    let media = run.exchange(operators_key).await;
    let (project_id, stream_key) = run.project_rpcs(&token).await;
    run.stream_rpcs(&token, &media, &project_id, &stream_key)
        .await;
    let full = stored(&database).await;
    run.last_rpcs(&token, project_id, password).await;
    let emptied = stored(&database).await;
    program.signal("TERM").await;
    program.ended().await;
    let log = eventually("the log is complete", async || {
        let log = program.log();
        let is_complete = log.last().is_some_and(|line| line.contains("stopped"));
        is_complete.then(|| log.join("\n").into_bytes())
    })
    .await;

    let all: BTreeSet<_> = requests().into_keys().collect();
    assert_eq!(run.called, all, "every RPC is part of the run");
    let secrets = run.secrets.iter();
    let search = Search::of(secrets.map(|(name, secret)| (name.as_str(), secret.as_slice())));
    for (place, text) in [
        ("the log", &log),
        ("the log of the operator's command", &operator.stderr),
        ("a refusal or an audit event", &run.refusals),
        ("the full database", &full),
        ("the emptied database", &emptied),
        ("the stopped database", &stored(&database).await),
    ] {
        assert!(text.len() > 100, "{place} is there");
        assert_eq!(search.found_in(text), BTreeSet::new(), "in {place}");
    }
    assert!(log.len() > 100_000, "everything is logged");
}

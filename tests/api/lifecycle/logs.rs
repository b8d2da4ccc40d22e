use std::collections::BTreeMap;

use rstest::rstest;
use serde_json::Value;
use sluice::proto::v1 as pb;
use tonic::{Code, Request};

use crate::{
    auth::calls::sign_up,
    harness::{
        Client, Engine, MediaServer, Postgres, Process, Signal, Sqlite, TestDatabase, eventually,
        refused,
    },
};

/// Runs the program at log level trace, with calls of a user and a media server; returns
/// its log and the secrets that went over the wire.
async fn run_with_trace_log(engine: Engine) -> (Vec<String>, BTreeMap<&'static str, String>) {
    let database = TestDatabase::create(engine).await;
    let mut program = Process::serve(&database, &[("SLUICE_LOG", "trace")]);
    let channel = program.channel().await;
    let mut secrets = BTreeMap::from([
        ("password", "marked-password-8d1f".to_owned()),
        ("wrong password", "marked-wrong-password-77ab".to_owned()),
        ("unknown stream key", "marked-stream-key-b2c4".to_owned()),
        ("destination key", "marked-destination-key-55e0".to_owned()),
    ]);

    let mut anonymous = Client::anonymous(&channel);
    let sign_up = pb::SignUpRequest {
        email: "ada@example.com".to_owned(),
        password: secrets["password"].clone(),
        display_name: "Ada".to_owned(),
        request_id: String::new(),
    };
    let tokens = anonymous
        .auth
        .sign_up(sign_up)
        .await
        .unwrap()
        .into_inner()
        .tokens
        .unwrap();
    let mut wrong = Request::new(pb::SignInRequest {
        email: "ada@example.com".to_owned(),
        password: secrets["wrong password"].clone(),
        ..Default::default()
    });
    wrong
        .metadata_mut()
        .insert("x-request-id", "wrong-sign-in".parse().unwrap());
    anonymous.auth.sign_in(wrong).await.unwrap_err();
    let mut ada = Client::with_token(&channel, &tokens.access_token);
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
    let destination = pb::CreateDestinationRequest {
        project_id: made.project.unwrap().id,
        platform: pb::Platform::Twitch.into(),
        display_name: "Twitch".to_owned(),
        stream_key: secrets["destination key"].clone(),
        ..Default::default()
    };
    ada.project.create_destination(destination).await.unwrap();
    let key = pb::CreateApiKeyRequest {
        display_name: "Bot".to_owned(),
        scopes: vec!["projects:read".to_owned()],
        ..Default::default()
    };
    let key = ada.auth.create_api_key(key).await.unwrap().into_inner();
    let request = pb::ExchangeApiKeyRequest {
        secret: key.secret.clone(),
    };
    let exchanged = anonymous
        .auth
        .exchange_api_key(request)
        .await
        .unwrap()
        .into_inner();

    let operator = Process::create_operator_key(&database).await;
    let request = pb::ExchangeApiKeyRequest {
        secret: operator.clone(),
    };
    let token = anonymous
        .auth
        .exchange_api_key(request)
        .await
        .unwrap()
        .into_inner()
        .access_token;
    let media = MediaServer {
        client: Client::with_token(&channel, &token),
    };
    media
        .begin(&secrets["unknown stream key"], "c0")
        .await
        .unwrap_err();
    let stream = media.live(&made.stream_key, "c1").await;
    media.end(&stream, "c1").await;

    secrets.extend([
        ("access token", tokens.access_token),
        ("refresh token", tokens.refresh_token),
        ("stream key", made.stream_key),
        ("API key", key.secret),
        ("API key's token", exchanged.access_token),
        ("operator's key", operator),
        ("operator's token", token),
    ]);
    program.signal(Signal::TERM);
    program.wait_for_exit().await;
    (program.log(), secrets)
}

/// Predecessor's defect G2: stream keys were logged, even unknown ones.
#[rstest]
#[tokio::test]
async fn the_trace_log_contains_no_secret(#[values(Sqlite, Postgres)] engine: Engine) {
    let (log, secrets) = run_with_trace_log(engine).await;
    let log = log.join("\n");

    for (name, secret) in &secrets {
        assert!(
            !log.contains(secret.as_str()),
            "the log contains the {name}"
        );
    }
    assert!(log.contains("BeginPublish"), "the calls are logged");
}

#[tokio::test]
async fn each_call_is_one_line_with_its_method_code_duration_caller_and_id() {
    let (log, _) = run_with_trace_log(Sqlite).await;
    let lines: Vec<Value> = log
        .iter()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let of = |method: &str| -> Vec<&Value> {
        let is_call = |line: &&Value| line["message"] == "call" && line["span"]["method"] == method;
        lines.iter().filter(is_call).collect()
    };

    let refused = of("sluice.v1.AuthService/SignIn");
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0]["code"], "Unauthenticated");
    assert_eq!(refused[0]["span"]["request_id"], "wrong-sign-in");
    assert!(refused[0]["duration_ms"].as_f64().unwrap() > 0.0);

    let begun = of("sluice.v1.StreamService/BeginPublish");
    assert_eq!(begun.len(), 2);
    assert_eq!(begun[0]["code"], "PermissionDenied");
    assert_eq!(begun[1]["code"], "Ok");
    assert!(
        begun[1]["span"]["caller"]
            .as_str()
            .unwrap()
            .starts_with("operator:")
    );
    let created = of("sluice.v1.ProjectService/CreateProject");
    assert!(
        created[0]["span"]["caller"]
            .as_str()
            .unwrap()
            .starts_with("user:")
    );
}

#[rstest]
#[tokio::test]
async fn a_slow_statement_is_logged_as_a_warning(#[values(Sqlite, Postgres)] engine: Engine) {
    let database = TestDatabase::create(engine).await;
    let settings = [("SLUICE_SLOW_QUERY", "1ms"), ("SLUICE_BCRYPT_COST", "4")];
    let program = Process::serve(&database, &settings);
    let mut client = Client::anonymous(&program.channel().await);

    let mut number = 0;
    eventually("a statement takes a millisecond", async || {
        number += 1;
        let sign_up = pb::SignUpRequest {
            email: format!("user{number}@example.com"),
            password: "correct horse battery".to_owned(),
            display_name: "User".to_owned(),
            request_id: String::new(),
        };
        client.auth.sign_up(sign_up).await.unwrap();
        let log = program.log();
        log.iter()
            .any(|line| line.contains("WARN") && line.contains("slow statement"))
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn with_rust_backtrace_an_internal_error_is_logged_with_its_backtrace() {
    let database = TestDatabase::create(Sqlite).await;
    let program = Process::serve(&database, &[("RUST_BACKTRACE", "1")]);
    let mut ada = sign_up(&program.channel().await).await;
    database.execute("drop table audit_events").await;

    let request = pb::CreateProjectRequest {
        display_name: "Show".to_owned(),
        ..Default::default()
    };
    let refusal = refused(ada.project.create_project(request).await);

    assert_eq!(refusal.class(), (Code::Internal, "INTERNAL"));
    eventually("the error is logged", async || {
        program.log().iter().find_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            (line["message"] == "internal error" && line["backtrace"].is_string()).then_some(())
        })
    })
    .await;
}

/// `sluice migrate` on a terminal: what it prints.
async fn migrate_on_a_terminal(settings: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tokio::process::Command::new("script");
    command
        .arg("-qec")
        .arg(format!("{} migrate", env!("CARGO_BIN_EXE_sluice")))
        .arg("/dev/null")
        .stdin(std::process::Stdio::null())
        .env("SLUICE_ENV_FILE", "off")
        .env("SLUICE_DATA_DIR", folder.path())
        .env_remove("NO_COLOR")
        .envs(settings.iter().copied());
    let output = Process::run(command).await;
    assert_eq!(output.exit_code, Some(0), "{output:?}");
    assert!(
        output.stdout.contains("the schema is up to date"),
        "{output:?}"
    );
    output.stdout
}

#[tokio::test]
async fn lines_on_a_terminal_have_colours_unless_no_color_is_set() {
    assert!(migrate_on_a_terminal(&[]).await.contains('\u{1b}'));
    assert!(
        migrate_on_a_terminal(&[("NO_COLOR", "")])
            .await
            .contains('\u{1b}')
    );
    assert!(
        !migrate_on_a_terminal(&[("NO_COLOR", "1")])
            .await
            .contains('\u{1b}')
    );
}

#[rstest]
#[tokio::test]
async fn the_cause_of_an_internal_error_is_in_its_line_once(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let database = TestDatabase::create(engine).await;
    let program = Process::serve(&database, &[]);
    let channel = program.channel().await;
    database.execute("alter table users rename to people").await;

    let sign_in = pb::SignInRequest {
        email: "ada@example.com".to_owned(),
        password: "correct horse battery".to_owned(),
        ..Default::default()
    };
    let status = Client::anonymous(&channel)
        .auth
        .sign_in(sign_in)
        .await
        .unwrap_err();
    assert_eq!(status.message(), "internal error");

    let line = eventually("the error is logged", async || {
        let log = program.log().into_iter();
        let mut lines = log.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
        lines.find(|line| line["message"] == "internal error")
    })
    .await;
    let cause = line["error"].as_str().unwrap();
    assert_eq!(cause.matches("users").count(), 1, "{cause}");
}

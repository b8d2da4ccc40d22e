//! Servers whose certificates are issued by a private authority, which `SSL_CERT_FILE` names.

use rstest::rstest;
use sluice::proto::v1 as pb;
use tempfile::TempDir;
use tonic::Code;

use super::tls_client::{channel, client};
use crate::{
    edge::{hook_edge::HookEdge, stub_api::StubApi},
    harness::{
        Certificate, Client, Collector, Engine::Sqlite, Issuer, IssuerKey, LOGIN, MailServer,
        Process, TestDatabase, TestServer, eventually, refused,
    },
};

/// A file that does not exist: no authority is trusted.
const NO_AUTHORITIES: &str = "/nonexistent/authorities.pem";

/// A certificate that is its own authority, with its directory and its path.
async fn certificate() -> (TempDir, Certificate, String) {
    let folder = TempDir::new().unwrap();
    let certificate = Certificate::make(folder.path()).await;
    let path = certificate.file.display().to_string();
    (folder, certificate, path)
}

fn sign_up(email: &str) -> pb::SignUpRequest {
    pb::SignUpRequest {
        email: email.to_owned(),
        password: "correct horse battery staple".to_owned(),
        display_name: "Ada".to_owned(),
        request_id: String::new(),
    }
}

/// Signs in at a server with this variable, which names trusted authorities.
async fn sign_in_with_id_token(
    issuer: &Issuer,
    key: &IssuerKey,
    authorities: (&str, &str),
) -> (
    Process,
    Result<tonic::Response<pb::SignInWithIdTokenResponse>, tonic::Status>,
) {
    let database = TestDatabase::create(Sqlite).await;
    let settings = [("SLUICE_OIDC_PROVIDERS", &*issuer.setting()), authorities];
    let program = Process::serve(&database, &settings);
    let mut client = Client::anonymous(&program.channel().await);
    let claims = issuer.claims_with_email("ada", "ada@example.com");
    let request = pb::SignInWithIdTokenRequest {
        provider: "acme".to_owned(),
        id_token: key.sign(&claims),
        ..Default::default()
    };
    let answer = client.auth.sign_in_with_id_token(request).await;
    (program, answer)
}

#[tokio::test]
async fn keys_are_fetched_from_an_issuer_that_the_platform_trusts() {
    let (_folder, own, trusted) = certificate().await;
    let (_other_folder, _, another) = certificate().await;
    let key = IssuerKey::p256("k1");
    let issuer = Issuer::start_with_tls(&own, &[&key]).await;

    let trusted = ("SSL_CERT_FILE", &*trusted);
    let (_program, answer) = sign_in_with_id_token(&issuer, &key, trusted).await;
    answer.unwrap();

    for (authorities, logged) in [
        (&*another, "invalid peer certificate"),
        (NO_AUTHORITIES, "install the package ca-certificates"),
    ] {
        let named = ("SSL_CERT_FILE", authorities);
        let (program, answer) = sign_in_with_id_token(&issuer, &key, named).await;
        let refusal = refused(answer);
        let unavailable = (Code::Unavailable, "ISSUER_UNAVAILABLE");
        assert_eq!(refusal.class(), unavailable, "{authorities}");
        eventually(logged, async || {
            program.log().concat().contains(logged).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_directory_of_authorities_replaces_those_of_the_platform() {
    let (folder, own, _) = certificate().await;
    let (other_folder, _, _) = certificate().await;
    let key = IssuerKey::p256("k1");
    let issuer = Issuer::start_with_tls(&own, &[&key]).await;

    let trusted = ("SSL_CERT_DIR", folder.path().to_str().unwrap());
    let (_program, answer) = sign_in_with_id_token(&issuer, &key, trusted).await;
    answer.unwrap();

    let another = ("SSL_CERT_DIR", other_folder.path().to_str().unwrap());
    let (_program, answer) = sign_in_with_id_token(&issuer, &key, another).await;
    let unavailable = (Code::Unavailable, "ISSUER_UNAVAILABLE");
    assert_eq!(refused(answer).class(), unavailable);
}

#[tokio::test]
async fn mail_is_sent_to_a_server_that_the_platform_trusts() {
    let (_folder, own, trusted) = certificate().await;
    let mail_server = MailServer::start_with(&own).await;
    let setting = format!("smtp://{LOGIN}@localhost:{}?tls=required", mail_server.port);
    let database = TestDatabase::create(Sqlite).await;
    let settings = [("SLUICE_MAIL", &*setting), ("SSL_CERT_FILE", &trusted)];
    let program = Process::serve(&database, &settings);
    let mut client = Client::anonymous(&program.channel().await);

    let request = sign_up("ada@example.com");
    client.auth.sign_up(request).await.unwrap();

    mail_server.mail("ada@example.com").await;
    assert_eq!(mail_server.events("message")[0]["tls"], true);
}

#[tokio::test]
async fn traces_are_sent_over_tls_to_a_collector_that_the_platform_trusts() {
    let (_folder, own, trusted) = certificate().await;
    let collector = Collector::start_with_tls(&own).await;
    let database = TestDatabase::create(Sqlite).await;
    let settings = [
        ("SLUICE_OTLP_ENDPOINT", &*collector.url),
        ("SLUICE_TRACE_RATIO", "1"),
        ("SSL_CERT_FILE", &trusted),
    ];
    let program = Process::serve(&database, &settings);
    let mut client = Client::anonymous(&program.channel().await);

    let request = sign_up("ada@example.com");
    client.auth.sign_up(request).await.unwrap();

    eventually("the trace is exported", async || {
        (!collector.spans().is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_edge_calls_a_control_plane_that_the_platform_trusts() {
    let (_folder, own, trusted) = certificate().await;
    let flags = [
        format!("--tls-cert={}", own.file.display()),
        format!("--tls-key={}", own.key.display()),
    ];
    let flags: Vec<_> = flags.iter().map(|flag| &**flag).collect();
    let database = TestDatabase::create(Sqlite).await;
    let connect = |address| channel(client(&[&own], None), address);
    let server = TestServer::start_with_channel(database, &flags, connect).await;
    let api = StubApi::start().await;
    api.answer("GET /v3/info", r#"{"started":"2026-11-22T21:00:00Z"}"#);
    api.answer("GET /v3/paths/list", r#"{"pageCount":0,"items":[]}"#);

    let url = format!("https://localhost:{}", server.address.port());
    let variables = [("SSL_CERT_FILE", &*trusted)];
    let edge = HookEdge::start_with(&server, &url, "mediamtx", &api, &variables).await;
    let hook = r#"{"ip":"203.0.113.5","action":"publish","path":"live/sk_1","protocol":"rtmp",
        "id":"0d5a1b8e-97d5-4a0e-a0a1-0a1b2c3d4e5f","query":""}"#;
    let answer = edge.hook("mediamtx/SECRET/auth", hook).await;

    let expected = (403, "the stream key is not valid");
    assert_eq!((answer.status, answer.body.trim()), expected);
}

#[rstest]
#[case("SLUICE_MAIL", "smtp://mail.example.com")]
#[case("SLUICE_OTLP_ENDPOINT", "https://otel.example.com:4317")]
#[tokio::test]
async fn without_authorities_a_server_that_needs_them_does_not_start_and_says_what_to_do(
    #[case] variable: &str,
    #[case] value: &str,
) {
    let database = TestDatabase::create(Sqlite).await;
    let settings = [(variable, value), ("SSL_CERT_FILE", NO_AUTHORITIES)];
    let mut program = Process::serve(&database, &settings);

    assert_eq!(program.wait_for_exit().await, Some(1));
    assert_names_the_remedy(&program.log().concat(), variable);
}

#[tokio::test]
async fn without_authorities_an_edge_that_needs_them_does_not_start_and_says_what_to_do() {
    let folder = TempDir::new().unwrap();
    let settings = [
        ("SLUICE_CONTROL_PLANE", "https://sluice.example.com"),
        ("SLUICE_API_KEY", "slk_x"),
        ("SLUICE_HOOKS_SECRET", "0123456789abcdef"),
        ("SLUICE_HOOKS_LISTEN", "127.0.0.1:0"),
        ("SLUICE_EDGE_DIR", folder.path().to_str().unwrap()),
        ("SSL_CERT_FILE", NO_AUTHORITIES),
    ];
    let output = Process::run(Process::command(&["edge"], &settings)).await;

    assert_eq!(output.exit_code, Some(1));
    assert_names_the_remedy(&output.stderr, "SLUICE_CONTROL_PLANE");
}

#[tokio::test]
async fn without_authorities_a_server_that_needs_none_serves() {
    let database = TestDatabase::create(Sqlite).await;
    let program = Process::serve(&database, &[("SSL_CERT_FILE", NO_AUTHORITIES)]);
    let mut client = Client::anonymous(&program.channel().await);

    let request = sign_up("ada@example.com");
    client.auth.sign_up(request).await.unwrap();
}

#[track_caller]
fn assert_names_the_remedy(text: &str, variable: &str) {
    for part in [variable, "ca-certificates", "SSL_CERT_FILE", NO_AUTHORITIES] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

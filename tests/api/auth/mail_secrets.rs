use base64::{Engine as _, engine::general_purpose::STANDARD};
use rstest::rstest;
use sluice::proto::v1 as pb;

use super::{
    calls::sign_in,
    mail_calls::{NEW_PASSWORD, RESET, request_reset, reset, reset_token, verification_token},
};
use crate::harness::{
    Client, Engine, LOGIN, MailServer, PASSWORD, Postgres, Process, Signal, Sqlite, TestDatabase,
    TestServer, USER, eventually,
};

const TABLES: [&str; 5] = ["outbox", "mail_tokens", "users", "sessions", "audit_events"];

#[rstest]
#[tokio::test]
async fn the_database_contains_no_message_token(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    let verification = verification_token(&server, &ada).await;
    let first = reset_token(&server, &ada).await;

    for text in [&*verification, &verification[4..], &first, &first[4..]] {
        assert!(!server.database.contains_text(&TABLES, text).await);
    }
    assert!(server.database.contains_text(&TABLES, &ada.email).await);
    reset(&server.channel, &first, NEW_PASSWORD).await.unwrap();
    assert!(!server.database.contains_text(&TABLES, &first[4..]).await);
    assert!(!server.database.contains_text(&TABLES, NEW_PASSWORD).await);
}

#[rstest]
#[tokio::test]
async fn the_trace_log_contains_no_message_token_and_no_smtp_login(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let mail_server = MailServer::start().await;
    let database = TestDatabase::create(engine).await;
    let setting = mail_server.setting();
    let settings = [("SLUICE_MAIL", &*setting), ("SLUICE_LOG", "trace")];
    let mut program = Process::serve(&database, &settings);
    let channel = program.channel().await;
    let sign_up = pb::SignUpRequest {
        email: "ada@example.com".to_owned(),
        password: "correct horse battery staple".to_owned(),
        display_name: "Ada".to_owned(),
        request_id: String::new(),
    };
    let mut anonymous = Client::anonymous(&channel).auth;
    anonymous.sign_up(sign_up).await.unwrap();
    let verification = mail_server.mail("ada@example.com").await.token();
    database.wait_for_empty_outbox().await;
    request_reset(&channel, "ada@example.com").await.unwrap();
    let of_reset = eventually("the reset message arrives", async || {
        let mut mails = mail_server.mails("ada@example.com").into_iter();
        mails.find(|mail| mail.header("Subject").contains(RESET))
    })
    .await
    .token();
    reset(&channel, &of_reset, NEW_PASSWORD).await.unwrap();
    sign_in(&channel, "ada@example.com", NEW_PASSWORD)
        .await
        .unwrap();

    program.signal(Signal::TERM);
    assert_eq!(program.wait_for_exit().await, Some(0));
    let log = program.log().join("\n");

    assert_eq!(log.matches("message sent").count(), 2, "the mailer logs");
    // As they are sent to the mail server (AUTH PLAIN, RFC 4616, and AUTH LOGIN).
    let plain = STANDARD.encode(format!("\0{USER}\0{PASSWORD}"));
    let login = STANDARD.encode(PASSWORD);
    let tokens = [&*verification, &of_reset, "slm_"];
    for secret in tokens
        .into_iter()
        .chain([PASSWORD, LOGIN, &plain, &login, NEW_PASSWORD])
    {
        assert!(!log.contains(secret), "{secret}");
    }
}

use std::time::{Duration, Instant};

use rstest::rstest;
use serde_json::json;
use sluice::proto::v1 as pb;
use tokio::net::TcpListener;

use super::{
    calls::{backdate, sign_in},
    mail_calls::{NEW_PASSWORD, request_reset, reset, verify},
};
use crate::harness::{
    Certificate, Client, Engine, LOGIN, MailServer, Postgres, Process, Proxy, Signal, Sqlite,
    TestDatabase, TestServer, USER, eventually,
};

/// A server with this mail setting.
async fn server_with(engine: Engine, setting: &str) -> TestServer {
    TestServer::start_with(engine, &[&format!("--mail={setting}")]).await
}

/// The same as a process, whose log can be read.
async fn process_with(database: &TestDatabase, setting: &str) -> (Process, Client) {
    let settings = [("SLUICE_MAIL", setting), ("SLUICE_BCRYPT_COST", "4")];
    let program = Process::serve(database, &settings);
    let client = Client::anonymous(&program.channel().await);
    (program, client)
}

async fn sign_up(client: &mut Client, email: &str) -> pb::Tokens {
    let request = pb::SignUpRequest {
        email: email.to_owned(),
        password: "correct horse battery staple".to_owned(),
        display_name: "Ada".to_owned(),
        request_id: String::new(),
    };
    let answer = client.auth.sign_up(request).await.unwrap();
    answer.into_inner().tokens.unwrap()
}

/// Waits for a number of log lines with a message; returns them.
async fn logged(program: &Process, message: &str, times: usize) -> Vec<String> {
    eventually("it is logged", async || {
        let mut log = program.log();
        log.retain(|line| line.contains(message));
        (log.len() >= times).then_some(log)
    })
    .await
}

#[rstest]
#[tokio::test]
async fn messages_are_sent_over_smtp_with_a_login(#[values(Sqlite, Postgres)] engine: Engine) {
    let mail_server = MailServer::start().await;
    let server = server_with(engine, &mail_server.setting()).await;
    let ada = server.user().await;

    let mail = mail_server.mail(&ada.email).await;
    verify(&ada.client, &mail.token()).await.unwrap();
    server.database.wait_for_empty_outbox().await;
    request_reset(&server.channel, &ada.email).await.unwrap();
    server.database.wait_for_empty_outbox().await;
    let mails = mail_server.mails(&ada.email);
    assert_eq!(mails.len(), 2);
    let token = mails[1].token();
    reset(&server.channel, &token, NEW_PASSWORD).await.unwrap();

    sign_in(&server.channel, &ada.email, NEW_PASSWORD)
        .await
        .unwrap();
    for message in mail_server.events("message") {
        assert_eq!(message["user"], USER);
        assert_eq!(message["sender"], "sluice@localhost");
        assert_eq!(message["tls"], false);
    }
}

#[rstest]
#[tokio::test]
async fn a_message_is_sent_after_an_outage_of_the_mail_server(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let mail_server = MailServer::start().await;
    let mut proxy = Proxy::to(mail_server.address()).await;
    let database = TestDatabase::create(engine).await;
    proxy.disconnect().await;
    let setting = format!("smtp://{LOGIN}@{}", proxy.address);
    let (program, mut client) = process_with(&database, &setting).await;

    let ada = sign_up(&mut client, "ada@example.com").await;
    logged(&program, "cannot send a message yet", 1).await;
    let tokens = "select count(*) from mail_tokens";
    assert_eq!(database.number(tokens).await, 0);
    proxy.reconnect().await;
    backdate(&database, "outbox", "next_attempt_time", "1 hours").await;

    let mail = mail_server.mail("ada@example.com").await;
    let ada = Client::with_token(&program.channel().await, &ada.access_token);
    verify(&ada, &mail.token()).await.unwrap();
    database.wait_for_empty_outbox().await;
    assert_eq!(mail_server.events("message").len(), 1);
}

#[rstest]
#[tokio::test]
async fn a_rejected_message_is_retried_for_a_day_and_then_dropped(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let mail_server = MailServer::start().await;
    let database = TestDatabase::create(engine).await;
    let (program, mut client) = process_with(&database, &mail_server.setting()).await;

    sign_up(&mut client, "refused@example.com").await;
    logged(&program, "cannot send a message yet", 1).await;
    backdate(&database, "outbox", "next_attempt_time", "1 hours").await;
    let tries = logged(&program, "cannot send a message yet", 2).await;
    let attempts = "select attempts from outbox";
    assert_eq!(database.number(attempts).await, 2);
    backdate(&database, "outbox", "create_time", "24 hours").await;
    backdate(&database, "outbox", "next_attempt_time", "1 hours").await;
    let end = logged(&program, "message given up", 1).await;

    database.wait_for_empty_outbox().await;
    assert_eq!(mail_server.events("message").len(), 0);
    let tokens = "select count(*) from mail_tokens";
    assert_eq!(database.number(tokens).await, 0);
    for line in tries.iter().chain(&end) {
        assert!(line.contains("WARN") && line.contains("user_id"), "{line}");
        assert!(line.contains("the server answered 550"), "{line}");
        assert!(!line.contains("refused@example.com"), "{line}");
    }
}

#[rstest]
#[tokio::test]
async fn undeliverable_messages_do_not_delay_others(#[values(Sqlite, Postgres)] engine: Engine) {
    let mail_server = MailServer::start().await;
    let database = TestDatabase::create(engine).await;
    let (_program, mut client) = process_with(&database, &mail_server.setting()).await;

    for number in 0..10 {
        sign_up(&mut client, &format!("refused{number}@example.com")).await;
    }
    sign_up(&mut client, "ada@example.com").await;

    mail_server.mail("ada@example.com").await;
}

#[rstest]
#[tokio::test]
async fn an_unresponsive_mail_server_delays_neither_sign_ups_nor_shutdown(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let database = TestDatabase::create(engine).await;
    let setting = format!("smtp://{}", silent.local_addr().unwrap());
    let (mut program, mut client) = process_with(&database, &setting).await;

    sign_up(&mut client, "ada@example.com").await;
    let (_connection, _) = silent.accept().await.unwrap();
    sign_up(&mut client, "ben@example.com").await;
    let signalled = Instant::now();
    program.signal(Signal::TERM);

    assert_eq!(program.wait_for_exit().await, Some(0));
    // An attempt to send times out after 30 seconds.
    assert!(signalled.elapsed() < Duration::from_secs(25));
}

#[rstest]
#[tokio::test]
async fn two_replicas_send_each_message_once(#[values(Sqlite, Postgres)] engine: Engine) {
    let mail_server = MailServer::start().await;
    // Room for the ten sign-ups of this address at each replica.
    let mail = format!("--mail={}", mail_server.setting());
    let server = TestServer::start_with(engine, &[&mail, "--password-queue=200"]).await;
    let replica = server.replica().await;

    let mut requests = tokio::task::JoinSet::new();
    let mut emails = Vec::new();
    for number in 0..20 {
        let email = format!("crowd{number}@example.com");
        let channel = [&server.channel, &replica][number % 2].clone();
        emails.push(email.clone());
        requests.spawn(async move {
            sign_up(&mut Client::anonymous(&channel), &email).await;
        });
    }
    requests.join_all().await;
    server.database.wait_for_empty_outbox().await;

    let mut recipients: Vec<_> = mail_server
        .events("message")
        .into_iter()
        .map(|message| message["recipients"].clone())
        .collect();
    recipients.sort_by_key(ToString::to_string);
    emails.sort_unstable();
    let once: Vec<_> = emails.iter().map(|email| json!([email])).collect();
    assert_eq!(recipients, once);
}

#[tokio::test]
async fn starttls_protects_the_login_and_the_message() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::make(folder.path()).await;
    let mail_server = MailServer::start_with(&certificate).await;
    let setting = format!(
        "smtp://{LOGIN}@localhost:{}?tls=required&ca={}",
        mail_server.port,
        certificate.file.display()
    );
    let server = server_with(Sqlite, &setting).await;

    let ada = server.user().await;

    mail_server.mail(&ada.email).await;
    assert_eq!(mail_server.events("message")[0]["tls"], true);
}

#[tokio::test]
async fn nothing_is_sent_to_a_mail_server_with_an_untrusted_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::make(folder.path()).await;
    let mail_server = MailServer::start_with(&certificate).await;
    let port = mail_server.port;
    let trusted = certificate.file.display();

    for setting in [
        // The certificate is not signed by a trusted CA.
        format!("smtp://{LOGIN}@localhost:{port}?tls=required"),
        // The certificate is for another name.
        format!("smtp://{LOGIN}@127.0.0.1:{port}?tls=required&ca={trusted}"),
    ] {
        let database = TestDatabase::create(Sqlite).await;
        let (program, mut client) = process_with(&database, &setting).await;
        sign_up(&mut client, "ada@example.com").await;

        let log = logged(&program, "cannot send a message yet", 1).await;
        assert!(log[0].contains("certificate"), "{}", log[0]);
    }
    assert!(mail_server.events("login").is_empty());
    assert!(mail_server.events("message").is_empty());
}

#[tokio::test]
async fn nothing_is_sent_to_a_mail_server_without_the_required_tls() {
    let mail_server = MailServer::start().await;
    let database = TestDatabase::create(Sqlite).await;
    let setting = format!("{}?tls=required", mail_server.setting());
    let (program, mut client) = process_with(&database, &setting).await;

    sign_up(&mut client, "ada@example.com").await;

    logged(&program, "cannot send a message yet", 1).await;
    assert!(mail_server.events("login").is_empty());
    assert!(mail_server.events("message").is_empty());
}

#[tokio::test]
async fn a_failed_smtp_login_is_logged_without_the_password() {
    let mail_server = MailServer::start().await;
    let database = TestDatabase::create(Sqlite).await;
    let setting = format!("smtp://ada:marked-wrong@127.0.0.1:{}", mail_server.port);
    let (program, mut client) = process_with(&database, &setting).await;

    sign_up(&mut client, "ada@example.com").await;

    let log = logged(&program, "cannot send a message yet", 1).await;
    assert!(log[0].contains("the server answered 535"), "{}", log[0]);
    assert!(!program.log().concat().contains("marked-wrong"));
    assert_eq!(mail_server.events("login")[0]["right"], false);
}

use std::{fs, os::unix::fs::PermissionsExt};

use super::mail_calls::{RESET, VERIFY, request_reset};
use crate::harness::{Sqlite, TestServer};

#[tokio::test]
async fn a_message_is_a_file_that_only_its_owner_can_read() {
    let server = TestServer::start(Sqlite).await;
    let ada = server.user().await;
    server.database.mail(&ada.email, VERIFY, 1).await;

    let folder = server.database.directory.path().join("mail");
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    assert_eq!(mode(&files[0]), 0o600);
    assert_eq!(mode(&folder), 0o700);
}

#[tokio::test]
async fn a_message_has_sender_date_and_auto_submitted_headers() {
    let flags = ["--mail-from=The Show <show@mail.example.com>"];
    let server = TestServer::start_with(Sqlite, &flags).await;
    let ada = server.user().await;

    let mail = server.database.mail(&ada.email, VERIFY, 1).await;

    assert_eq!(mail.header("From"), "\"The Show\" <show@mail.example.com>");
    assert_eq!(mail.header("Auto-Submitted"), "auto-generated");
    assert!(mail.header("Message-ID").ends_with("@mail.example.com>"));
    assert!(mail.header("Date").ends_with(" +0000"));
    assert_eq!(mail.header("Content-Type"), "text/plain; charset=utf-8");
    assert!(!mail.body.contains(&ada.user.display_name));
}

#[tokio::test]
async fn the_token_is_appended_to_the_configured_url() {
    let flags = [
        "--mail-verify-url=https://app.example.com/verify#token=",
        "--mail-reset-url=https://app.example.com/reset?for=me&token=",
    ];
    let server = TestServer::start_with(Sqlite, &flags).await;
    let ada = server.user().await;
    request_reset(&server.channel, &ada.email).await.unwrap();

    for (about, page) in [(VERIFY, "verify#token="), (RESET, "reset?for=me&token=")] {
        let mail = server.database.mail(&ada.email, about, 1).await;
        let line = format!("https://app.example.com/{page}{}", mail.token());
        assert!(mail.body.lines().any(|is| is == line), "{}", mail.body);
    }
}

#[tokio::test]
async fn without_a_configured_url_the_token_is_on_its_own_line() {
    let server = TestServer::start(Sqlite).await;
    let ada = server.user().await;

    let mail = server.database.mail(&ada.email, VERIFY, 1).await;

    assert!(mail.body.lines().any(|line| line == mail.token()));
}

//! A local file of passwords that are known from data breaches.

use std::{fmt::Write as _, fs, path::Path};

use ring::digest;
use rstest::rstest;
use sluice::proto::v1 as pb;

use super::{
    calls::{new_session, sign_in},
    mail_calls::{NEW_PASSWORD, reset, reset_token},
};
use crate::harness::{Engine, Postgres, Process, Sqlite, TestServer, refused};

/// Writes a file of these passwords and of others, as Have I Been Pwned offers it.
fn write_breached(file: &Path, passwords: &[&str]) {
    let others = (0..500).map(|number| format!("another {number}"));
    let all = passwords.iter().map(ToString::to_string).chain(others);
    let mut hashes: Vec<_> = all
        .map(|password| {
            let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
            hash.as_ref().iter().fold(String::new(), |mut text, byte| {
                write!(text, "{byte:02X}").unwrap();
                text
            })
        })
        .collect();
    hashes.sort();
    let lines = hashes
        .iter()
        .zip(1..)
        .map(|(hash, count)| format!("{hash}:{count}\r\n"));
    fs::write(file, lines.collect::<String>()).unwrap();
}

#[rstest]
#[tokio::test]
async fn a_new_password_from_a_data_breach_is_refused(#[values(Sqlite, Postgres)] engine: Engine) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("breached");
    write_breached(&file, &[NEW_PASSWORD]);
    let flag = format!("--breached-passwords={}", file.display());
    let server = TestServer::start_with(engine, &[&flag]).await;
    let ada = server.user().await;

    let sign_up = pb::SignUpRequest {
        email: "grace@example.com".to_owned(),
        password: NEW_PASSWORD.to_owned(),
        display_name: "Grace".to_owned(),
        request_id: String::new(),
    };
    let refusal = refused(server.anonymous().auth.sign_up(sign_up).await);
    assert_eq!(refusal.fields(), ["password"]);
    assert!(
        format!("{refusal:?}").contains("data breach"),
        "{refusal:?}"
    );
    let change = pb::ChangePasswordRequest {
        current_password: ada.password.to_owned(),
        new_password: NEW_PASSWORD.to_owned(),
    };
    let refusal = refused(ada.client.auth.clone().change_password(change).await);
    assert_eq!(refusal.fields(), ["new_password"]);
    let token = reset_token(&server, &ada).await;
    let refusal = refused(reset(&server.channel, &token, NEW_PASSWORD).await);
    assert_eq!(refusal.fields(), ["new_password"]);
    let unknown = format!("{NEW_PASSWORD}!");
    reset(&server.channel, &token, &unknown).await.unwrap();
    sign_in(&server.channel, &ada.email, &unknown)
        .await
        .unwrap();
}

/// Its owner signs in, and chooses another one when they want.
#[rstest]
#[tokio::test]
async fn an_existing_password_from_a_data_breach_still_works(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("breached");
    let server = TestServer::start(engine).await;
    let ada = server.user().await;
    write_breached(&file, &[ada.password]);
    let flag = format!("--breached-passwords={}", file.display());
    let server = TestServer::start_on(server.stop().await, &[&flag]).await;

    new_session(&server, &ada).await;
}

#[tokio::test]
async fn a_file_of_another_format_is_found_by_check() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("breached");
    fs::write(&file, "hunter2\n").unwrap();
    let settings = [
        ("SLUICE_DATA_DIR", directory.path().to_str().unwrap()),
        ("SLUICE_BREACHED_PASSWORDS", file.to_str().unwrap()),
        ("SLUICE_ENV_FILE", "off"),
    ];

    let output = Process::run(Process::command(&["check"], &settings)).await;

    assert_ne!(output.exit_code, Some(0), "{output:?}");
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(said.contains("SLUICE_BREACHED_PASSWORDS"), "{said}");
    assert!(said.contains("must have lines such as"), "{said}");
}

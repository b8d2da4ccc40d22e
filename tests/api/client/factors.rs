use std::fs;

use rstest::rstest;
use sluice::proto::v1 as pb;

use super::{
    fixture::{Cli, failed},
    terminal::Terminal,
};
use crate::{
    auth::second_factor_calls::{Authenticator, REQUIRED, enrol, list, sign_in},
    harness::{Engine, Postgres, Sqlite, TestServer, refused},
};

/// A file with a code.
pub(super) fn code_file(code: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("code");
    fs::write(&file, format!("{code}\n")).unwrap();
    let file = file.to_str().unwrap().to_owned();
    (directory, file)
}

#[rstest]
#[tokio::test]
async fn login_asks_for_the_code_of_the_second_factor(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (mut authenticator, _) = enrol(&user).await;
    let cli = Cli::new(&format!("http://{}", server.address));

    let arguments = ["login", "--email", &user.email];
    let mut terminal = Terminal::run(&cli, &arguments, 24, 100);
    terminal.asks_for_a_secret("Password:").await;
    terminal.type_keys(&format!("{}\r", user.password)).await;
    terminal
        .asks_for_a_secret("Code of the authenticator, or a recovery code:")
        .await;
    let code = authenticator.next_code();
    terminal.type_keys(&format!("{code}\r")).await;
    let status = terminal.wait().await;

    let text = terminal.text();
    assert!(status.success(), "{text}");
    assert!(text.contains(&user.email), "{text}");
    assert!(!text.contains(&code), "{text}");
}

#[tokio::test]
async fn a_script_gives_the_code_in_a_file() {
    let server = TestServer::start(Sqlite).await;
    let user = server.user().await;
    let (_, codes) = enrol(&user).await;
    let cli = Cli::new(&format!("http://{}", server.address));
    let (_directory, file) = code_file(&codes[0]);

    let login = ["login", "--email", &user.email, "--password-stdin"];
    let output = cli.run_with_input(&login, user.password).await;
    failed(&output, 2, &["--code-file"]);
    assert!(!cli.profile("default").exists());
    let login = [&login[..], &["--code-file", &file]].concat();
    let output = cli.run_with_input(&login, user.password).await;
    assert_eq!(output.exit_code, Some(0), "{output:?}");
    assert!(cli.output(&["whoami"]).await.contains(&user.email));
    // It works once.
    let output = cli.run_with_input(&login, user.password).await;
    failed(&output, 3, &["the code of the second factor is wrong"]);
}

#[tokio::test]
async fn an_authenticator_is_added_confirmed_listed_and_deleted() {
    let server = TestServer::start(Sqlite).await;
    let (cli, user) = Cli::signed_in(&server).await;

    let add = ["factor", "add", "Phone", "--password-stdin", "-o", "json"];
    let output = cli.run_with_input(&add, user.password).await;
    assert_eq!(output.exit_code, Some(0), "{output:?}");
    let created: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    let id = created["secondFactor"]["id"].as_str().unwrap().to_owned();
    assert!(
        output
            .stderr
            .contains(&format!("sluice factor confirm {id}")),
        "{output:?}"
    );
    let mut authenticator = Authenticator::new(&pb::CreateSecondFactorResponse {
        second_factor: Some(pb::SecondFactor {
            id: id.clone(),
            ..Default::default()
        }),
        secret: created["secret"].as_str().unwrap().to_owned(),
        otpauth_uri: String::new(),
    });
    let (_directory, file) = code_file(&authenticator.next_code());
    let codes = cli
        .output(&["factor", "confirm", &id, "--code-file", &file])
        .await;
    let codes: Vec<_> = codes.lines().collect();
    assert_eq!(codes.len(), 10, "{codes:?}");
    let refusal = refused(sign_in(&server.channel, &user, "").await);
    assert_eq!(refusal.class(), REQUIRED);

    let listed = cli.output(&["factor", "list"]).await;
    assert!(listed.contains(&id) && listed.contains("Phone"), "{listed}");
    let (_directory, file) = code_file(codes[0]);
    let new = cli
        .output(&["factor", "recovery-codes", "--code-file", &file])
        .await;
    let (_directory, file) = code_file(new.lines().next().unwrap());
    cli.output(&["factor", "delete", &id, "--code-file", &file])
        .await;
    assert_eq!(list(&user.client).await.second_factors, []);
}

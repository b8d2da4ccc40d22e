use std::fs;

use rstest::rstest;

use super::fixture::{Cli, failed};
use crate::{
    auth::{
        email_change::{CURRENT, NEW},
        mail_calls::{verification_token, verify},
    },
    harness::{Engine, Postgres, Sqlite, TestServer},
};

/// The new address.
const ADDRESS: &str = "ada.new@example.com";

/// A file with a token.
fn token_file(token: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    fs::write(&file, format!("{token}\n")).unwrap();
    let file = file.to_str().unwrap().to_owned();
    (directory, file)
}

#[rstest]
#[tokio::test]
async fn an_address_is_changed_with_the_tokens_of_both_messages(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (cli, user) = Cli::signed_in(&server).await;
    let token = verification_token(&server, &user).await;
    verify(&user.client, &token).await.unwrap();

    let requested = cli.output(&["email", "change", ADDRESS]).await;
    assert!(requested.contains("both addresses"), "{requested}");
    let me = cli.output(&["whoami"]).await;
    assert!(me.contains(&user.email) && me.contains(ADDRESS), "{me}");
    assert!(cli.output(&["export"]).await.contains("emailChange"));
    let current = server.database.mail(&user.email, CURRENT, 1).await.token();
    let new = server.database.mail(ADDRESS, NEW, 1).await.token();
    let (_directory, file) = token_file(&current);
    let confirm = ["email", "confirm", "--token-file", &file];
    let confirmed = cli.output(&confirm).await;
    assert!(confirmed.contains("the new address"), "{confirmed}");
    failed(&cli.run(&confirm).await, 3, &["token"]);
    assert_eq!(cli.profile_field("email"), user.email);
    let (_directory, file) = token_file(&new);
    let answer = cli.json(&["email", "confirm", "--token-file", &file]).await;

    assert_eq!(answer["user"]["email"], ADDRESS);
    assert_eq!(answer["emailChange"], serde_json::Value::Null);
    assert_eq!(cli.profile_field("email"), ADDRESS);
    let me = cli.output(&["whoami"]).await;
    assert!(
        !me.contains(&user.email) && !me.contains("new email"),
        "{me}"
    );
}

#[tokio::test]
async fn a_change_is_cancelled_without_a_session() {
    let server = TestServer::start(Sqlite).await;
    let (cli, user) = Cli::signed_in(&server).await;
    cli.output(&["email", "change", ADDRESS]).await;
    let token = server.database.mail(ADDRESS, NEW, 1).await.token();
    let stranger = Cli::new(&format!("http://{}", server.address));

    failed(
        &stranger.run(&["email", "cancel"]).await,
        2,
        &["--token-file"],
    );
    let (_directory, file) = token_file(&token);
    let cancel = ["email", "cancel", "--token-file", &file];
    let cancelled = stranger.output(&cancel).await;

    assert!(cancelled.contains("is cancelled"), "{cancelled}");
    let me = cli.output(&["whoami"]).await;
    assert!(me.contains(&user.email) && !me.contains(ADDRESS), "{me}");
}

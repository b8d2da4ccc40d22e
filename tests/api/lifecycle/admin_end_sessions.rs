use rstest::rstest;
use tonic::Code;

use crate::{
    auth::calls::{get_me, new_session, refresh},
    harness::{Client, Engine, Postgres, Process, Sqlite, TestServer, User, eventually, refused},
};

/// `sluice admin end-sessions`: its exit code and what it printed.
async fn end_sessions(server: &TestServer, arguments: &[&str]) -> (Option<i32>, String) {
    let arguments = [&["admin", "end-sessions"], arguments].concat();
    let directory = server.database.directory.path().to_str().unwrap();
    let settings = [
        ("DATABASE_URL", &*server.database.url),
        ("SLUICE_DATA_DIR", directory),
    ];
    let output = Process::command(&arguments, &settings)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), said.trim().to_owned())
}

async fn assert_signed_out(server: &TestServer, user: &User) {
    eventually("the access token is refused", async || {
        let refusal = get_me(&user.client).await.err()?;
        (refusal.code() == Code::Unauthenticated).then_some(())
    })
    .await;
    let refusal = refused(refresh(&server.channel, &user.tokens.refresh_token).await);
    let class = (Code::Unauthenticated, "REFRESH_TOKEN_INVALID");
    assert_eq!(refusal.class(), class);
}

#[rstest]
#[tokio::test]
async fn an_operator_ends_the_sessions_of_one_user(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let (ada, grace) = (server.user().await, server.user().await);
    let other = new_session(&server, &ada).await;

    let email = format!("--email={}", ada.email.to_uppercase());
    let done = end_sessions(&server, &[&email]).await;

    assert_eq!(done, (Some(0), "2 sessions ended".to_owned()));
    assert_signed_out(&server, &ada).await;
    let other = Client::with_token(&server.channel, &other.access_token);
    assert_eq!(
        refused(get_me(&other).await).class(),
        (Code::Unauthenticated, "ACCESS_TOKEN_INVALID")
    );
    get_me(&grace.client).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn an_operator_ends_the_sessions_of_all_users(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let (ada, grace) = (server.user().await, server.user().await);

    let done = end_sessions(&server, &["--all"]).await;

    assert_eq!(done, (Some(0), "2 sessions ended".to_owned()));
    assert_signed_out(&server, &ada).await;
    assert_signed_out(&server, &grace).await;
    new_session(&server, &ada).await;
}

#[rstest]
#[case::no_user(&[], 2)]
#[case::one_user_and_all_users(&["--all", "--email=ada@example.com"], 2)]
#[case::malformed_address(&["--email=ada"], 2)]
#[case::unknown_address(&["--email=nobody@example.com"], 4)]
#[tokio::test]
async fn ambiguous_or_invalid_arguments_are_refused(#[case] arguments: &[&str], #[case] code: i32) {
    let server = TestServer::start(Sqlite).await;
    let ada = server.user().await;

    let (ended, said) = end_sessions(&server, arguments).await;

    assert_eq!((ended, &*said), (Some(code), ""));
    get_me(&ada.client).await.unwrap();
}

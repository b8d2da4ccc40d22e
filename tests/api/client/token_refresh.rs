use futures_util::future::join_all;
use rstest::rstest;

use super::fixture::{Cli, failed};
use crate::harness::{Engine, Postgres, Proxy, Sqlite, TestServer};

const PAST: &str = "2020-01-01T00:00:00Z";

#[rstest]
#[tokio::test]
async fn an_expired_access_token_is_refreshed_silently(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let (cli, user) = Cli::signed_in(&server).await;
    let before = cli.profile_field("refresh_token");
    cli.edit_profile("access_token_expire_time", PAST);

    let output = cli.run(&["whoami"]).await;

    assert!(output.stdout.contains(&user.email), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    assert_ne!(cli.profile_field("refresh_token"), before);
}

#[tokio::test]
async fn a_token_that_the_server_refuses_is_refreshed_once() {
    let server = TestServer::start(Sqlite).await;
    let (cli, user) = Cli::signed_in(&server).await;
    // The clock of this machine may be wrong: the server decides.
    cli.edit_profile("access_token", "not.a.token");

    assert!(cli.output(&["whoami"]).await.contains(&user.email));
}

#[rstest]
#[tokio::test]
async fn commands_at_once_refresh_the_session_once(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let (cli, _) = Cli::signed_in(&server).await;
    cli.edit_profile("access_token_expire_time", PAST);

    let mut tokens = join_all((0..8).map(|_| cli.output(&["token"]))).await;

    tokens.dedup();
    assert_eq!(tokens.len(), 1, "{tokens:?}");
    // The session goes on: no refresh token was used twice.
    cli.edit_profile("access_token_expire_time", PAST);
    cli.output(&["whoami"]).await;
}

#[tokio::test]
async fn a_lost_answer_to_a_refresh_costs_no_session() {
    let server = TestServer::start(Sqlite).await;
    let proxy = Proxy::to(server.address).await;
    let cli = Cli::new(&format!("http://{}", proxy.address));
    let user = server.user().await;
    cli.login(&user).await;
    cli.edit_profile("access_token_expire_time", PAST);

    // The body of the request has the token in plain text.
    let request = cli.profile_field("refresh_token").into_bytes();
    proxy.drop_response_to(request.leak());
    cli.output(&["whoami"]).await;

    cli.edit_profile("access_token_expire_time", PAST);
    cli.output(&["whoami"]).await;
}

#[tokio::test]
async fn a_session_that_has_ended_asks_to_sign_in() {
    let server = TestServer::start(Sqlite).await;
    let (cli, _) = Cli::signed_in(&server).await;
    cli.edit_profile("access_token_expire_time", PAST);
    cli.edit_profile("refresh_token", "not a refresh token");

    failed(&cli.run(&["whoami"]).await, 3, &["run `sluice login`"]);
}

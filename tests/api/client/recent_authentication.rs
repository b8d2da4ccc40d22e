use super::{
    fixture::{Cli, failed},
    terminal::Terminal,
};
use crate::{
    auth::{calls::backdate, second_factor_calls::enrol},
    harness::{Sqlite, TestServer, User},
};

const CREATE: [&str; 5] = ["key", "create", "nightly", "--scope", "projects:read"];

/// A user whose session began eleven minutes ago.
async fn with_old_session(server: &TestServer) -> (Cli, User) {
    let (cli, user) = Cli::signed_in(server).await;
    backdate(&server.database, "sessions", "auth_time", "11 minutes").await;
    cli.edit_profile("access_token_expire_time", "2020-01-01T00:00:00Z");
    (cli, user)
}

#[tokio::test]
async fn a_command_that_creates_a_secret_asks_for_the_password_again() {
    let server = TestServer::start(Sqlite).await;
    let (cli, user) = with_old_session(&server).await;

    let mut terminal = Terminal::run(&cli, &CREATE, 24, 100);
    terminal
        .asks_for_a_secret("Password, to confirm that it is you:")
        .await;
    terminal.type_keys(&format!("{}\r", user.password)).await;
    let status = terminal.wait().await;

    let text = terminal.text();
    assert!(status.success(), "{text}");
    assert!(text.contains("slk_"), "{text}");
    assert!(!text.contains(user.password), "{text}");
    // The proof is kept in the profile.
    cli.output(&CREATE).await;
}

#[tokio::test]
async fn it_asks_for_a_code_if_the_account_has_a_second_factor() {
    let server = TestServer::start(Sqlite).await;
    let (cli, user) = with_old_session(&server).await;
    let (_, codes) = enrol(&user).await;

    let mut terminal = Terminal::run(&cli, &CREATE, 24, 100);
    terminal
        .asks_for_a_secret("Code, to confirm that it is you:")
        .await;
    terminal.type_keys(&format!("{}\r", codes[0])).await;
    let status = terminal.wait().await;

    let text = terminal.text();
    assert!(status.success(), "{text}");
    assert!(text.contains("slk_"), "{text}");
}

#[tokio::test]
async fn without_a_terminal_the_error_names_the_remedy() {
    let server = TestServer::start(Sqlite).await;
    let (cli, user) = with_old_session(&server).await;

    failed(
        &cli.run(&CREATE).await,
        5,
        &["too old", "run `sluice login`"],
    );
    cli.login(&user).await;
    cli.output(&CREATE).await;
}

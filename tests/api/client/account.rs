use std::{fs, os::unix::fs::PermissionsExt};

use rstest::rstest;
use sluice::proto::v1 as pb;

use super::fixture::{Cli, failed};
use crate::harness::{Client, Engine, Postgres, Sqlite, TestServer, eventually};

#[rstest]
#[tokio::test]
async fn signup_creates_an_account_and_signs_in(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let cli = Cli::new(&format!("http://{}", server.address));

    let arguments = [
        "signup",
        "--email",
        "ada@example.com",
        "--display-name",
        "Ada",
        "--password-stdin",
    ];
    let output = cli
        .run_with_input(&arguments, "correct horse battery staple")
        .await;
    assert_eq!(output.exit_code, Some(0), "{output:?}");

    let me = cli.json(&["whoami"]).await;
    assert_eq!(me["user"]["email"], "ada@example.com");
    assert_eq!(me["user"]["displayName"], "Ada");
}

#[rstest]
#[tokio::test]
async fn logout_ends_the_session_and_forgets_it(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let (cli, user) = Cli::signed_in(&server).await;
    assert!(cli.output(&["whoami"]).await.contains(&user.email));
    let token = cli.output(&["token"]).await;

    cli.output(&["logout"]).await;

    assert!(!cli.profile("default").exists());
    failed(&cli.run(&["whoami"]).await, 3, &["run `sluice login`"]);
    let client = Client::with_token(&server.channel, token.trim());
    eventually("the token is refused", async || {
        let answer = client.auth.clone().get_me(pb::GetMeRequest {}).await;
        answer.err()
    })
    .await;
}

#[tokio::test]
async fn logout_without_the_server_needs_force() {
    let server = TestServer::start(Sqlite).await;
    let (cli, _) = Cli::signed_in(&server).await;
    server.stop().await;

    failed(&cli.run(&["logout"]).await, 6, &["cannot reach"]);
    assert!(cli.profile("default").exists());
    cli.output(&["logout", "--force"]).await;
    assert!(!cli.profile("default").exists());
}

#[tokio::test]
async fn only_its_user_can_read_a_profile() {
    let server = TestServer::start(Sqlite).await;
    let (cli, user) = Cli::signed_in(&server).await;
    let file = cli.profile("default");
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;

    assert_eq!(mode(file.as_path()), 0o600);
    assert_eq!(mode(file.parent().unwrap()), 0o700);
    assert!(!fs::read_to_string(&file).unwrap().contains(user.password));

    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    failed(&cli.run(&["whoami"]).await, 3, &["chmod 600"]);
}

#[tokio::test]
async fn the_configuration_directory_can_be_set() {
    let server = TestServer::start(Sqlite).await;
    let (cli, _) = Cli::signed_in(&server).await;
    let directory = tempfile::tempdir().unwrap();
    let variable = ("XDG_CONFIG_HOME", directory.path().to_str().unwrap());

    failed(&cli.run_with(&["whoami"], variable).await, 3, &["login"]);
}

#[tokio::test]
async fn each_profile_has_a_session() {
    let server = TestServer::start(Sqlite).await;
    let (cli, first) = Cli::signed_in(&server).await;
    let second = server.user().await;
    let arguments = [
        "login",
        "--profile",
        "other",
        "--email",
        &second.email,
        "--password-stdin",
    ];
    let output = cli.run_with_input(&arguments, second.password).await;
    assert_eq!(output.exit_code, Some(0), "{output:?}");

    assert!(cli.output(&["whoami"]).await.contains(&first.email));
    let other = cli.output(&["whoami", "--profile", "other"]).await;
    assert!(other.contains(&second.email), "{other}");
}

#[tokio::test]
async fn a_profile_cannot_have_the_name_of_another_file() {
    let cli = Cli::new("http://127.0.0.1:1");

    let output = cli.run(&["whoami", "--profile", "../other"]).await;

    failed(&output, 2, &["--profile"]);
}

#[tokio::test]
async fn a_wrong_password_is_refused() {
    let server = TestServer::start(Sqlite).await;
    let user = server.user().await;
    let cli = Cli::new(&format!("http://{}", server.address));

    let arguments = ["login", "--email", &user.email, "--password-stdin"];
    let output = cli.run_with_input(&arguments, "not the password").await;

    failed(&output, 3, &["e-mail or password is wrong"]);
    assert!(!cli.profile("default").exists());
}

#[tokio::test]
async fn a_password_needs_a_terminal_or_a_flag() {
    let cli = Cli::new("http://127.0.0.1:1");

    let output = cli.run(&["login", "--email", "ada@example.com"]).await;

    failed(&output, 2, &["--password-stdin"]);
}

#[tokio::test]
async fn the_tokens_of_a_profile_go_to_no_other_server() {
    let server = TestServer::start(Sqlite).await;
    let (cli, _) = Cli::signed_in(&server).await;
    let other = TestServer::start(Sqlite).await;
    let other = format!("http://{}", other.address);

    let output = cli.run(&["whoami", "--server", &other]).await;

    failed(&output, 3, &["is signed in to", &other]);
}

#[tokio::test]
async fn the_server_of_the_profile_is_the_default() {
    let server = TestServer::start(Sqlite).await;
    let (cli, user) = Cli::signed_in(&server).await;

    // An empty variable counts as not set.
    let output = cli.run_with(&["whoami"], ("SLUICE_SERVER", "")).await;

    assert!(output.stdout.contains(&user.email), "{output:?}");
}

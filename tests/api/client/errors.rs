use super::fixture::{Cli, failed};
use crate::harness::{Sqlite, TestServer};

const NOWHERE: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

#[tokio::test]
async fn an_invalid_field_is_named_with_exit_code_2() {
    let server = TestServer::start(Sqlite).await;
    let (cli, _) = Cli::signed_in(&server).await;

    let output = cli.run(&["project", "create", ""]).await;

    failed(&output, 2, &["sluice: display_name must not be empty"]);
}

#[tokio::test]
async fn every_invalid_field_has_a_line() {
    let server = TestServer::start(Sqlite).await;
    let (cli, _) = Cli::signed_in(&server).await;

    let arguments = ["project", "create", "", "--reconnect-window", "2h"];
    let output = cli.run(&arguments).await;

    failed(
        &output,
        2,
        &["sluice: display_name ", "sluice: reconnect_window "],
    );
    assert_eq!(output.stderr.lines().count(), 2, "{output:?}");
}

#[tokio::test]
async fn an_unknown_flag_has_exit_code_2() {
    let output = Cli::new("http://127.0.0.1:1")
        .run(&["project", "list", "--colour"])
        .await;

    assert_eq!(output.exit_code, Some(2), "{output:?}");
    assert!(output.stderr.contains("--colour"), "{output:?}");
}

#[tokio::test]
async fn a_missing_resource_has_exit_code_4() {
    let server = TestServer::start(Sqlite).await;
    let (cli, _) = Cli::signed_in(&server).await;

    let by_id = cli.run(&["project", "get", NOWHERE]).await;
    failed(&by_id, 4, &["no such project"]);
    let by_name = cli.run(&["project", "get", "Nothing"]).await;
    failed(&by_name, 4, &["Nothing", "`sluice project list`"]);
}

#[tokio::test]
async fn a_conflict_has_exit_code_5_and_names_the_remedy() {
    let server = TestServer::start(Sqlite).await;
    let (cli, user) = Cli::signed_in(&server).await;
    let (project, key) = user.project().await;
    server.media_server().await.live(&key, "c1").await;

    let output = cli.run(&["project", "delete", &project.id]).await;
    failed(&output, 5, &["--force"]);

    cli.output(&["project", "delete", &project.id, "--force"])
        .await;
    failed(&cli.run(&["project", "get", &project.id]).await, 4, &[]);
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_has_exit_code_6() {
    let server = TestServer::start(Sqlite).await;
    let (cli, _) = Cli::signed_in(&server).await;
    let address = server.address.to_string();
    server.stop().await;

    let output = cli.run(&["project", "list"]).await;

    failed(&output, 6, &["cannot reach", &address, "--server"]);
}

#[tokio::test]
async fn an_address_with_a_path_or_password_is_refused() {
    for server in [
        "ftp://host",
        "http://host/path",
        "http://user:secret@host",
        "host",
    ] {
        let output = Cli::new(server).run(&["whoami", "--api-key", "k"]).await;

        failed(&output, 2, &["--server (SLUICE_SERVER)"]);
    }
}

#[tokio::test]
async fn a_reader_that_stops_early_is_no_error() {
    let server = TestServer::start(Sqlite).await;
    let (cli, user) = Cli::signed_in(&server).await;
    user.project().await;

    let mut command = cli.command(&["project", "list"]);
    command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().await.unwrap();

    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

use std::fs;

use rstest::rstest;

use super::fixture::{Cli, failed};
use crate::harness::{Engine, Postgres, Sqlite, TestServer};

const KEY: &str = "abcd-efgh-ijkl-mnop";

#[rstest]
#[tokio::test]
async fn a_destination_is_created_listed_changed_and_deleted(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (cli, user) = Cli::signed_in(&server).await;
    user.project().await;

    let arguments = [
        "destination",
        "create",
        "Show",
        "--platform",
        "youtube",
        "--name",
        "My channel",
        "--stream-key-stdin",
        "--delay",
        "30s",
        "--max-height",
        "720",
    ];
    let created = cli.run_with_input(&arguments, KEY).await;
    assert_eq!(created.exit_code, Some(0), "{created:?}");
    assert!(!created.stdout.contains(KEY), "{created:?}");
    assert!(created.stdout.contains("…mnop"), "{created:?}");
    assert!(created.stdout.contains("30s"), "{created:?}");
    assert!(created.stdout.contains("720 pixels"), "{created:?}");

    let list = cli.output(&["destination", "list", "Show"]).await;
    assert!(list.contains("My channel"), "{list}");
    assert!(list.contains("YOUTUBE   ENABLED"), "{list}");

    let named = ["My channel", "--project", "Show"];
    let change = [
        &["destination", "update"],
        &named[..],
        &["--disabled", "true"],
    ];
    cli.output(&change.concat()).await;
    let list = cli.output(&["destination", "list", "Show"]).await;
    assert!(list.contains("YOUTUBE   DISABLED"), "{list}");
    let delay = [
        &["destination", "update"],
        &named[..],
        &["--delay", "1500ms", "--max-video-bitrate-kbps", "2500"],
    ];
    let changed = cli.output(&delay.concat()).await;
    assert!(changed.contains("1s 500ms"), "{changed}");
    assert!(changed.contains("2500 kbit/s, 720 pixels"), "{changed}");

    cli.output(&[&["destination", "delete"], &named[..]].concat())
        .await;
    let output = cli
        .run(&[&["destination", "get"], &named[..]].concat())
        .await;
    failed(&output, 4, &["My channel", "`sluice destination list`"]);
}

#[tokio::test]
async fn a_check_of_a_destination_needs_an_edge() {
    let server = TestServer::start(Sqlite).await;
    let (cli, user) = Cli::signed_in(&server).await;
    user.project().await;
    let create = [
        "destination",
        "create",
        "Show",
        "--platform",
        "youtube",
        "--name",
        "My channel",
        "--stream-key-stdin",
    ];
    cli.run_with_input(&create, KEY).await;

    let check = ["destination", "check", "My channel", "--project", "Show"];
    failed(&cli.run(&check).await, 5, &["no edge is connected"]);
}

#[tokio::test]
async fn a_stream_key_can_come_from_a_file() {
    let server = TestServer::start(Sqlite).await;
    let (cli, user) = Cli::signed_in(&server).await;
    user.project().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    let path = file.to_str().unwrap();
    let arguments = [
        "destination",
        "add",
        "Show",
        "--platform",
        "twitch",
        "--name",
        "Twitch",
        "--stream-key-file",
        path,
    ];

    failed(&cli.run(&arguments).await, 2, &["--stream-key-file", path]);
    fs::write(&file, "one\ntwo\n").unwrap();
    failed(&cli.run(&arguments).await, 2, &["several lines"]);
    fs::write(&file, format!("{KEY}\n")).unwrap();
    assert!(cli.output(&arguments).await.contains("…mnop"));
}

#[tokio::test]
async fn a_name_without_its_project_is_refused() {
    let server = TestServer::start(Sqlite).await;
    let (cli, _) = Cli::signed_in(&server).await;

    let output = cli.run(&["destination", "get", "My channel"]).await;

    failed(&output, 2, &["--project"]);
}

#[tokio::test]
async fn the_platforms_are_listed_with_the_words_that_create_accepts() {
    let server = TestServer::start(Sqlite).await;
    let (cli, _) = Cli::signed_in(&server).await;

    let platforms = cli.output(&["destination", "platforms"]).await;
    let help = cli.output(&["destination", "create", "--help"]).await;

    for line in platforms.lines().skip(1) {
        let word = line.split(' ').next().unwrap();
        assert!(help.contains(word), "{word} is not in {help}");
    }
    assert!(platforms.lines().any(|line| line.starts_with("amazon-ivs")));
}

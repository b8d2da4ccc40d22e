use rstest::rstest;

use super::fixture::{Cli, failed};
use crate::{
    harness::{Engine, Postgres, Sqlite, TestServer},
    stream::list_stream_samples::add_samples,
};

#[rstest]
#[tokio::test]
async fn the_owner_sees_and_stops_a_stream_and_its_relays(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (cli, user) = Cli::signed_in(&server).await;
    let (_, key) = user.project().await;
    let arguments = [
        "destination",
        "create",
        "Show",
        "--platform",
        "youtube",
        "--name",
        "My channel",
        "--stream-key-stdin",
    ];
    cli.run_with_input(&arguments, "abcd-efgh-ijkl-mnop").await;
    let stream = server.media_server().await.live(&key, "c1").await;

    let list = cli
        .output(&["stream", "list", "Show", "--state", "live"])
        .await;
    assert!(list.contains(&stream.id), "{list}");
    let by_project = cli.json(&["stream", "get", "--project", "Show"]).await;
    assert_eq!(by_project["stream"]["id"], *stream.id);
    let relays = cli.output(&["relay", "list", "--project", "Show"]).await;
    assert!(relays.contains("My channel"), "{relays}");
    assert!(relays.contains("IDLE"), "{relays}");

    let relay = ["--project", "Show", "--destination", "My channel"];
    let stopped = cli.json(&[&["relay", "stop"], &relay[..]].concat()).await;
    assert_eq!(
        stopped["relay"]["desiredState"],
        "RELAY_DESIRED_STATE_STOPPED"
    );
    let started = cli.json(&[&["relay", "start"], &relay[..]].concat()).await;
    assert_eq!(
        started["relay"]["desiredState"],
        "RELAY_DESIRED_STATE_STARTED"
    );

    let ended = cli
        .output(&["stream", "stop", &stream.id, "--hold", "5min"])
        .await;
    assert!(ended.contains("STOPPED_BY_OWNER"), "{ended}");
    let output = cli.run(&["stream", "get", "--project", "Show"]).await;
    failed(&output, 4, &["has no live stream"]);
}

#[tokio::test]
async fn samples_tell_how_the_media_of_a_stream_was() {
    let server = TestServer::start(Sqlite).await;
    let (cli, user) = Cli::signed_in(&server).await;
    let (_, key) = user.project().await;
    let stream = server.media_server().await.live(&key, "c1").await;
    add_samples(&server, &stream.id, &["2020-01-01T00:00:00+00:00"]).await;

    let samples = cli
        .output(&["stream", "samples", "--project", "Show"])
        .await;

    for text in ["2020-01-01", "h264 1280x720 30 fps", "every 2s", "aac"] {
        assert!(samples.contains(text), "{samples}");
    }
}

#[tokio::test]
async fn refusals_tell_why_a_publisher_cannot_go_live() {
    let server = TestServer::start(Sqlite).await;
    let (cli, user) = Cli::signed_in(&server).await;
    let (_, key) = user.project().await;
    let node = server.media_server().await;
    node.live(&key, "c1").await;
    node.begin(&key, "c2").await.unwrap_err();

    let refusals = cli.output(&["refusals", "Show"]).await;

    assert!(refusals.contains("PUBLISH_CONFLICT"), "{refusals}");
    assert!(!refusals.contains(&key), "{refusals}");
}

#[tokio::test]
async fn a_stream_is_named_by_its_id_or_its_project() {
    let cli = Cli::new("http://127.0.0.1:1");

    for arguments in [
        &["stream", "get"][..],
        &["stream", "get", "id", "--project", "Show"],
    ] {
        let output = cli.run(arguments).await;
        assert_eq!(output.exit_code, Some(2), "{output:?}");
        assert!(output.stderr.contains("--project"), "{output:?}");
    }
}

use rstest::rstest;

use super::fixture::{Cli, failed};
use crate::{
    harness::{Engine, Postgres, Sqlite, TestServer},
    project::fixtures::{create_destination, youtube_destination},
};

#[rstest]
#[tokio::test]
async fn a_project_is_created_listed_changed_and_deleted(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (cli, _) = Cli::signed_in(&server).await;

    let arguments = ["project", "create", "My show", "--reconnect-window", "90s"];
    let created = cli.json(&arguments).await;
    assert_eq!(created["project"]["reconnectWindow"], "90s");
    let id = created["project"]["id"].as_str().unwrap();

    let list = cli.output(&["project", "list"]).await;
    assert!(list.starts_with("ID "), "{list}");
    assert!(list.contains(id) && list.contains("My show"), "{list}");

    let arguments = [
        "project",
        "update",
        "My show",
        "--name",
        "Your show",
        "--on-conflict",
        "takeover",
        "--on-outage",
        "hold",
        "--disabled",
        "true",
    ];
    cli.output(&arguments).await;
    let changed = cli.json(&["project", "get", "Your show"]).await;
    assert_eq!(changed["project"]["id"], id);
    assert_eq!(changed["project"]["disabled"], true);
    let policy = &changed["project"]["publishConflictPolicy"];
    assert_eq!(policy, "PUBLISH_CONFLICT_POLICY_TAKEOVER");
    assert_eq!(changed["project"]["outagePolicy"], "OUTAGE_POLICY_HOLD");

    cli.output(&["project", "delete", "Your show"]).await;
    let list = cli.json(&["project", "list"]).await;
    assert_eq!(list, serde_json::json!({}));
}

#[tokio::test]
async fn a_project_has_its_id_the_start_of_its_id_or_its_unique_name() {
    let server = TestServer::start(Sqlite).await;
    let (cli, user) = Cli::signed_in(&server).await;
    let (first, _) = user.project().await;

    // An id is a time and random digits: the whole id but the last digit is unique.
    let start = &first.id[..first.id.len() - 1];
    for name in [&*first.id, start, "Show"] {
        let found = cli.json(&["project", "get", name]).await;
        assert_eq!(found["project"]["id"], *first.id, "{name}");
    }

    user.project().await;
    let output = cli.run(&["project", "get", "Show"]).await;
    failed(&output, 2, &["2 projects match Show"]);
}

#[tokio::test]
async fn a_stream_key_is_printed_only_on_request() {
    let server = TestServer::start(Sqlite).await;
    let (cli, _) = Cli::signed_in(&server).await;

    for output in ["table", "json"] {
        let text = cli
            .output(&["project", "create", output, "-o", output])
            .await;
        let key = cli.output(&["project", "reveal-key", output]).await;
        assert!(key.starts_with("sk_"), "{key}");
        assert!(!text.contains(key.trim()), "{text}");

        let rotate = ["project", "rotate-key", output, "-o", output];
        let silent = cli.output(&rotate).await;
        let shown = cli.output(&[&rotate[..], &["--show-key"]].concat()).await;
        let key = cli.output(&["project", "reveal-key", output]).await;
        assert!(!silent.contains("sk_"), "{silent}");
        assert!(shown.contains(key.trim()), "{shown}");
    }
}

#[rstest]
#[tokio::test]
async fn a_list_has_all_pages_up_to_its_limit(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let (cli, user) = Cli::signed_in(&server).await;
    for _ in 0..5 {
        user.project().await;
    }

    let all = cli.json(&["project", "list"]).await;
    assert_eq!(all["projects"].as_array().unwrap().len(), 5);

    let output = cli.run(&["project", "list", "--limit", "2"]).await;
    assert_eq!(output.exit_code, Some(0), "{output:?}");
    assert_eq!(output.stdout.lines().count(), 3, "{output:?}");
    assert!(output.stderr.contains("--limit"), "{output:?}");
}

#[tokio::test]
async fn the_audit_log_names_what_the_commands_did() {
    let server = TestServer::start(Sqlite).await;
    let (cli, _) = Cli::signed_in(&server).await;
    cli.output(&["project", "create", "Show"]).await;

    let audit = cli.output(&["audit"]).await;

    assert!(audit.contains("CreateProject"), "{audit}");
    assert!(audit.contains("SignIn"), "{audit}");
}

#[rstest]
#[tokio::test]
async fn the_full_view_shows_the_stream_the_destinations_and_the_relays(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (cli, user) = Cli::signed_in(&server).await;
    let (project, stream_key) = user.project().await;
    let destination = create_destination(&user, youtube_destination(&project)).await;
    let stream = server.media_server().await.live(&stream_key, "c1").await;
    user.project().await;

    let json = cli.json(&["project", "list", "--full"]).await;
    let listed = json["projects"].as_array().unwrap();
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0].get("liveStream"), None);
    assert_eq!(listed[1]["liveStream"]["id"], stream.id);
    assert_eq!(listed[1]["destinations"][0]["id"], destination.id);
    assert_eq!(listed[1]["relays"][0]["destinationId"], destination.id);
    let table = cli.output(&["project", "list", "--full"]).await;
    let row = table.lines().find(|line| line.contains(&project.id));
    let cells: Vec<_> = row.unwrap().split_whitespace().collect();
    assert_eq!(cells[1..4], ["Show", "STREAMING", "LIVE"]);
    assert_eq!(cells[5..], ["1", "0", "of", "1"]);

    let record = cli.output(&["project", "get", &project.id, "--full"]).await;
    for shown in ["Main channel", "0 of 1", &stream.id] {
        assert!(record.contains(shown), "{record}");
    }
}

use std::{process::Stdio, sync::Arc, sync::Mutex};

use rstest::rstest;
use sluice::proto::v1 as pb;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use super::{
    fixture::{Cli, failed},
    terminal::Terminal,
};
use crate::harness::{
    Client, Engine, MediaServer, Postgres, Process, Proxy, Signal, Sqlite, TestDatabase,
    TestServer, User, eventually, send_signal,
};
use crate::stream::fixture::seconds;

/// `sluice watch` without a terminal.
struct LineWatch {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl LineWatch {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let writer = Arc::clone(&lines);
        tokio::spawn(async move {
            while let Ok(Some(line)) = output.next_line().await {
                writer.lock().unwrap().push(line);
            }
        });
        Self { child, lines }
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Waits for a line with all of these texts.
    async fn prints(&self, texts: &[&str]) {
        eventually("the line is printed", async || {
            let lines = self.lines();
            let mut lines = lines.iter();
            lines
                .any(|line| texts.iter().all(|text| line.contains(text)))
                .then_some(())
        })
        .await;
    }

    /// Ends the watch with a signal.
    async fn end(mut self) -> Option<i32> {
        send_signal(self.child.id().unwrap(), Signal::TERM);
        self.child.wait().await.unwrap().code()
    }
}

async fn rename(user: &User, project_id: &str, name: &str) {
    let request = pb::UpdateProjectRequest {
        project_id: project_id.to_owned(),
        display_name: Some(name.to_owned()),
        ..Default::default()
    };
    user.client
        .project
        .clone()
        .update_project(request)
        .await
        .unwrap();
}

#[rstest]
#[tokio::test]
async fn without_a_terminal_each_change_is_a_line(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let (cli, user) = Cli::signed_in(&server).await;
    let (_, key) = user.project().await;
    let node = server.media_server().await;
    let watch = LineWatch::start(cli.command(&["watch", "Show"]));
    watch.prints(&["synced"]).await;

    let stream = node.live(&key, "c1").await;
    watch.prints(&["stream", &stream.id, "LIVE"]).await;
    node.begin(&key, "c2").await.unwrap_err();
    watch.prints(&["refused", "PUBLISH_CONFLICT"]).await;
    node.end(&stream, "c1").await;
    watch.prints(&["ENDED (PUBLISHER_ENDED)"]).await;

    let lines = watch.lines();
    assert!(
        !lines.iter().any(|line| line.contains('\u{1b}')),
        "{lines:?}"
    );
    let refusals = lines.iter().filter(|line| line.contains("refused"));
    assert_eq!(refusals.count(), 1, "{lines:?}");
    assert_eq!(watch.end().await, Some(0));
}

#[rstest]
#[tokio::test]
async fn on_a_terminal_the_view_is_redrawn_in_place(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let (cli, user) = Cli::signed_in(&server).await;
    let (project, key) = user.project().await;
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
    let node = server.media_server().await;
    let mut terminal = Terminal::run(&cli, &["watch", "Show"], 24, 140);
    terminal.shows("no stream").await;
    terminal.shows("My channel").await;
    assert_eq!(terminal.modes(), (true, true));

    let stream = node.live(&key, "c1").await;
    terminal.shows(&format!("stream {}  LIVE", stream.id)).await;
    terminal.shows("IDLE").await;
    node.begin(&key, "c2").await.unwrap_err();
    terminal.shows("PUBLISH_CONFLICT").await;
    rename(&user, &project.id, "Late show").await;
    terminal.shows("Late show").await;
    let text = terminal.text();
    assert_eq!(text.matches(&project.id).count(), 1, "{text}");
    assert_eq!(text.matches("stream ").count(), 1, "{text}");
    assert!(!text.contains("no stream"), "{text}");

    // What does not fit is cut off, and nothing wraps.
    terminal.resize(3, 40);
    eventually("the view fits", async || {
        let text = terminal.text();
        let lines: Vec<_> = text.lines().filter(|line| !line.is_empty()).collect();
        let is_cut = lines.len() == 2 && lines[0].ends_with('…') && lines[1].starts_with("stream");
        is_cut.then_some(())
    })
    .await;

    // Ctrl-C leaves the last state on the normal screen.
    terminal.resize(24, 140);
    terminal.type_keys("\u{3}").await;
    let status = terminal.wait().await;
    assert!(status.success(), "{status:?}");
    assert_eq!(terminal.modes(), (false, false));
    let text = terminal.text();
    assert!(text.contains("Late show"), "{text}");
    assert!(text.contains("LIVE"), "{text}");
}

/// A project that waits for its publisher for half an hour; returns its stream key.
async fn patient_project(user: &User) -> String {
    let request = pb::CreateProjectRequest {
        display_name: "Show".to_owned(),
        reconnect_window: Some(seconds(1800)),
        ..Default::default()
    };
    user.project_with(request).await.1
}

#[rstest]
#[tokio::test]
async fn on_a_terminal_statistics_and_issues_come_and_go(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start_with(engine, &["--watch-heartbeat=1s"]).await;
    let (cli, user) = Cli::signed_in(&server).await;
    let key = patient_project(&user).await;
    let node = server.media_server().await;
    let stream = node.live(&key, "c1").await;
    let mut terminal = Terminal::run(&cli, &["watch", "Show"], 24, 140);
    terminal.shows("  LIVE  ").await;

    let request = pb::HeartbeatPublishRequest {
        stream_id: stream.id.clone(),
        epoch: stream.epoch,
        publisher: Some(MediaServer::connection("c1")),
        stats: Some(pb::StreamStats {
            bytes_received: 1,
            video_codec: "h264".to_owned(),
            width: 1920,
            height: 1080,
            ..Default::default()
        }),
    };
    let mut api = node.client.stream.clone();
    api.heartbeat_publish(request).await.unwrap();
    // No change of the project tells of it.
    terminal.shows("1920x1080").await;

    node.end(&stream, "c1").await;
    terminal.shows("WARNING PUBLISHER_LOST since ").await;
    node.live(&key, "c2").await;
    eventually("the issue is gone", async || {
        let text = terminal.text();
        (!text.contains("PUBLISHER_LOST") && text.contains("  LIVE  ")).then_some(())
    })
    .await;
    terminal.type_keys("\u{3}").await;
    assert!(terminal.wait().await.success());
}

#[rstest]
#[tokio::test]
async fn issues_are_lines_when_they_begin_and_when_there_are_none_any_more(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let (cli, user) = Cli::signed_in(&server).await;
    let key = patient_project(&user).await;
    let node = server.media_server().await;
    let stream = node.live(&key, "c1").await;
    let watch = LineWatch::start(cli.command(&["watch", "Show"]));
    watch.prints(&["synced"]).await;

    node.end(&stream, "c1").await;
    watch.prints(&["issue WARNING PUBLISHER_LOST since"]).await;
    node.live(&key, "c2").await;
    watch.prints(&["no issues"]).await;

    assert_eq!(watch.end().await, Some(0));
}

#[rstest]
#[tokio::test]
async fn each_issue_is_one_line_and_its_end_is_told_also_if_the_watch_was_interrupted(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let key = patient_project(&user).await;
    let node = server.media_server().await;
    let mut proxy = Proxy::to(server.address).await;
    let cli = Cli::new(&format!("http://{}", proxy.address));
    cli.login(&user).await;
    let stream = node.live(&key, "c1").await;
    let watch = LineWatch::start(cli.command(&["watch", "Show"]));
    watch.prints(&["synced"]).await;
    let count = |text: &str| {
        let lines = watch.lines();
        lines.iter().filter(|line| line.contains(text)).count()
    };
    let resumed = async |proxy: &mut Proxy, markers: usize| {
        proxy.reconnect_to(server.address).await;
        eventually("the watch goes on", async || {
            (count("synced") == markers).then_some(())
        })
        .await;
    };

    node.end(&stream, "c1").await;
    watch.prints(&["issue WARNING PUBLISHER_LOST since"]).await;
    proxy.disconnect().await;
    resumed(&mut proxy, 2).await;
    assert_eq!(count("PUBLISHER_LOST"), 1, "{:?}", watch.lines());

    // While the watch is interrupted again, the publisher comes back.
    proxy.disconnect().await;
    watch.prints(&["interrupted"]).await;
    node.live(&key, "c2").await;
    resumed(&mut proxy, 3).await;
    assert_eq!(count("PUBLISHER_LOST"), 1, "{:?}", watch.lines());
    assert_eq!(count("no issues"), 1, "{:?}", watch.lines());
    assert_eq!(watch.end().await, Some(0));
}

#[rstest]
#[tokio::test]
async fn each_refusal_is_one_line_also_if_the_watch_was_interrupted(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (_, key) = user.project().await;
    let node = server.media_server().await;
    node.live(&key, "c1").await;
    let mut proxy = Proxy::to(server.address).await;
    let cli = Cli::new(&format!("http://{}", proxy.address));
    cli.login(&user).await;

    // One before the watch, one during it, and one while it is interrupted.
    node.begin(&key, "c2").await.unwrap_err();
    let watch = LineWatch::start(cli.command(&["watch", "Show"]));
    let refusals = async |expected: usize| {
        eventually("the refusals are printed", async || {
            let lines = watch.lines();
            let refused = lines.iter().filter(|line| line.contains("refused"));
            (refused.count() == expected).then_some(())
        })
        .await;
    };
    refusals(1).await;
    node.begin(&key, "c3").await.unwrap_err();
    refusals(2).await;
    proxy.disconnect().await;
    watch.prints(&["interrupted"]).await;
    node.begin(&key, "c4").await.unwrap_err();
    proxy.reconnect_to(server.address).await;
    refusals(3).await;

    // A later change comes after all that was sent again.
    let project = cli.json(&["project", "list"]).await;
    let id = project["projects"][0]["id"].as_str().unwrap();
    rename(&user, id, "Late show").await;
    watch.prints(&["Late show"]).await;
    refusals(3).await;
    assert_eq!(watch.end().await, Some(0));
}

#[rstest]
#[tokio::test]
async fn a_watch_resumes_at_another_server_without_a_gap(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let database = TestDatabase::create(engine).await;
    let mut first = Process::serve(&database, &[]);
    first.channel().await;
    let mut proxy = Proxy::to(first.address().await.parse().unwrap()).await;
    let cli = Cli::new(&format!("http://{}", proxy.address));
    let arguments = [
        "signup",
        "--email",
        "ada@example.com",
        "--display-name",
        "Ada",
        "--password-stdin",
    ];
    let password = "correct horse battery staple";
    let output = cli.run_with_input(&arguments, password).await;
    assert_eq!(output.exit_code, Some(0), "{output:?}");
    let project = cli.json(&["project", "create", "name 0"]).await;
    let project_id = project["project"]["id"].as_str().unwrap();
    let watch = LineWatch::start(cli.command(&["watch", project_id]));
    watch.prints(&["synced"]).await;
    cli.output(&["project", "update", project_id, "--name", "name 1"])
        .await;
    watch.prints(&["name 1"]).await;

    // While the first server is gone, a change happens that the watch must not miss.
    proxy.disconnect().await;
    first.signal(Signal::KILL);
    first.wait_for_exit().await;
    watch.prints(&["interrupted"]).await;
    let second = Process::serve(&database, &[]);
    let channel = second.channel().await;
    let token = cli.profile_field("access_token");
    let mut api = Client::with_token(&channel, &token).project;
    for name in ["name 2", "name 3"] {
        let request = pb::UpdateProjectRequest {
            project_id: project_id.to_owned(),
            display_name: Some(name.to_owned()),
            ..Default::default()
        };
        api.update_project(request).await.unwrap();
    }
    let address = second.address().await.parse().unwrap();
    proxy.reconnect_to(address).await;
    watch.prints(&["name 3"]).await;

    let lines = watch.lines();
    let named = lines.iter().filter(|line| line.contains("\"name "));
    let names: Vec<_> = named
        .map(|line| line.split('"').nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(names, ["name 0", "name 1", "name 2", "name 3"]);
    assert_eq!(watch.end().await, Some(0));
}

#[tokio::test]
async fn a_watch_outlives_its_access_token() {
    let server = TestServer::start_with(Sqlite, &["--access-token-lifetime=2s"]).await;
    let (cli, user) = Cli::signed_in(&server).await;
    let (project, _) = user.project().await;
    let watch = LineWatch::start(cli.command(&["watch", "Show"]));
    watch.prints(&["synced"]).await;

    // Each resumption is followed by this marker.
    eventually("the watch was resumed twice", async || {
        let lines = watch.lines();
        let markers = lines.iter().filter(|line| line.contains("synced"));
        (markers.count() >= 3).then_some(())
    })
    .await;

    let lines = watch.lines();
    let snapshots = lines
        .iter()
        .filter(|line| line.contains("project \"Show\""));
    assert_eq!(snapshots.count(), 1, "{lines:?}");
    assert!(
        !lines.iter().any(|line| line.contains("interrupted")),
        "{lines:?}"
    );
    assert!(lines[0].contains(&format!("revision {}", project.revision)));
    assert_eq!(watch.end().await, Some(0));
}

#[tokio::test]
async fn json_has_one_message_a_line() {
    let server = TestServer::start(Sqlite).await;
    let (cli, user) = Cli::signed_in(&server).await;
    let (project, _) = user.project().await;

    let output = cli.output(&["watch", "Show", "--once", "-o", "json"]).await;

    let messages: Vec<serde_json::Value> = output
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(messages[0]["snapshot"]["project"]["id"], *project.id);
    assert!(messages.last().unwrap()["synced"].is_object(), "{output}");
}

#[tokio::test]
async fn a_watch_ends_when_its_project_is_deleted() {
    let server = TestServer::start(Sqlite).await;
    let (cli, user) = Cli::signed_in(&server).await;
    let (project, _) = user.project().await;
    let mut watch = LineWatch::start(cli.command(&["watch", "Show"]));
    watch.prints(&["synced"]).await;

    cli.output(&["project", "delete", &project.id]).await;

    let status = watch.child.wait().await.unwrap();
    assert_eq!(status.code(), Some(0));
    let unknown = cli.run(&["watch", &project.id, "--once"]).await;
    failed(&unknown, 4, &["no such project"]);
}

//! The views of GetProject and ListProjects.

use prost::Message;
use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::{Code, Request};

use super::fixtures::api_key_client;
use crate::{
    harness::{Client, Engine, MediaServer, Postgres, Process, Sqlite, User, eventually, refused},
    relay::fixture::{Fixture, broadcasting_report, destination_request, retryable_failure},
};

const FULL: i32 = pb::ProjectView::Full as i32;

async fn get(client: &Client, project_id: &str, view: i32) -> pb::Project {
    let request = pb::GetProjectRequest {
        project_id: project_id.to_owned(),
        view,
    };
    let answer = client.project.clone().get_project(request).await;
    answer.unwrap().into_inner().project.unwrap()
}

async fn list(client: &Client, request: pb::ListProjectsRequest) -> pb::ListProjectsResponse {
    let answer = client.project.clone().list_projects(request).await;
    answer.unwrap().into_inner()
}

fn full_list() -> pb::ListProjectsRequest {
    pb::ListProjectsRequest {
        view: FULL,
        ..Default::default()
    }
}

/// What the separate RPCs return for a project.
async fn assembled(client: &Client, project_id: &str) -> pb::Project {
    let mut project = get(client, project_id, 0).await;
    let request = pb::ListDestinationsRequest {
        project_id: project_id.to_owned(),
        ..Default::default()
    };
    let answer = client.project.clone().list_destinations(request).await;
    project.destinations = answer.unwrap().into_inner().destinations;
    if project.live_stream_id.is_empty() {
        return project;
    }
    let request = pb::GetStreamRequest {
        stream_id: project.live_stream_id.clone(),
    };
    let answer = client.stream.clone().get_stream(request).await;
    let stream = answer.unwrap().into_inner().stream.unwrap();
    let stream = pb::ProjectStream::decode(&*stream.encode_to_vec());
    project.live_stream = Some(stream.unwrap());
    let request = pb::ListRelaysRequest {
        stream_id: project.live_stream_id.clone(),
        ..Default::default()
    };
    let answer = client.stream.clone().list_relays(request).await;
    project.relays = answer.unwrap().into_inner().relays;
    project
}

/// A fixture whose project has a live stream with statistics, three relays in different states,
/// a disabled destination, one with a passphrase and one that was deleted.
async fn busy_project(engine: Engine) -> (Fixture, pb::Stream) {
    let flags = ["--relay-lease=1h", "--relay-stall-timeout=1h"];
    let fixture = Fixture::start_with(engine, &flags, 60).await;
    let idle = pb::CreateDestinationRequest {
        display_name: "idle, \"quoted\" \u{1f3a5}".to_owned(),
        ..destination_request(&fixture.project, "idle")
    };
    fixture.create_destination(idle).await;
    fixture.destination("failing").await;
    fixture.destination("broadcasting").await;
    let gone = fixture.destination("gone").await;
    fixture.delete_destination(&gone).await;
    let template = pb::CreateDestinationRequest {
        project_id: fixture.project.id.clone(),
        platform: pb::Platform::Custom.into(),
        display_name: "encrypted".to_owned(),
        url: "srt://live.example.com:9000?latency=20".to_owned(),
        srt_passphrase: "correct horse battery".to_owned(),
        srt_pbkeylen: 32,
        delay: Some(prost_types::Duration {
            seconds: 1,
            nanos: 1_000_000,
        }),
        max_video_bitrate_kbps: 2_500,
        max_height: 720,
        allows_second_connection: true,
        disabled: true,
        ..Default::default()
    };
    fixture.create_destination(template).await;

    let stream = fixture.live("c1").await;
    let mut worker = fixture.worker_with("w1", "", 2).await;
    let assigned = worker.next_assignments(2).await;
    worker
        .expect_accepted(broadcasting_report(&assigned[0], 4096))
        .await;
    worker.report(vec![retryable_failure(&assigned[1])]).await;
    let heartbeat = pb::HeartbeatPublishRequest {
        stream_id: stream.id.clone(),
        epoch: stream.epoch,
        publisher: Some(MediaServer::connection("c1")),
        stats: Some(pb::StreamStats {
            bytes_received: 1 << 53,
            bitrate_bps: 6_000_000,
            width: 1920,
            height: 1080,
            fps: 30_000.0 / 1001.0,
            video_codec: "h264".to_owned(),
            audio_codec: "aac".to_owned(),
            ..Default::default()
        }),
    };
    let mut node = fixture.node.client.stream.clone();
    node.heartbeat_publish(heartbeat).await.unwrap();
    (fixture, stream)
}

#[rstest]
#[tokio::test]
async fn the_full_view_of_a_project_is_what_the_separate_calls_return(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let (fixture, stream) = busy_project(engine).await;
    let client = &fixture.owner.client;
    let (idle, _) = fixture.owner.project().await;

    for id in [&fixture.project.id, &idle.id] {
        // The worker may give its relays back meanwhile.
        eventually("nothing changes between the calls", async || {
            let before = get(client, id, 0).await.revision;
            let (full, expected) = (get(client, id, FULL).await, assembled(client, id).await);
            let listed = list(client, full_list()).await.projects;
            (get(client, id, 0).await.revision == before).then(|| {
                assert_eq!(full, expected);
                let listed = listed.iter().find(|listed| listed.id == *id);
                assert_eq!(listed, Some(&expected));
            })
        })
        .await;
    }
    let full = get(client, &fixture.project.id, FULL).await;
    assert_eq!(full.destinations.len(), 4);
    assert_eq!(full.relays.len(), 3);
    let live = full.live_stream.unwrap();
    assert_eq!(live.id, stream.id);
    assert_eq!(live.state(), pb::ProjectStreamState::Live);
    assert_eq!(live.stats.unwrap().fps, 30_000.0 / 1001.0);
    assert_eq!(get(client, &idle.id, FULL).await, idle);
}

#[rstest]
#[tokio::test]
async fn a_stream_that_waits_for_its_publisher_is_in_the_full_view_and_an_ended_one_is_not(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::with_window(engine).await;
    let client = &fixture.owner.client;
    let stream = fixture.live("c1").await;

    fixture.node.end(&stream, "c1").await;
    let full = get(client, &fixture.project.id, FULL).await;
    let state = full.live_stream.unwrap().state();
    assert_eq!(state, pb::ProjectStreamState::Reconnecting);

    fixture.stop_stream(&stream).await;
    let full = get(client, &fixture.project.id, FULL).await;
    assert_eq!((full.live_stream, full.relays), (None, Vec::new()));
}

#[rstest]
#[tokio::test]
async fn the_basic_view_is_the_default_and_has_the_fields_of_the_project_only(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    fixture.destination("a").await;
    fixture.live("c1").await;
    let client = &fixture.owner.client;

    for view in [0, pb::ProjectView::Basic as i32] {
        let project = get(client, &fixture.project.id, view).await;
        let request = pb::ListProjectsRequest {
            view,
            ..Default::default()
        };
        assert_eq!(
            list(client, request).await.projects,
            std::slice::from_ref(&project)
        );
        assert_ne!(project.live_stream_id, "");
        let related = (project.destinations, project.live_stream, project.relays);
        assert_eq!(related, (Vec::new(), None, Vec::new()));
    }
}

#[tokio::test]
async fn an_unknown_view_is_refused() {
    let fixture = Fixture::start(Sqlite).await;
    let mut projects = fixture.owner.client.project.clone();

    for view in [-1, 3] {
        let request = pb::GetProjectRequest {
            project_id: fixture.project.id.clone(),
            view,
        };
        let refusal = refused(projects.get_project(request).await);
        assert_eq!(refusal.fields(), ["view"]);
        let request = pb::ListProjectsRequest {
            view,
            ..Default::default()
        };
        assert_eq!(
            refused(projects.list_projects(request).await).fields(),
            ["view"]
        );
    }
}

#[rstest]
#[tokio::test]
async fn the_full_view_requires_the_scopes_of_all_that_it_contains(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let (server, owner) = (&fixture.server, &fixture.owner);
    fixture.destination("a").await;
    fixture.live("c1").await;
    let id = &fixture.project.id;

    for (scopes, missing) in [
        (&["projects:read", "projects:write"][..], "streams:read"),
        (&["streams:read", "streams:write"], "projects:read"),
    ] {
        let mut program = api_key_client(server, owner, scopes, Vec::new()).await;
        let request = pb::GetProjectRequest {
            project_id: id.clone(),
            view: FULL,
        };
        let got = refused(program.project.get_project(request).await);
        let listed = refused(program.project.list_projects(full_list()).await);
        for refusal in [got, listed] {
            let class = (Code::PermissionDenied, "SCOPE_MISSING");
            assert_eq!(refusal.class(), class);
            let info = refusal.details.error_info().unwrap();
            assert_eq!(info.metadata["scope"], missing);
        }
    }

    let both = ["projects:read", "streams:read"];
    let program = api_key_client(server, owner, &both, Vec::new()).await;
    assert_eq!(get(&program, id, FULL).await.relays.len(), 1);
}

#[rstest]
#[tokio::test]
async fn the_full_view_shows_a_caller_only_its_own_projects(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    fixture.destination("a").await;
    fixture.live("c1").await;
    let (own, _) = fixture.owner.project().await;
    let stranger = fixture.server.user().await;
    let scopes = ["projects:read", "streams:read"];
    let restricted = vec![own.id.clone()];
    let restricted = api_key_client(&fixture.server, &fixture.owner, &scopes, restricted).await;

    for (client, visible) in [(&stranger.client, vec![]), (&restricted, vec![&own.id])] {
        let request = pb::GetProjectRequest {
            project_id: fixture.project.id.clone(),
            view: FULL,
        };
        let refusal = refused(client.project.clone().get_project(request).await);
        assert_eq!(refusal.class(), (Code::NotFound, "RESOURCE_NOT_FOUND"));
        let listed = list(client, full_list()).await.projects;
        let listed: Vec<_> = listed.iter().map(|project| &project.id).collect();
        assert_eq!(listed, visible);
    }
}

/// Creates projects; returns the ids of all that the user has, newest first.
async fn projects(user: &User, count: usize) -> Vec<String> {
    for _ in 0..count {
        user.project().await;
    }
    let listed = list(&user.client, pb::ListProjectsRequest::default()).await;
    listed.projects.into_iter().map(|it| it.id).collect()
}

#[rstest]
#[tokio::test]
async fn a_page_of_full_views_has_10_projects_by_default_and_at_most_15(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let client = &fixture.owner.client;
    let all = projects(&fixture.owner, 16).await;

    for (asked, given) in [(0, 10), (1, 1), (15, 15), (16, 15), (i32::MAX, 15)] {
        let request = pb::ListProjectsRequest {
            page_size: asked,
            ..full_list()
        };
        let first = list(client, request.clone()).await;
        let rest = pb::ListProjectsRequest {
            page_size: 15,
            page_token: first.next_page_token,
            ..request
        };
        let rest = list(client, rest).await.projects;
        let ids: Vec<_> = first.projects.into_iter().map(|it| it.id).collect();
        assert_eq!(ids, all[..given], "page_size {asked}");
        let ids: Vec<_> = rest.into_iter().map(|it| it.id).collect();
        let end = all.len().min(given + 15);
        assert_eq!(ids, all[given..end], "page_size {asked}");
    }
}

#[tokio::test]
async fn a_page_token_is_valid_for_its_view_only() {
    let fixture = Fixture::start(Sqlite).await;
    let mut client = fixture.owner.client.clone();
    projects(&fixture.owner, 1).await;
    let basic = pb::ProjectView::Basic as i32;

    for (view, other) in [(basic, FULL), (FULL, basic)] {
        let request = pb::ListProjectsRequest {
            page_size: 1,
            view,
            ..Default::default()
        };
        let page_token = list(&client, request.clone()).await.next_page_token;
        let request = pb::ListProjectsRequest {
            view: other,
            page_token,
            ..request
        };
        let refusal = refused(client.project.list_projects(request).await);
        assert_eq!(refusal.fields(), ["page_token"]);
    }
}

#[rstest]
#[tokio::test]
async fn the_full_view_takes_one_statement(#[values(Sqlite, Postgres)] engine: Engine) {
    let (fixture, _) = busy_project(engine).await;
    let (id, token) = (fixture.project.id, fixture.owner.tokens.access_token);
    let database = fixture.server.stop().await;
    let settings = [
        ("SLUICE_LOG", "info,sluice::calls=debug,sqlx=debug"),
        ("SLUICE_LOG_FORMAT", "json"),
    ];
    let program = Process::serve(&database, &settings);
    let client = Client::with_token(&program.channel().await, &token);

    let get = pb::GetProjectRequest {
        project_id: id,
        view: FULL,
    };
    let mut projects = client.project.clone();
    projects.get_project(named(get, "get-full")).await.unwrap();
    let list = named(full_list(), "list-full");
    projects.list_projects(list).await.unwrap();

    for name in ["get-full", "list-full"] {
        let statements = eventually("the call is logged", async || {
            let mut of_call = program.log();
            of_call.retain(|line| line.contains(name));
            let is_over = of_call.iter().any(|line| line.contains("\"call\""));
            of_call.retain(|line| line.contains("sqlx::query"));
            is_over.then_some(of_call)
        })
        .await;
        assert_eq!(statements.len(), 1, "{statements:?}");
    }
}

/// A request with a request id, which is in the log.
fn named<T>(message: T, name: &str) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("x-request-id", name.parse().unwrap());
    request
}

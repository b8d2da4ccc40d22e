use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::scene::{Scene, seconds};
use crate::harness::{Client, Engine, MediaServer, Postgres, Refusal, Sqlite, refused};

const UNKNOWN: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// The refusals that a caller gets of what owners call.
async fn owner_refusals(client: &Client, project_id: &str, stream_id: &str) -> Vec<Refusal> {
    let mut stream = client.stream.clone();
    let get = pb::GetStreamRequest {
        stream_id: stream_id.to_owned(),
    };
    let list = pb::ListStreamsRequest {
        project_id: project_id.to_owned(),
        ..Default::default()
    };
    let stop = pb::StopStreamRequest {
        stream_id: stream_id.to_owned(),
        hold: Some(seconds(60)),
    };
    vec![
        refused(stream.get_stream(get).await),
        refused(stream.list_streams(list).await),
        refused(stream.stop_stream(stop).await),
    ]
}

/// The refusals that a caller gets of what media servers call.
async fn node_refusals(client: &Client, stream_key: &str, stream_id: &str) -> Vec<Refusal> {
    let mut stream = client.stream.clone();
    let publisher = Some(MediaServer::connection("a"));
    let begin = pb::BeginPublishRequest {
        stream_key: stream_key.to_owned(),
        publisher: publisher.clone(),
        media_flowing: false,
        play_url: String::new(),
    };
    let heartbeat = pb::HeartbeatPublishRequest {
        stream_id: stream_id.to_owned(),
        epoch: 1,
        publisher: publisher.clone(),
        stats: None,
    };
    let end = pb::EndPublishRequest {
        stream_id: stream_id.to_owned(),
        epoch: 1,
        publisher,
    };
    vec![
        refused(stream.begin_publish(begin).await),
        refused(stream.heartbeat_publish(heartbeat).await),
        refused(stream.end_publish(end).await),
    ]
}

fn missing_scopes(refusals: &[Refusal]) -> Vec<&str> {
    let scope = |refusal: &'_ Refusal| {
        assert_eq!(refusal.class(), (Code::PermissionDenied, "SCOPE_MISSING"));
    };
    refusals.iter().for_each(scope);
    refusals
        .iter()
        .map(|refusal| &*refusal.details.error_info().unwrap().metadata["scope"])
        .collect()
}

/// What is not yours looks to you like what does not exist.
async fn sees_nothing(client: &Client, project_id: &str, stream_id: &str) {
    let foreign = owner_refusals(client, project_id, stream_id).await;
    let unknown = owner_refusals(client, UNKNOWN, UNKNOWN).await;
    for (foreign, unknown) in foreign.iter().zip(&unknown) {
        assert_eq!(foreign.class(), (Code::NotFound, "RESOURCE_NOT_FOUND"));
        let foreign = format!("{foreign:?}")
            .replace(stream_id, UNKNOWN)
            .replace(project_id, UNKNOWN);
        assert_eq!(foreign, format!("{unknown:?}"));
    }
}

impl Scene {
    /// A program of the owner, with a key of these scopes for these projects.
    async fn program(&self, scopes: &[&str], project_ids: &[&str]) -> Client {
        let request = pb::CreateApiKeyRequest {
            display_name: "program".to_owned(),
            scopes: scopes.iter().map(ToString::to_string).collect(),
            project_ids: project_ids.iter().map(ToString::to_string).collect(),
            expire_time: None,
        };
        let mut auth = self.owner.client.auth.clone();
        let key = auth.create_api_key(request).await.unwrap().into_inner();
        let request = pb::ExchangeApiKeyRequest { secret: key.secret };
        let answer = auth.exchange_api_key(request).await.unwrap().into_inner();
        Client::with_token(&self.server.channel, &answer.access_token)
    }
}

/// Predecessor's defect G15: another user's row answered 403, an unknown one 404.
#[rstest]
#[tokio::test]
async fn a_strangers_stream_is_an_unknown_stream(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(false, true)] ended: bool,
) {
    let scene = Scene::start(engine).await;
    let mut stream = scene.node.live(&scene.key, "a").await;
    if ended {
        stream = scene.node.end(&stream, "a").await;
    }
    let before = scene.project().await;
    let stranger = scene.server.user().await.client;

    sees_nothing(&stranger, &scene.project_id, &stream.id).await;

    assert_eq!(scene.owner.stream(&stream.id).await, stream);
    assert_eq!(scene.project().await, before);
    if ended {
        // Nor has the stranger's `hold` held anybody off.
        scene.begun("b").await;
    }
}

#[rstest]
#[tokio::test]
async fn a_stream_of_a_deleted_project_is_an_unknown_stream(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let stream = scene.node.live(&scene.key, "a").await;
    let request = pb::DeleteProjectRequest {
        project_id: scene.project_id.clone(),
        force: true,
    };
    let mut client = scene.owner.client.project.clone();
    client.delete_project(request).await.unwrap();

    sees_nothing(&scene.owner.client, &scene.project_id, &stream.id).await;
}

#[rstest]
#[tokio::test]
async fn a_program_for_another_project_sees_an_unknown_stream(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let stream = scene.node.live(&scene.key, "a").await;
    let (other, _) = scene.owner.project().await;
    let scopes = ["streams:read", "streams:write"];

    let restricted = scene.program(&scopes, &[&other.id]).await;
    sees_nothing(&restricted, &scene.project_id, &stream.id).await;
    assert_eq!(scene.owner.stream(&stream.id).await, stream);

    let allowed = scene.program(&scopes, &[&scene.project_id]).await;
    let request = pb::StopStreamRequest {
        stream_id: stream.id,
        hold: None,
    };
    let answer = allowed.stream.clone().stop_stream(request).await;
    let stopped = answer.unwrap().into_inner().stream.unwrap();
    assert_eq!(stopped.end_reason(), pb::EndReason::StoppedByOwner);
}

/// Predecessor's defect G1: anybody could begin and end the stream whose key he knew.
#[rstest]
#[tokio::test]
async fn a_user_is_no_media_server(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let stream = scene.node.live(&scene.key, "a").await;
    let all = [
        "projects:read",
        "projects:write",
        "streams:read",
        "streams:write",
    ];
    let program = scene.program(&all, &[]).await;

    for caller in [&scene.owner.client, &program] {
        let refusals = node_refusals(caller, &scene.key, &stream.id).await;
        assert_eq!(missing_scopes(&refusals), ["streams:publish"; 3]);
    }

    assert_eq!(scene.owner.stream(&stream.id).await, stream);
}

#[rstest]
#[tokio::test]
async fn a_media_server_is_no_owner(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let stream = scene.node.live(&scene.key, "a").await;

    let refusals = owner_refusals(&scene.node.client, &scene.project_id, &stream.id).await;

    assert_eq!(
        missing_scopes(&refusals),
        ["streams:read", "streams:read", "streams:write"]
    );
    assert_eq!(scene.owner.stream(&stream.id).await, stream);
}

#[rstest]
#[tokio::test]
async fn a_program_that_may_read_may_not_stop(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let stream = scene.node.live(&scene.key, "a").await;
    let reader = scene.program(&["streams:read"], &[]).await;

    let get = pb::GetStreamRequest {
        stream_id: stream.id.clone(),
    };
    let answer = reader.stream.clone().get_stream(get).await.unwrap();
    assert_eq!(answer.into_inner().stream, Some(stream.clone()));
    let stop = pb::StopStreamRequest {
        stream_id: stream.id.clone(),
        hold: None,
    };
    let refusal = refused(reader.stream.clone().stop_stream(stop).await);

    assert_eq!(missing_scopes(&[refusal]), ["streams:write"]);
    assert_eq!(scene.owner.stream(&stream.id).await, stream);
}

/// Predecessor's defect G1: hooks were unauthenticated.
#[rstest]
#[tokio::test]
async fn every_call_needs_a_token(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let stream = scene.node.live(&scene.key, "a").await;
    let nobody = scene.server.anonymous();

    let mut refusals = node_refusals(&nobody, &scene.key, &stream.id).await;
    refusals.extend(owner_refusals(&nobody, &scene.project_id, &stream.id).await);

    for refusal in refusals {
        let missing = (Code::Unauthenticated, "ACCESS_TOKEN_MISSING");
        assert_eq!(refusal.class(), missing);
    }
    assert_eq!(scene.owner.stream(&stream.id).await, stream);
}

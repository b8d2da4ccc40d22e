use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::fixture::{Fixture, seconds};
use crate::harness::{Client, Engine, MediaServer, Postgres, Refusal, Sqlite, refused};

const UNKNOWN: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// The refusals that a caller gets from the RPCs of owners.
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
        ..Default::default()
    };
    vec![
        refused(stream.get_stream(get).await),
        refused(stream.list_streams(list).await),
        refused(stream.stop_stream(stop).await),
    ]
}

/// The refusals that a caller gets from the RPCs of media servers.
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

/// Checks that a project and its stream look unknown to a caller.
async fn assert_not_found(client: &Client, project_id: &str, stream_id: &str) {
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

/// Predecessor's defect G15: another user's row answered 403, an unknown one 404.
#[rstest]
#[tokio::test]
async fn a_stream_of_another_user_looks_unknown(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(false, true)] ended: bool,
) {
    let fixture = Fixture::start(engine).await;
    let mut stream = fixture.node.live(&fixture.key, "a").await;
    if ended {
        stream = fixture.node.end(&stream, "a").await;
    }
    let before = fixture.project().await;
    let stranger = fixture.server.user().await.client;

    assert_not_found(&stranger, &fixture.project_id, &stream.id).await;

    assert_eq!(fixture.owner.stream(&stream.id).await, stream);
    assert_eq!(fixture.project().await, before);
    if ended {
        // Nor did the `hold` of the other user take effect.
        fixture.begin_stream("b").await;
    }
}

#[rstest]
#[tokio::test]
async fn a_stream_of_a_deleted_project_is_not_found(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let stream = fixture.node.live(&fixture.key, "a").await;
    fixture.delete().await;

    assert_not_found(&fixture.owner.client, &fixture.project_id, &stream.id).await;
}

#[rstest]
#[tokio::test]
async fn an_api_key_for_another_project_does_not_find_the_stream(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let stream = fixture.node.live(&fixture.key, "a").await;
    let (other, _) = fixture.owner.project().await;
    let scopes = ["streams:read", "streams:write"];

    let restricted = fixture.api_key_client(&scopes, &[&other.id]).await;
    assert_not_found(&restricted, &fixture.project_id, &stream.id).await;
    assert_eq!(fixture.owner.stream(&stream.id).await, stream);

    let allowed = fixture
        .api_key_client(&scopes, &[&fixture.project_id])
        .await;
    let request = pb::StopStreamRequest {
        stream_id: stream.id,
        hold: None,
        ..Default::default()
    };
    let answer = allowed.stream.clone().stop_stream(request).await;
    let stopped = answer.unwrap().into_inner().stream.unwrap();
    assert_eq!(stopped.end_reason(), pb::EndReason::StoppedByOwner);
}

/// Predecessor's defect G1: everyone who knew a key could begin and end its stream.
#[tokio::test]
async fn users_cannot_call_media_server_rpcs() {
    let fixture = Fixture::start(Sqlite).await;
    let stream = fixture.node.live(&fixture.key, "a").await;
    let all = [
        "projects:read",
        "projects:write",
        "streams:read",
        "streams:write",
    ];
    let api_key_client = fixture.api_key_client(&all, &[]).await;

    for caller in [&fixture.owner.client, &api_key_client] {
        let refusals = node_refusals(caller, &fixture.key, &stream.id).await;
        assert_eq!(missing_scopes(&refusals), ["streams:publish"; 3]);
    }

    assert_eq!(fixture.owner.stream(&stream.id).await, stream);
}

#[tokio::test]
async fn media_servers_cannot_call_owner_rpcs() {
    let fixture = Fixture::start(Sqlite).await;
    let stream = fixture.node.live(&fixture.key, "a").await;

    let refusals = owner_refusals(&fixture.node.client, &fixture.project_id, &stream.id).await;

    assert_eq!(
        missing_scopes(&refusals),
        ["streams:read", "streams:read", "streams:write"]
    );
    assert_eq!(fixture.owner.stream(&stream.id).await, stream);
}

#[rstest]
#[tokio::test]
async fn a_read_only_api_key_cannot_stop_a_stream(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let stream = fixture.node.live(&fixture.key, "a").await;
    let reader = fixture.api_key_client(&["streams:read"], &[]).await;

    let get = pb::GetStreamRequest {
        stream_id: stream.id.clone(),
    };
    let answer = reader.stream.clone().get_stream(get).await.unwrap();
    assert_eq!(answer.into_inner().stream, Some(stream.clone()));
    let stop = pb::StopStreamRequest {
        stream_id: stream.id.clone(),
        hold: None,
        ..Default::default()
    };
    let refusal = refused(reader.stream.clone().stop_stream(stop).await);

    assert_eq!(missing_scopes(&[refusal]), ["streams:write"]);
    assert_eq!(fixture.owner.stream(&stream.id).await, stream);
}

/// Predecessor's defect G1: hooks were unauthenticated.
#[tokio::test]
async fn every_call_needs_a_token() {
    let fixture = Fixture::start(Sqlite).await;
    let stream = fixture.node.live(&fixture.key, "a").await;
    let anonymous = fixture.server.anonymous();

    let mut refusals = node_refusals(&anonymous, &fixture.key, &stream.id).await;
    refusals.extend(owner_refusals(&anonymous, &fixture.project_id, &stream.id).await);

    for refusal in refusals {
        let missing = (Code::Unauthenticated, "ACCESS_TOKEN_MISSING");
        assert_eq!(refusal.class(), missing);
    }
    assert_eq!(fixture.owner.stream(&stream.id).await, stream);
}

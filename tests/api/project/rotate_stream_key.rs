use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;
use uuid::Uuid;

use super::fixtures::{duration, get_project, reveal_stream_key};
use crate::harness::{Engine, MediaServer, Postgres, Sqlite, TestServer, User, refused};

const DAY: i64 = 24 * 60 * 60;

async fn rotate(user: &User, project: &pb::Project, grace: i64) -> pb::RotateStreamKeyResponse {
    let request = pb::RotateStreamKeyRequest {
        project_id: project.id.clone(),
        grace: duration(grace, 0),
        ..Default::default()
    };
    let answer = user.client.project.clone().rotate_stream_key(request).await;
    answer.unwrap().into_inner()
}

/// Checks that a key is accepted, by publishing and ending.
async fn assert_key_accepted(media: &MediaServer, stream_key: &str) {
    let connection = Uuid::now_v7().to_string();
    let stream = media.live(stream_key, &connection).await;
    let ended = media.end(&stream, &connection).await;
    assert_eq!(ended.state(), pb::StreamState::Ended);
}

async fn assert_key_refused(media: &MediaServer, stream_key: &str) {
    let refusal = refused(media.begin(stream_key, "refused").await);
    assert_eq!(
        refusal.class(),
        (Code::PermissionDenied, "STREAM_KEY_INVALID")
    );
}

#[rstest]
#[tokio::test]
async fn without_grace_the_old_key_is_refused_at_once(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let media = server.media_server().await;
    let (before, old_key) = user.project().await;

    let answer = rotate(&user, &before, 0).await;

    let (after, new_key) = (answer.project.unwrap(), answer.stream_key);
    assert_eq!(answer.previous_key_expire_time, None);
    assert_ne!(new_key, old_key);
    let expected = pb::Project {
        stream_key_hint: new_key[39..].to_owned(),
        revision: before.revision + 1,
        update_time: after.update_time,
        etag: after.etag.clone(),
        ..before
    };
    assert_eq!(after, expected);
    assert_eq!(get_project(&user, &after).await, after);
    assert_eq!(reveal_stream_key(&user, &after).await, new_key);
    assert_key_refused(&media, &old_key).await;
    assert_key_accepted(&media, &new_key).await;
}

#[rstest]
#[tokio::test]
async fn without_grace_the_live_stream_ends(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let media = server.media_server().await;
    let (project, old_key) = user.project().await;
    let live = media.live(&old_key, "c1").await;

    let answer = rotate(&user, &project, 0).await;

    assert_eq!(answer.project.unwrap().live_stream_id, "");
    let ended = user.stream(&live.id).await;
    assert_eq!(ended.state(), pb::StreamState::Ended);
    assert_eq!(ended.end_reason(), pb::EndReason::KeyRotated);
    let heartbeat = media.heartbeat(&live, "c1").await;
    assert_eq!(heartbeat.action(), pb::PublishAction::Stop);
    assert_eq!(heartbeat.stop_reason(), pb::EndReason::KeyRotated);
}

#[rstest]
#[tokio::test]
async fn with_grace_both_keys_are_valid_until_it_ends(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let media = server.media_server().await;
    let (project, old_key) = user.project().await;

    let answer = rotate(&user, &project, 3600).await;

    let (rotated, new_key) = (answer.project.unwrap(), answer.stream_key);
    let expiry = answer.previous_key_expire_time.unwrap();
    assert_eq!(expiry.seconds, rotated.update_time.unwrap().seconds + 3600);
    assert_eq!(reveal_stream_key(&user, &project).await, new_key);
    assert_key_accepted(&media, &old_key).await;
    assert_key_accepted(&media, &new_key).await;

    let grace_is_over =
        "update projects set previous_key_expire_time = '2020-01-01T00:00:00+00:00'";
    server.database.execute(grace_is_over).await;
    assert_key_refused(&media, &old_key).await;
    assert_key_accepted(&media, &new_key).await;
}

#[rstest]
#[tokio::test]
async fn with_grace_the_live_stream_continues(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let media = server.media_server().await;
    let (project, old_key) = user.project().await;
    let live = media.live(&old_key, "c1").await;

    let answer = rotate(&user, &project, 1).await;

    assert_eq!(answer.project.unwrap().live_stream_id, live.id);
    let heartbeat = media.heartbeat(&live, "c1").await;
    assert_eq!(heartbeat.action(), pb::PublishAction::Continue);
}

#[rstest]
#[tokio::test]
async fn only_the_last_two_keys_are_ever_valid(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let media = server.media_server().await;
    let (project, first) = user.project().await;

    let second = rotate(&user, &project, 3600).await.stream_key;
    let third = rotate(&user, &project, 3600).await.stream_key;

    assert_key_refused(&media, &first).await;
    assert_key_accepted(&media, &second).await;
    assert_key_accepted(&media, &third).await;
}

#[rstest]
#[tokio::test]
async fn rotating_without_grace_ends_an_earlier_grace_period(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let media = server.media_server().await;
    let (project, first) = user.project().await;

    let second = rotate(&user, &project, 3600).await.stream_key;
    let third = rotate(&user, &project, 0).await.stream_key;

    assert_key_refused(&media, &first).await;
    assert_key_refused(&media, &second).await;
    assert_key_accepted(&media, &third).await;
}

#[rstest]
#[tokio::test]
async fn grace_is_at_most_seven_days(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let mut user = server.user().await;
    let (project, key) = user.project().await;

    for (seconds, nanos) in [
        (7 * DAY, 1),
        (7 * DAY + 1, 0),
        (-1, 0),
        (0, -1),
        (0, 1_000_000_000),
        (i64::MAX, 0),
    ] {
        let request = pb::RotateStreamKeyRequest {
            project_id: project.id.clone(),
            grace: duration(seconds, nanos),
            ..Default::default()
        };
        let refusal = refused(user.client.project.rotate_stream_key(request).await);
        assert_eq!(refusal.fields(), ["grace"], "{seconds} s {nanos} ns");
    }
    assert_eq!(reveal_stream_key(&user, &project).await, key);
    assert_eq!(get_project(&user, &project).await, project);

    let longest = rotate(&user, &project, 7 * DAY).await;
    assert!(longest.previous_key_expire_time.is_some());
}

#[tokio::test]
async fn all_invalid_fields_are_named_at_once() {
    let server = TestServer::start(Sqlite).await;
    let mut user = server.user().await;

    let request = pb::RotateStreamKeyRequest {
        project_id: "1".to_owned(),
        grace: duration(-1, 0),
        ..Default::default()
    };
    let refusal = refused(user.client.project.rotate_stream_key(request).await);

    assert_eq!(refusal.fields(), ["grace", "project_id"]);
}

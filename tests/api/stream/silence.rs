use rstest::rstest;
use sluice::proto::v1 as pb;

use super::scene::{CONTINUE, Scene, bytes, state, stop, told};
use crate::harness::{Engine, MediaServer, Postgres, Sqlite, eventually};

/// Short where the defaults are long: silence is noticed soon.
const IMPATIENT: [&str; 3] = [
    "--heartbeat-interval=100ms",
    "--heartbeat-timeout=400ms",
    "--connect-timeout=400ms",
];

/// Predecessor's defect G5: a stream stayed live for ever when its media server died.
#[rstest]
#[tokio::test]
async fn a_stream_that_falls_silent_ends_when_it_was_last_seen(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start_with(engine, &IMPATIENT).await;
    let live = scene.begun_live("a").await;

    let ended = scene.eventually(&live, pb::StreamStatus::Ended).await;

    let expected = pb::Stream {
        status: pb::StreamStatus::Ended.into(),
        end_reason: pb::EndReason::HeartbeatTimeout.into(),
        end_time: live.last_seen_time,
        ..live.clone()
    };
    assert_eq!(ended, expected);
    let late = scene.node.heartbeat(&live, "a").await;
    assert_eq!(told(&late), stop(pb::EndReason::HeartbeatTimeout));
    assert_eq!(late.stream, Some(expected.clone()));
    assert_eq!(scene.node.end(&live, "a").await, expected);
    assert_eq!(scene.project().await.live_stream_id, "");
}

#[rstest]
#[tokio::test]
async fn a_stream_that_is_heard_again_within_its_window_is_live_again(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(None, bytes(9), bytes(0))] stats: Option<pb::StreamStats>,
) {
    let scene = Scene::with_window(engine, &IMPATIENT).await;
    let created = scene.project().await.revision;
    let live = scene.begun_live("a").await;
    let silent = scene
        .eventually(&live, pb::StreamStatus::Reconnecting)
        .await;
    assert_eq!(silent.last_seen_time, live.last_seen_time);

    let connection = MediaServer::connection("a");
    let answer = scene.heartbeat_of(&live, connection, stats.clone()).await;

    assert_eq!(told(&answer), CONTINUE);
    let again = answer.stream.unwrap();
    let expected = pb::Stream {
        last_seen_time: again.last_seen_time,
        stats,
        ..live
    };
    assert_eq!(again, expected);
    let revision = scene.project().await.revision;
    assert!(revision >= created + 3, "begun, lost, found");
}

#[rstest]
#[tokio::test]
async fn a_silent_connection_gives_way_to_a_new_one(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::with_window(engine, &IMPATIENT).await;
    let live = scene.begun_live("a").await;
    scene
        .eventually(&live, pb::StreamStatus::Reconnecting)
        .await;

    let back = scene.begun_live("b").await;
    let late = scene.node.heartbeat(&live, "a").await;

    assert_eq!((&back.id, back.epoch), (&live.id, 2));
    assert_eq!(told(&late), stop(pb::EndReason::TakenOver));
}

#[rstest]
#[tokio::test]
async fn a_begin_repeated_after_silence_is_the_same_publish(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::with_window(engine, &IMPATIENT).await;
    let live = scene.begun_live("a").await;
    scene
        .eventually(&live, pb::StreamStatus::Reconnecting)
        .await;

    let again = scene.begun("a").await;

    assert_eq!((&again.id, again.epoch), (&live.id, 1));
    assert_eq!(again.status(), pb::StreamStatus::Live);
    assert_eq!(again.live_time, live.live_time);
}

#[rstest]
#[tokio::test]
async fn a_stream_without_media_never_started(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(false, true)] window: bool,
) {
    let scene = match window {
        true => Scene::with_window(engine, &IMPATIENT).await,
        false => Scene::start_with(engine, &IMPATIENT).await,
    };
    let begun = scene.begun("a").await;

    // Its connection reports itself all the while; only media would help.
    let connection = || MediaServer::connection("a");
    let answer = eventually("the connection is told to stop", async || {
        let answer = scene.heartbeat_of(&begun, connection(), bytes(0)).await;
        (told(&answer) != CONTINUE).then_some(answer)
    })
    .await;

    assert_eq!(told(&answer), stop(pb::EndReason::NeverStarted));
    let ended = answer.stream.unwrap();
    let over = (pb::StreamStatus::Ended, pb::EndReason::NeverStarted);
    assert_eq!(state(&ended), over);
    assert_eq!(ended.end_time, ended.last_seen_time);
    assert_eq!(ended.live_time, None);
    assert_eq!(scene.owner.stream(&begun.id).await, ended);
}

#[rstest]
#[tokio::test]
async fn heartbeats_keep_a_stream_while_a_silent_one_ends(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let flags = ["--heartbeat-interval=100ms", "--heartbeat-timeout=3s"];
    let scene = Scene::start_with(engine, &flags).await;
    let heard = scene.begun_live("a").await;
    let (_, other_key) = scene.owner.project().await;
    let silent = scene.node.live(&other_key, "b").await;

    eventually("the silent stream ends", async || {
        let answer = scene.node.heartbeat(&heard, "a").await;
        assert_eq!(told(&answer), CONTINUE);
        let silent = scene.owner.stream(&silent.id).await;
        (silent.status() == pb::StreamStatus::Ended).then_some(())
    })
    .await;

    let heard = scene.owner.stream(&heard.id).await;
    assert_eq!(heard.status(), pb::StreamStatus::Live);
}

/// Predecessor's defect G6: state lived in the process and died with it.
#[rstest]
#[tokio::test]
async fn a_restart_loses_nothing_and_ends_nothing(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let live = scene.node.live(&scene.key, "a").await;
    let before = scene.project().await;
    // As if the server had been away for long: it must listen before it judges.
    scene.long_ago("last_seen_time").await;

    let scene = scene.restart().await;

    assert_eq!(scene.project().await, before);
    let answer = scene.node.heartbeat(&live, "a").await;
    assert_eq!(told(&answer), CONTINUE);
    let stream = answer.stream.unwrap();
    let expected = pb::Stream {
        last_seen_time: stream.last_seen_time,
        ..live
    };
    assert_eq!(stream, expected);
    assert_eq!(scene.project().await, before);
}

/// Predecessor's defect G5: nothing ended what a restart had cut off.
#[rstest]
#[tokio::test]
async fn a_stream_that_fell_silent_during_a_restart_ends(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start_with(engine, &IMPATIENT).await;
    let live = scene.begun_live("a").await;

    let scene = scene.restart().await;
    let ended = scene.eventually(&live, pb::StreamStatus::Ended).await;

    assert_eq!(ended.end_reason(), pb::EndReason::HeartbeatTimeout);
    assert_eq!(ended.end_time, live.last_seen_time);
}

#[rstest]
#[tokio::test]
async fn two_servers_end_a_silent_stream_once(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start_with(engine, &IMPATIENT).await;
    scene.server.replica().await;
    let mut silent = Vec::new();
    for number in 0..10 {
        let (project, key) = scene.owner.project().await;
        let request = pb::BeginPublishRequest {
            stream_key: key,
            publisher: Some(MediaServer::connection(&number.to_string())),
            media_flowing: true,
            play_url: String::new(),
        };
        let mut client = scene.node.client.stream.clone();
        let answer = client.begin_publish(request).await.unwrap().into_inner();
        silent.push((project, answer.stream.unwrap()));
    }

    for (created, live) in silent {
        let ended = scene.eventually(&live, pb::StreamStatus::Ended).await;
        assert_eq!(ended.end_reason(), pb::EndReason::HeartbeatTimeout);
        assert_eq!(ended.end_time, live.last_seen_time);
        let request = pb::GetProjectRequest {
            project_id: created.id,
        };
        let mut client = scene.owner.client.project.clone();
        let answer = client.get_project(request).await.unwrap().into_inner();
        let revision = answer.project.unwrap().revision;
        assert_eq!(revision, created.revision + 2, "a begin and an end");
    }
}

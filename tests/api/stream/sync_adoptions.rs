//! SyncNode: connections that no stream knows are let in.

use rstest::rstest;
use sluice::proto::v1 as pb;

use super::{
    node::{adopted, agrees, elsewhere, holding, keyed, kicks, unknown},
    scene::{CONTINUE, Scene, bytes, seconds, state, told},
};
use crate::harness::{Engine, MediaServer, Postgres, Sqlite};

/// Silence is noticed soon, also that of a connection without media.
const IMPATIENT: [&str; 3] = [
    "--heartbeat-interval=100ms",
    "--heartbeat-timeout=400ms",
    "--connect-timeout=400ms",
];

/// Who publishes last takes over.
async fn take_over(engine: Engine, window_seconds: i64) -> Scene {
    let request = pb::CreateProjectRequest {
        reconnect_window: Some(seconds(window_seconds)),
        publish_conflict_policy: pb::PublishConflictPolicy::Takeover.into(),
        ..Default::default()
    };
    Scene::of(engine, &[], request).await
}

#[rstest]
#[tokio::test]
async fn an_unknown_connection_is_adopted_with_its_key(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(None, bytes(5), bytes(0))] stats: Option<pb::StreamStats>,
) {
    let scene = Scene::start(engine).await;
    let revision = scene.project().await.revision;
    let connection = pb::NodeConnection {
        stats: stats.clone(),
        ..unknown("a", &scene.key)
    };

    let answer = scene.sync("b1", &[connection]).await;

    let (id, stream) = adopted(&answer);
    assert_eq!((id, kicks(&answer).as_slice()), ("a", [].as_slice()));
    assert_eq!((&stream.project_id, stream.epoch), (&scene.project_id, 1));
    assert_eq!(stream.publisher, Some(MediaServer::connection("a")));
    let status = match stats == bytes(0) {
        true => pb::StreamStatus::Connecting,
        false => pb::StreamStatus::Live,
    };
    assert_eq!((stream.status(), &stream.stats), (status, &stats));
    assert_eq!(&scene.owner.stream(&stream.id).await, stream);
    assert_eq!(scene.project().await.live_stream_id, stream.id);
    assert_eq!(scene.project().await.revision, revision + 1);
    assert_eq!(told(&scene.node.heartbeat(stream, "a").await), CONTINUE);
}

/// The control plane was away for longer than a connection may be silent.
#[rstest]
#[tokio::test]
async fn a_connection_whose_stream_ended_by_silence_goes_on_in_another(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(false, true)] live: bool,
) {
    let scene = Scene::start_with(engine, &IMPATIENT).await;
    let stream = match live {
        true => scene.begun_live("a").await,
        false => scene.begun("a").await,
    };
    let silent = scene.eventually(&stream, pb::StreamStatus::Ended).await;

    let answer = scene.sync("b1", &[keyed("a", &stream, &scene.key)]).await;

    let (id, next) = adopted(&answer);
    assert_eq!((id, kicks(&answer).as_slice()), ("a", [].as_slice()));
    assert_ne!(next.id, stream.id);
    assert_eq!(scene.owner.stream(&stream.id).await, silent);
}

#[rstest]
#[tokio::test]
async fn a_connection_whose_stream_waits_for_a_publisher_goes_on_with_it(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::with_window(engine, &[]).await;
    let live = scene.begun_live("a").await;
    scene.sync("b1", &[]).await;

    let answer = scene.sync("b1", &[keyed("a", &live, &scene.key)]).await;

    let (_, back) = adopted(&answer);
    assert_eq!((&back.id, back.epoch), (&live.id, 2));
    assert_eq!(back.status(), pb::StreamStatus::Live);
    agrees(&scene.sync("b1", &[holding("a", back)]).await);
}

#[rstest]
#[tokio::test]
async fn a_connection_that_an_earlier_report_left_out_goes_on(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let live = scene.begun_live("a").await;
    scene.sync("b1", &[]).await;
    let ended = scene.owner.stream(&live.id).await;

    let answer = scene.sync("b1", &[keyed("a", &live, &scene.key)]).await;

    let (_, next) = adopted(&answer);
    assert_ne!(next.id, live.id);
    assert_eq!(next.status(), pb::StreamStatus::Live);
    assert_eq!(scene.owner.stream(&live.id).await, ended);
}

/// The report was on its way when the connection went: it must not bring it back.
#[rstest]
#[tokio::test]
async fn a_report_that_was_made_before_an_end_does_not_undo_it(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(0, 60)] window_seconds: i64,
    #[values(false, true)] followed: bool,
) {
    let request = pb::CreateProjectRequest {
        reconnect_window: Some(seconds(window_seconds)),
        ..Default::default()
    };
    let scene = Scene::of(engine, &[], request).await;
    let live = scene.begun_live("a").await;
    if followed {
        // The end of a connection that another one had followed counts too.
        scene.sync("b1", &[]).await;
        let next = scene.live_of(elsewhere("b")).await;
        scene.node.end(&live, "a").await;
        scene.end_of(&next, elsewhere("b")).await;
    } else {
        scene.node.end(&live, "a").await;
    }
    let before = scene.project().await;

    let answer = scene.sync("b1", &[keyed("a", &live, &scene.key)]).await;

    assert_eq!(answer.adoptions, []);
    assert_eq!(kicks(&answer).len(), 1);
    assert_eq!(scene.project().await, before);
}

/// The connection had come first, and stood when the one after it was gone.
#[rstest]
#[tokio::test]
async fn a_connection_that_was_followed_goes_on_when_nobody_else_publishes(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::with_window(engine, &[]).await;
    let first = scene.begun_live("a").await;
    scene.sync("b1", &[]).await;
    let second = scene.begun_live("b").await;

    // Of the two, the media server let the newcomer go without a word.
    let answer = scene.sync("b1", &[keyed("a", &first, &scene.key)]).await;

    let (id, back) = adopted(&answer);
    assert_eq!((id, &back.id, back.epoch), ("a", &second.id, 3));
    assert_eq!(scene.unended().await, 1);
}

#[rstest]
#[tokio::test]
async fn of_two_connections_with_one_key_the_first_is_adopted(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = take_over(engine, 60).await;
    let connections = [unknown("a", &scene.key), unknown("b", &scene.key)];

    let answer = scene.sync("b1", &connections).await;

    assert_eq!(adopted(&answer).0, "a");
    assert_eq!(kicks(&answer), [("b", pb::EndReason::TakenOver)]);
    assert_eq!(scene.unended().await, 1);
}

/// Only BeginPublish takes over: who merely stands may be the one that lost.
#[rstest]
#[tokio::test]
async fn an_adoption_takes_nothing_over(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(false, true)] live: bool,
) {
    let scene = take_over(engine, 0).await;
    let running = match live {
        true => scene.live_of(elsewhere("a")).await,
        false => {
            let publisher = elsewhere("a");
            let answer = super::node::begin(&scene.node.client, &scene.key, publisher, false);
            answer.await.unwrap().into_inner().stream.unwrap()
        }
    };

    let answer = scene.sync("b1", &[unknown("b", &scene.key)]).await;

    assert_eq!(kicks(&answer), [("b", pb::EndReason::TakenOver)]);
    assert_eq!(answer.adoptions, []);
    assert_eq!(scene.owner.stream(&running.id).await, running);
}

#[rstest]
#[tokio::test]
async fn an_adopted_connection_follows_the_one_that_the_same_report_leaves_out(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(0, 60)] window_seconds: i64,
) {
    let scene = take_over(engine, window_seconds).await;
    let live = scene.begun_live("a").await;

    let answer = scene.sync("b1", &[unknown("b", &scene.key)]).await;

    let (id, stream) = adopted(&answer);
    let goes_on = window_seconds > 0;
    assert_eq!((id, stream.id == live.id), ("b", goes_on));
    let ended = match goes_on {
        true => vec![],
        false => vec![live.id.clone()],
    };
    assert_eq!(answer.ended_stream_ids, ended);
    assert_eq!(scene.unended().await, 1);
}

#[rstest]
#[tokio::test]
async fn a_connection_that_waits_for_its_begin_gets_the_same_answer_from_it(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let answer = scene.sync("b1", &[unknown("a", &scene.key)]).await;
    let (_, stream) = adopted(&answer);

    let begun = scene.begun("a").await;

    assert_eq!((&begun.id, begun.epoch), (&stream.id, 1));
    assert_eq!(
        state(&begun),
        (pb::StreamStatus::Live, pb::EndReason::Unspecified)
    );
}

#[rstest]
#[tokio::test]
async fn where_the_media_of_an_adopted_connection_is_is_kept_while_it_publishes(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let connection = pb::NodeConnection {
        play_url: "rtmp://10.0.0.5/live/x".to_owned(),
        ..unknown("a", &scene.key)
    };
    let kept = "select count(*) from streams where play_url_sealed is not null";

    scene.sync("b1", &[connection]).await;
    assert_eq!(scene.server.database.number(kept).await, 1);

    scene.sync("b1", &[]).await;
    assert_eq!(scene.server.database.number(kept).await, 0);
}

//! SyncNode: what a media server holds.

use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::{
    node::{adopted, agrees, bare, begin, elsewhere, holding, kicks, of_boot, report, unknown},
    scene::{CONTINUE, Scene, at, bytes, state, stop, told},
};
use crate::{
    contract::dump::dump,
    harness::{Engine, Postgres, Sqlite},
};

/// Silence is noticed soon.
const IMPATIENT: [&str; 2] = ["--heartbeat-interval=100ms", "--heartbeat-timeout=400ms"];

const NODE_LOST: (pb::StreamStatus, pb::EndReason) =
    (pb::StreamStatus::Ended, pb::EndReason::NodeLost);

/// All that is kept, but for when publishers were last heard of.
async fn kept(scene: &Scene) -> Vec<String> {
    let rows = dump(&scene.server.database).await;
    rows.into_iter()
        .map(|row| match row.starts_with("streams: ") {
            true => {
                let (from, to) = (row.find("last_seen_time"), row.find("deadline"));
                format!("{}{}", &row[..from.unwrap()], &row[to.unwrap()..])
            }
            false => row,
        })
        .collect()
}

#[rstest]
#[tokio::test]
async fn a_media_server_without_connections_agrees(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;

    let answer = scene.sync("b1", &[]).await;

    agrees(&answer);
    let interval = answer.heartbeat_interval.unwrap();
    assert_eq!((interval.seconds, interval.nanos), (1, 0));
}

#[rstest]
#[tokio::test]
async fn a_report_is_the_heartbeat_of_every_connection_in_it(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(None, bytes(7), bytes(0))] stats: Option<pb::StreamStats>,
) {
    let scene = Scene::start(engine).await;
    let live = scene.begun_live("a").await;
    let revision = scene.project().await.revision;

    let connection = pb::NodeConnection {
        stats: stats.clone(),
        ..holding("a", &live)
    };
    agrees(&scene.sync("b1", &[connection]).await);

    let now = scene.owner.stream(&live.id).await;
    assert!(at(now.last_seen_time) > at(live.last_seen_time));
    let expected = pb::Stream {
        last_seen_time: now.last_seen_time,
        stats,
        ..live
    };
    assert_eq!(now, expected);
    assert_eq!(scene.project().await.revision, revision);
}

#[rstest]
#[tokio::test]
async fn what_is_measured_stays_until_something_else_is(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let live = scene.begun_live("a").await;
    let stats = Some(pb::StreamStats {
        bytes_received: i64::MAX,
        bitrate_bps: 6_000_000,
        width: 1920,
        height: 1080,
        fps: 59.94,
        video_codec: "h264 \"high\" ü".to_owned(),
        audio_codec: "aac\\lc".to_owned(),
    });

    let measured = pb::NodeConnection {
        stats: stats.clone(),
        ..holding("a", &live)
    };
    scene.sync("b1", &[measured]).await;
    scene.sync("b1", &[holding("a", &live)]).await;

    assert_eq!(scene.owner.stream(&live.id).await.stats, stats);
}

#[rstest]
#[tokio::test]
async fn a_report_with_media_makes_a_stream_live(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let begun = scene.begun("a").await;
    let revision = scene.project().await.revision;

    let waiting = pb::NodeConnection {
        stats: bytes(0),
        ..holding("a", &begun)
    };
    agrees(&scene.sync("b1", &[waiting]).await);
    let still = scene.owner.stream(&begun.id).await;
    assert_eq!(still.status(), pb::StreamStatus::Connecting);
    assert!(at(still.last_seen_time) > at(begun.last_seen_time));
    assert_eq!(scene.project().await.revision, revision);

    agrees(&scene.sync("b1", &[holding("a", &begun)]).await);
    let live = scene.owner.stream(&begun.id).await;
    assert_eq!(live.status(), pb::StreamStatus::Live);
    assert_eq!(live.live_time, live.last_seen_time);
    assert_eq!(scene.project().await.revision, revision + 1);
}

#[rstest]
#[tokio::test]
async fn a_stream_that_fell_silent_is_live_again_when_it_is_reported(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::with_window(engine, &IMPATIENT).await;
    let live = scene.begun_live("a").await;
    scene
        .eventually(&live, pb::StreamStatus::Reconnecting)
        .await;
    let revision = scene.project().await.revision;

    agrees(&scene.sync("b1", &[holding("a", &live)]).await);

    let again = scene.owner.stream(&live.id).await;
    assert_eq!((again.epoch, again.live_time), (1, live.live_time));
    assert!(at(again.last_seen_time) > at(live.last_seen_time));
    assert!(scene.project().await.revision > revision, "it was found");
}

/// The answer of BeginPublish was lost.
#[rstest]
#[tokio::test]
async fn a_connection_that_names_nothing_or_something_else_is_told_what_it_holds(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::with_window(engine, &[]).await;
    let first = scene.begun_live("a").await;
    scene.node.end(&first, "a").await;
    let second = scene.begun_live("b").await;
    assert_eq!((&second.id, second.epoch), (&first.id, 2));

    let nothing_there = pb::Stream {
        id: "01890a5d-ac96-774b-bcce-b302099a8057".to_owned(),
        ..Default::default()
    };
    let stale = pb::Stream {
        epoch: 1,
        ..nothing_there
    };
    for connection in [bare("b"), holding("b", &first), holding("b", &stale)] {
        let answer = scene.sync("b1", &[connection]).await;
        let (id, stream) = adopted(&answer);
        assert_eq!((id, stream.epoch), ("b", 2));
        assert_eq!(stream, &scene.owner.stream(&second.id).await);
        assert_eq!(kicks(&answer), []);
    }
    agrees(&scene.sync("b1", &[holding("b", &second)]).await);
}

#[rstest]
#[tokio::test]
async fn a_connection_that_is_not_reported_is_gone(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let live = scene.begun_live("a").await;

    let answer = scene.sync("b1", &[]).await;

    assert_eq!(answer.ended_stream_ids, std::slice::from_ref(&live.id));
    let ended = scene.owner.stream(&live.id).await;
    let over = (pb::StreamStatus::Ended, pb::EndReason::PublisherEnded);
    assert_eq!(state(&ended), over);
    let late = scene.node.heartbeat(&live, "a").await;
    assert_eq!(told(&late), stop(pb::EndReason::PublisherEnded));
    agrees(&scene.sync("b1", &[]).await);
}

#[rstest]
#[tokio::test]
async fn a_stream_whose_connection_is_not_reported_waits_for_its_publisher(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(false, true)] live: bool,
) {
    let scene = Scene::with_window(engine, &[]).await;
    let stream = match live {
        true => scene.begun_live("a").await,
        false => scene.begun("a").await,
    };

    agrees(&scene.sync("b1", &[]).await);
    let waiting = scene.owner.stream(&stream.id).await;
    assert_eq!(waiting.status(), pb::StreamStatus::Reconnecting);
    // It belongs to no connection any more: no report of any boot ends it.
    agrees(&scene.sync("b1", &[]).await);
    agrees(&scene.sync("b2", &[]).await);
    assert_eq!(scene.owner.stream(&stream.id).await, waiting);

    let back = scene.live_of(of_boot("b2", "b")).await;
    assert_eq!((&back.id, back.epoch), (&stream.id, 2));
}

#[rstest]
#[tokio::test]
async fn what_a_dead_boot_left_ends_once(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(false, true)] connecting: bool,
) {
    let scene = Scene::start(engine).await;
    let stream = match connecting {
        true => scene.begun("a").await,
        false => scene.begun_live("a").await,
    };
    let revision = scene.project().await.revision;

    // A new boot may count its connections from the beginning again.
    let connections = [bare("a")];
    let answer = scene.sync("b2", &connections).await;

    assert_eq!(answer.ended_stream_ids, std::slice::from_ref(&stream.id));
    assert_eq!(kicks(&answer), [("a", pb::EndReason::KeyRotated)]);
    let ended = scene.owner.stream(&stream.id).await;
    assert_eq!(state(&ended), NODE_LOST);
    assert_eq!(ended.end_time, stream.last_seen_time);
    let again = scene.sync("b2", &connections).await;
    assert_eq!(again.ended_stream_ids, Vec::<String>::new());
    assert_eq!(scene.owner.stream(&stream.id).await, ended);
    assert_eq!(scene.project().await.revision, revision + 1);
}

/// As when its connection was lost; which boot hears of it first does not matter.
#[rstest]
#[tokio::test]
async fn what_a_dead_boot_left_waits_for_its_publisher(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::with_window(engine, &[]).await;
    let live = scene.begun_live("a").await;

    agrees(&scene.sync("b2", &[]).await);

    let waiting = scene.owner.stream(&live.id).await;
    let expected = pb::Stream {
        status: pb::StreamStatus::Reconnecting.into(),
        ..live.clone()
    };
    assert_eq!(waiting, expected);
    let back = scene.live_of(of_boot("b2", "a")).await;
    assert_eq!((&back.id, back.epoch), (&live.id, 2));
}

#[rstest]
#[tokio::test]
async fn an_earlier_boot_reports_in_vain(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    scene.sync("b1", &[]).await;
    scene.sync("b2", &[]).await;
    let live = scene.live_of(of_boot("b2", "a")).await;
    let before = dump(&scene.server.database).await;

    for connections in [vec![], vec![unknown("x", &scene.key)]] {
        let refusal = scene.sync_refusal(report("b1", &connections)).await;
        let superseded = (Code::FailedPrecondition, "NODE_SUPERSEDED");
        assert_eq!(refusal.class(), superseded);
    }
    assert_eq!(dump(&scene.server.database).await, before);
    agrees(&scene.sync("b2", &[holding("a", &live)]).await);
}

#[rstest]
#[tokio::test]
async fn a_media_server_reports_of_itself_alone(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let live = scene.live_of(elsewhere("a")).await;

    agrees(&scene.sync("b1", &[]).await);
    let answer = scene.sync("b1", &[holding("a", &live)]).await;

    assert_eq!(kicks(&answer), [("a", pb::EndReason::TakenOver)]);
    assert_eq!(scene.owner.stream(&live.id).await, live);
}

#[rstest]
#[tokio::test]
async fn a_connection_publishes_one_stream(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let first = scene.begun_live("a").await;
    let (_, other_key) = scene.owner.project().await;
    let second = scene.node.live(&other_key, "a").await;

    let answer = scene.sync("b1", &[holding("a", &first)]).await;

    assert_eq!(answer.ended_stream_ids, [second.id]);
    assert_eq!(told(&scene.node.heartbeat(&first, "a").await), CONTINUE);
}

#[rstest]
#[tokio::test]
async fn the_same_report_once_more_changes_nothing(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let begun = async |boot_id: &str, id: &str| {
        let (_, key) = scene.owner.project().await;
        let answer = begin(&scene.node.client, &key, of_boot(boot_id, id), false).await;
        answer.unwrap().into_inner().stream.unwrap()
    };
    let lost = begun("b1", "lost").await;
    let missing = begun("b2", "missing").await;
    let stopped = begun("b2", "stopped").await;
    scene.stop(&stopped, 0).await;
    let connections = [
        holding("held", &begun("b2", "held").await),
        pb::NodeConnection {
            stats: bytes(0),
            ..holding("waiting", &begun("b2", "waiting").await)
        },
        holding("stopped", &stopped),
        unknown("unknown", &scene.key),
    ];

    let first = scene.sync("b2", &connections).await;
    let settled = kept(&scene).await;
    let second = scene.sync("b2", &connections).await;

    assert_eq!(first.ended_stream_ids, [lost.id, missing.id]);
    assert_eq!(kicks(&first), [("stopped", pb::EndReason::StoppedByOwner)]);
    assert_eq!(kicks(&second), kicks(&first));
    let (first, second) = (adopted(&first), adopted(&second));
    assert_eq!((first.0, &first.1.id), ("unknown", &second.1.id));
    assert_eq!(kept(&scene).await, settled);
}

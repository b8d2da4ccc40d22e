//! SyncNode.

use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::{
    fixture::{CONTINUE, Fixture, instruction, state, stats_with_bytes, stop, timestamp},
    node_reports::{
        assert_no_action, begin_publish, kicks, minimal_connection, publisher_of_boot,
        publisher_on_n2, single_adoption, sync_request, with_key, with_stream,
    },
};
use crate::{
    contract::dump::dump,
    harness::{Engine, Pooled, Postgres, Sqlite},
};

/// Missed heartbeats are detected quickly.
const SHORT_TIMEOUTS: [&str; 2] = ["--heartbeat-interval=100ms", "--heartbeat-timeout=400ms"];

const NODE_LOST: (pb::StreamState, pb::EndReason) =
    (pb::StreamState::Ended, pb::EndReason::NodeLost);

/// All rows, without the times of the last heartbeats.
async fn rows_without_last_seen_time(fixture: &Fixture) -> Vec<String> {
    let rows = dump(&fixture.server.database).await;
    rows.into_iter()
        .map(|row| {
            if row.starts_with("streams: ") {
                let (from, to) = (row.find("last_seen_time"), row.find("deadline"));
                format!("{}{}", &row[..from.unwrap()], &row[to.unwrap()..])
            } else if row.starts_with("node_boots: ") {
                row[..row.find("sync_time").unwrap()].to_owned()
            } else {
                row
            }
        })
        .collect()
}

#[rstest]
#[tokio::test]
async fn a_report_without_connections_requires_no_action(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;

    let answer = fixture.sync("b1", &[]).await;

    assert_no_action(&answer);
    let interval = answer.heartbeat_interval.unwrap();
    assert_eq!((interval.seconds, interval.nanos), (1, 0));
}

#[rstest]
#[tokio::test]
async fn a_report_counts_as_a_heartbeat_of_each_connection(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
    #[values(None, stats_with_bytes(7), stats_with_bytes(0))] stats: Option<pb::StreamStats>,
) {
    let fixture = Fixture::start(engine).await;
    let live = fixture.begin_live_stream("a").await;
    let revision = fixture.project().await.revision;

    let connection = pb::NodeConnection {
        stats: stats.clone(),
        ..with_stream("a", &live)
    };
    assert_no_action(&fixture.sync("b1", &[connection]).await);

    let now = fixture.owner.stream(&live.id).await;
    assert!(timestamp(now.last_seen_time) > timestamp(live.last_seen_time));
    let expected = pb::Stream {
        last_seen_time: now.last_seen_time,
        stats,
        ..live
    };
    assert_eq!(now, expected);
    assert_eq!(fixture.project().await.revision, revision);
}

#[rstest]
#[tokio::test]
async fn statistics_are_retained_until_new_ones_are_reported(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let live = fixture.begin_live_stream("a").await;
    let stats = Some(pb::StreamStats {
        bytes_received: i64::MAX,
        bitrate_bps: 6_000_000,
        width: 1920,
        height: 1080,
        fps: 59.94,
        video_codec: "h264 \"high\" ü".to_owned(),
        audio_codec: "aac\\lc".to_owned(),
        ..Default::default()
    });

    let measured = pb::NodeConnection {
        stats: stats.clone(),
        ..with_stream("a", &live)
    };
    fixture.sync("b1", &[measured]).await;
    fixture.sync("b1", &[with_stream("a", &live)]).await;

    assert_eq!(fixture.owner.stream(&live.id).await.stats, stats);
}

#[rstest]
#[tokio::test]
async fn a_report_with_media_makes_a_stream_live(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let begun = fixture.begin_stream("a").await;
    let revision = fixture.project().await.revision;

    let waiting = pb::NodeConnection {
        stats: stats_with_bytes(0),
        ..with_stream("a", &begun)
    };
    assert_no_action(&fixture.sync("b1", &[waiting]).await);
    let still = fixture.owner.stream(&begun.id).await;
    assert_eq!(still.state(), pb::StreamState::Connecting);
    assert!(timestamp(still.last_seen_time) > timestamp(begun.last_seen_time));
    assert_eq!(fixture.project().await.revision, revision);

    assert_no_action(&fixture.sync("b1", &[with_stream("a", &begun)]).await);
    let live = fixture.owner.stream(&begun.id).await;
    assert_eq!(live.state(), pb::StreamState::Live);
    assert_eq!(live.live_time, live.last_seen_time);
    assert_eq!(fixture.project().await.revision, revision + 1);
}

#[rstest]
#[tokio::test]
async fn a_timed_out_stream_is_live_again_when_it_is_reported(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::with_window(engine, &SHORT_TIMEOUTS).await;
    let live = fixture.begin_live_stream("a").await;
    fixture
        .wait_for_state(&live, pb::StreamState::Reconnecting)
        .await;
    let revision = fixture.project().await.revision;

    assert_no_action(&fixture.sync("b1", &[with_stream("a", &live)]).await);

    let again = fixture.owner.stream(&live.id).await;
    assert_eq!((again.epoch, again.live_time), (1, live.live_time));
    assert!(timestamp(again.last_seen_time) > timestamp(live.last_seen_time));
    assert!(fixture.project().await.revision > revision, "it was found");
}

/// The response of BeginPublish was lost.
#[rstest]
#[tokio::test]
async fn a_connection_with_no_or_a_wrong_stream_id_is_told_its_stream(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::with_window(engine, &[]).await;
    let first = fixture.begin_live_stream("a").await;
    fixture.node.end(&first, "a").await;
    let second = fixture.begin_live_stream("b").await;
    assert_eq!((&second.id, second.epoch), (&first.id, 2));

    let nothing_there = pb::Stream {
        id: "01890a5d-ac96-774b-bcce-b302099a8057".to_owned(),
        ..Default::default()
    };
    let stale = pb::Stream {
        epoch: 1,
        ..nothing_there
    };
    for connection in [
        minimal_connection("b"),
        with_stream("b", &first),
        with_stream("b", &stale),
    ] {
        let answer = fixture.sync("b1", &[connection]).await;
        let (id, stream) = single_adoption(&answer);
        assert_eq!((id, stream.epoch), ("b", 2));
        assert_eq!(stream, &fixture.owner.stream(&second.id).await);
        assert_eq!(kicks(&answer), []);
    }
    assert_no_action(&fixture.sync("b1", &[with_stream("b", &second)]).await);
}

#[rstest]
#[tokio::test]
async fn an_unreported_connection_has_ended(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let live = fixture.begin_live_stream("a").await;

    let answer = fixture.sync("b1", &[]).await;

    assert_eq!(answer.ended_stream_ids, std::slice::from_ref(&live.id));
    let ended = fixture.owner.stream(&live.id).await;
    let over = (pb::StreamState::Ended, pb::EndReason::PublisherEnded);
    assert_eq!(state(&ended), over);
    let late = fixture.node.heartbeat(&live, "a").await;
    assert_eq!(instruction(&late), stop(pb::EndReason::PublisherEnded));
    assert_no_action(&fixture.sync("b1", &[]).await);
}

#[rstest]
#[tokio::test]
async fn a_stream_with_an_unreported_connection_is_reconnecting(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(false, true)] live: bool,
) {
    let fixture = Fixture::with_window(engine, &[]).await;
    let stream = match live {
        true => fixture.begin_live_stream("a").await,
        false => fixture.begin_stream("a").await,
    };

    assert_no_action(&fixture.sync("b1", &[]).await);
    let waiting = fixture.owner.stream(&stream.id).await;
    assert_eq!(waiting.state(), pb::StreamState::Reconnecting);
    // The stream has no connection any more, so that no report ends it.
    assert_no_action(&fixture.sync("b1", &[]).await);
    assert_no_action(&fixture.sync("b2", &[]).await);
    assert_eq!(fixture.owner.stream(&stream.id).await, waiting);

    let back = fixture.begin_live_from(publisher_of_boot("b2", "b")).await;
    assert_eq!((&back.id, back.epoch), (&stream.id, 2));
}

#[rstest]
#[tokio::test]
async fn streams_of_a_superseded_boot_end_once(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
    #[values(false, true)] connecting: bool,
) {
    let fixture = Fixture::start(engine).await;
    let stream = match connecting {
        true => fixture.begin_stream("a").await,
        false => fixture.begin_live_stream("a").await,
    };
    let revision = fixture.project().await.revision;

    // A new boot may reuse connection ids.
    let connections = [minimal_connection("a")];
    let answer = fixture.sync("b2", &connections).await;

    assert_eq!(answer.ended_stream_ids, std::slice::from_ref(&stream.id));
    assert_eq!(kicks(&answer), [("a", pb::EndReason::KeyRotated)]);
    let ended = fixture.owner.stream(&stream.id).await;
    assert_eq!(state(&ended), NODE_LOST);
    assert_eq!(ended.end_time, stream.last_seen_time);
    let again = fixture.sync("b2", &connections).await;
    assert_eq!(again.ended_stream_ids, Vec::<String>::new());
    assert_eq!(fixture.owner.stream(&stream.id).await, ended);
    assert_eq!(fixture.project().await.revision, revision + 1);
}

/// As after a lost connection, whichever boot reports it first.
#[rstest]
#[tokio::test]
async fn streams_of_a_superseded_boot_are_reconnecting_within_their_window(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::with_window(engine, &[]).await;
    let live = fixture.begin_live_stream("a").await;

    assert_no_action(&fixture.sync("b2", &[]).await);

    let waiting = fixture.owner.stream(&live.id).await;
    let expected = pb::Stream {
        state: pb::StreamState::Reconnecting.into(),
        ..live.clone()
    };
    assert_eq!(waiting, expected);
    let back = fixture.begin_live_from(publisher_of_boot("b2", "a")).await;
    assert_eq!((&back.id, back.epoch), (&live.id, 2));
}

#[rstest]
#[tokio::test]
async fn reports_of_a_superseded_boot_are_refused(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    fixture.sync("b1", &[]).await;
    fixture.sync("b2", &[]).await;
    let live = fixture.begin_live_from(publisher_of_boot("b2", "a")).await;
    let before = dump(&fixture.server.database).await;

    for connections in [vec![], vec![with_key("x", &fixture.key)]] {
        let refusal = fixture.sync_refusal(sync_request("b1", &connections)).await;
        let superseded = (Code::FailedPrecondition, "NODE_SUPERSEDED");
        assert_eq!(refusal.class(), superseded);
    }
    assert_eq!(dump(&fixture.server.database).await, before);
    assert_no_action(&fixture.sync("b2", &[with_stream("a", &live)]).await);
}

#[rstest]
#[tokio::test]
async fn a_report_does_not_affect_connections_of_other_nodes(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let live = fixture.begin_live_from(publisher_on_n2("a")).await;

    assert_no_action(&fixture.sync("b1", &[]).await);
    let answer = fixture.sync("b1", &[with_stream("a", &live)]).await;

    assert_eq!(kicks(&answer), [("a", pb::EndReason::TakenOver)]);
    assert_eq!(fixture.owner.stream(&live.id).await, live);
}

#[rstest]
#[tokio::test]
async fn a_connection_publishes_only_one_stream(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let first = fixture.begin_live_stream("a").await;
    let (_, other_key) = fixture.owner.project().await;
    let second = fixture.node.live(&other_key, "a").await;

    let answer = fixture.sync("b1", &[with_stream("a", &first)]).await;

    assert_eq!(answer.ended_stream_ids, [second.id]);
    assert_eq!(
        instruction(&fixture.node.heartbeat(&first, "a").await),
        CONTINUE
    );
}

#[rstest]
#[tokio::test]
async fn a_repeated_report_changes_nothing(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let begun = async |boot_id: &str, id: &str| {
        let (_, key) = fixture.owner.project().await;
        let answer = begin_publish(
            &fixture.node.client,
            &key,
            publisher_of_boot(boot_id, id),
            false,
        )
        .await;
        answer.unwrap().into_inner().stream.unwrap()
    };
    let lost = begun("b1", "lost").await;
    let missing = begun("b2", "missing").await;
    let stopped = begun("b2", "stopped").await;
    fixture.stop(&stopped, 0).await;
    let connections = [
        with_stream("held", &begun("b2", "held").await),
        pb::NodeConnection {
            stats: stats_with_bytes(0),
            ..with_stream("waiting", &begun("b2", "waiting").await)
        },
        with_stream("stopped", &stopped),
        with_key("unknown", &fixture.key),
    ];

    let first = fixture.sync("b2", &connections).await;
    let settled = rows_without_last_seen_time(&fixture).await;
    let second = fixture.sync("b2", &connections).await;

    assert_eq!(first.ended_stream_ids, [lost.id, missing.id]);
    assert_eq!(kicks(&first), [("stopped", pb::EndReason::StoppedByOwner)]);
    assert_eq!(kicks(&second), kicks(&first));
    let (first, second) = (single_adoption(&first), single_adoption(&second));
    assert_eq!((first.0, &first.1.id), ("unknown", &second.1.id));
    assert_eq!(rows_without_last_seen_time(&fixture).await, settled);
}

/// The stored streams.
async fn stream_rows(fixture: &Fixture) -> Vec<String> {
    let rows = dump(&fixture.server.database).await.into_iter();
    rows.filter(|row| row.starts_with("streams: ")).collect()
}

#[rstest]
#[tokio::test]
async fn a_report_without_changes_writes_no_stream_and_counts_as_a_heartbeat(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let flags = ["--heartbeat-timeout=1h"];
    let fixture = Fixture::start_with(engine, &flags).await;
    let live = fixture.begin_live_stream("a").await;
    let connection = pb::NodeConnection {
        stats: stats_with_bytes(7),
        ..with_stream("a", &live)
    };
    fixture.sync("b1", std::slice::from_ref(&connection)).await;
    let before = fixture.owner.stream(&live.id).await;
    let stored = stream_rows(&fixture).await;

    assert_no_action(&fixture.sync("b1", &[connection]).await);

    assert_eq!(stream_rows(&fixture).await, stored);
    let after = fixture.owner.stream(&live.id).await;
    assert!(timestamp(after.last_seen_time) > timestamp(before.last_seen_time));
    let expected = pb::Stream {
        last_seen_time: after.last_seen_time,
        ..before
    };
    assert_eq!(after, expected);
    let ended = fixture.node.end(&after, "a").await;
    assert!(timestamp(ended.last_seen_time) > timestamp(after.last_seen_time));
}

#[rstest]
#[tokio::test]
async fn a_stream_is_not_silent_while_its_boot_reports_all_connections(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start_with(engine, &SHORT_TIMEOUTS).await;
    fixture.sync("b1", &[]).await;
    fixture
        .server
        .database
        .execute("update node_boots set sync_time = '2099-01-01T00:00:00+00:00'")
        .await;
    let reported = fixture.begin_live_stream("a").await;
    let (_, key) = fixture.owner.project().await;
    let publisher = publisher_on_n2("b");
    let begun = begin_publish(&fixture.node.client, &key, publisher, true).await;
    let silent = begun.unwrap().into_inner().stream.unwrap();

    let ended = fixture
        .wait_for_state(&silent, pb::StreamState::Ended)
        .await;

    assert_eq!(ended.end_reason(), pb::EndReason::HeartbeatTimeout);
    let live = fixture.owner.stream(&reported.id).await;
    assert_eq!(live.state(), pb::StreamState::Live);
    assert!(timestamp(live.last_seen_time) > timestamp(ended.end_time));
}

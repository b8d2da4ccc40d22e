use rstest::rstest;
use sluice::proto::v1 as pb;

use super::fixture::{CONTINUE, Fixture, instruction, state, stats_with_bytes, stop};
use crate::harness::{Engine, MediaServer, Pooled, Postgres, Sqlite, eventually};

/// Missed heartbeats and media are detected quickly.
const SHORT_TIMEOUTS: [&str; 3] = [
    "--heartbeat-interval=100ms",
    "--heartbeat-timeout=400ms",
    "--connect-timeout=400ms",
];

/// Predecessor's defect G5: a stream stayed live forever when its media server died.
#[rstest]
#[tokio::test]
async fn a_stream_without_heartbeats_ends_at_its_last_seen_time(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start_with(engine, &SHORT_TIMEOUTS).await;
    let live = fixture.begin_live_stream("a").await;

    let ended = fixture.wait_for_state(&live, pb::StreamState::Ended).await;

    let expected = pb::Stream {
        state: pb::StreamState::Ended.into(),
        end_reason: pb::EndReason::HeartbeatTimeout.into(),
        end_time: live.last_seen_time,
        ..live.clone()
    };
    assert_eq!(ended, expected);
    let late = fixture.node.heartbeat(&live, "a").await;
    assert_eq!(instruction(&late), stop(pb::EndReason::HeartbeatTimeout));
    assert_eq!(late.stream, Some(expected.clone()));
    assert_eq!(fixture.node.end(&live, "a").await, expected);
    assert_eq!(fixture.project().await.live_stream_id, "");
}

#[rstest]
#[tokio::test]
async fn a_heartbeat_within_the_reconnect_window_makes_the_stream_live_again(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(None, stats_with_bytes(9), stats_with_bytes(0))] stats: Option<pb::StreamStats>,
) {
    let fixture = Fixture::with_window(engine, &SHORT_TIMEOUTS).await;
    let created = fixture.project().await.revision;
    let live = fixture.begin_live_stream("a").await;
    let silent = fixture
        .wait_for_state(&live, pb::StreamState::Reconnecting)
        .await;
    assert_eq!(silent.last_seen_time, live.last_seen_time);

    let connection = MediaServer::connection("a");
    let answer = fixture
        .heartbeat_from(&live, connection, stats.clone())
        .await;

    assert_eq!(instruction(&answer), CONTINUE);
    let again = answer.stream.unwrap();
    let expected = pb::Stream {
        last_seen_time: again.last_seen_time,
        stats,
        ..live
    };
    assert_eq!(again, expected);
    let revision = fixture.project().await.revision;
    assert!(revision >= created + 3, "begun, lost, found");
}

#[rstest]
#[tokio::test]
async fn a_connection_without_heartbeats_is_replaced_by_a_new_one(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::with_window(engine, &SHORT_TIMEOUTS).await;
    let live = fixture.begin_live_stream("a").await;
    fixture
        .wait_for_state(&live, pb::StreamState::Reconnecting)
        .await;

    let back = fixture.begin_live_stream("b").await;
    let late = fixture.node.heartbeat(&live, "a").await;

    assert_eq!((&back.id, back.epoch), (&live.id, 2));
    assert_eq!(instruction(&late), stop(pb::EndReason::TakenOver));
}

#[rstest]
#[tokio::test]
async fn a_begin_repeated_after_a_heartbeat_timeout_is_the_same_publish(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::with_window(engine, &SHORT_TIMEOUTS).await;
    let live = fixture.begin_live_stream("a").await;
    fixture
        .wait_for_state(&live, pb::StreamState::Reconnecting)
        .await;

    let again = fixture.begin_stream("a").await;

    assert_eq!((&again.id, again.epoch), (&live.id, 1));
    assert_eq!(again.state(), pb::StreamState::Live);
    assert_eq!(again.live_time, live.live_time);
}

#[rstest]
#[tokio::test]
async fn a_stream_without_media_ends_as_never_started(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(false, true)] window: bool,
) {
    let fixture = match window {
        true => Fixture::with_window(engine, &SHORT_TIMEOUTS).await,
        false => Fixture::start_with(engine, &SHORT_TIMEOUTS).await,
    };
    let begun = fixture.begin_stream("a").await;

    // Its connection sends heartbeats all the time, but without media.
    let connection = || MediaServer::connection("a");
    let answer = eventually("the connection is told to stop", async || {
        let answer = fixture
            .heartbeat_from(&begun, connection(), stats_with_bytes(0))
            .await;
        (instruction(&answer) != CONTINUE).then_some(answer)
    })
    .await;

    assert_eq!(instruction(&answer), stop(pb::EndReason::NeverStarted));
    let ended = answer.stream.unwrap();
    let over = (pb::StreamState::Ended, pb::EndReason::NeverStarted);
    assert_eq!(state(&ended), over);
    assert_eq!(ended.end_time, ended.last_seen_time);
    assert_eq!(ended.live_time, None);
    assert_eq!(fixture.owner.stream(&begun.id).await, ended);
}

#[rstest]
#[tokio::test]
async fn heartbeats_keep_a_stream_alive_while_one_without_them_ends(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let flags = ["--heartbeat-interval=100ms", "--heartbeat-timeout=10s"];
    let fixture = Fixture::start_with(engine, &flags).await;
    let heard = fixture.begin_live_stream("a").await;
    let (_, other_key) = fixture.owner.project().await;
    let silent = fixture.node.live(&other_key, "b").await;

    eventually("the stream without heartbeats ends", async || {
        let answer = fixture.node.heartbeat(&heard, "a").await;
        assert_eq!(instruction(&answer), CONTINUE);
        let silent = fixture.owner.stream(&silent.id).await;
        (silent.state() == pb::StreamState::Ended).then_some(())
    })
    .await;

    let heard = fixture.owner.stream(&heard.id).await;
    assert_eq!(heard.state(), pb::StreamState::Live);
}

/// Predecessor's defect G6: state lived in the process and died with it.
#[rstest]
#[tokio::test]
async fn a_server_restart_loses_and_ends_no_stream(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let live = fixture.node.live(&fixture.key, "a").await;
    let before = fixture.project().await;
    // As if the server had been down for long: after a start it must wait before it expires
    // anything.
    fixture.backdate("last_seen_time").await;

    let fixture = fixture.restart().await;

    assert_eq!(fixture.project().await, before);
    let answer = fixture.node.heartbeat(&live, "a").await;
    assert_eq!(instruction(&answer), CONTINUE);
    let stream = answer.stream.unwrap();
    let expected = pb::Stream {
        last_seen_time: stream.last_seen_time,
        ..live
    };
    assert_eq!(stream, expected);
    assert_eq!(fixture.project().await, before);
}

/// Predecessor's defect G5: nothing ended what a restart had cut off.
#[rstest]
#[tokio::test]
async fn a_stream_whose_heartbeats_stop_during_a_restart_ends(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start_with(engine, &SHORT_TIMEOUTS).await;
    let live = fixture.begin_live_stream("a").await;

    let fixture = fixture.restart().await;
    let ended = fixture.wait_for_state(&live, pb::StreamState::Ended).await;

    assert_eq!(ended.end_reason(), pb::EndReason::HeartbeatTimeout);
    assert_eq!(ended.end_time, live.last_seen_time);
}

#[rstest]
#[tokio::test]
async fn two_servers_end_a_timed_out_stream_once(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start_with(engine, &SHORT_TIMEOUTS).await;
    fixture.server.replica().await;
    let mut silent = Vec::new();
    for number in 0..10 {
        let (project, key) = fixture.owner.project().await;
        let request = pb::BeginPublishRequest {
            stream_key: key,
            publisher: Some(MediaServer::connection(&number.to_string())),
            media_flowing: true,
            play_url: String::new(),
        };
        let mut client = fixture.node.client.stream.clone();
        let answer = client.begin_publish(request).await.unwrap().into_inner();
        silent.push((project, answer.stream.unwrap()));
    }

    for (created, live) in silent {
        let ended = fixture.wait_for_state(&live, pb::StreamState::Ended).await;
        assert_eq!(ended.end_reason(), pb::EndReason::HeartbeatTimeout);
        assert_eq!(ended.end_time, live.last_seen_time);
        let request = pb::GetProjectRequest {
            project_id: created.id,
            ..Default::default()
        };
        let mut client = fixture.owner.client.project.clone();
        let answer = client.get_project(request).await.unwrap().into_inner();
        let revision = answer.project.unwrap().revision;
        assert_eq!(revision, created.revision + 2, "a begin and an end");
    }
}

/// The time of the last report is in no index, so that PostgreSQL writes no index and no other page.
#[tokio::test]
async fn heartbeats_are_hot_updates() {
    let fixture = Fixture::start(Postgres).await;
    let live = fixture.begin_live_stream("a").await;
    let database = &fixture.server.database;
    let counted = async |column: &str| {
        let query = format!(
            "select coalesce(sum({column}), 0)::bigint from pg_stat_user_tables
             where relname = 'streams'"
        );
        database.number(&query).await
    };
    // The database may be one of earlier tests.
    let before = eventually("the statistics are there", async || {
        let updates = counted("n_tup_upd").await;
        (updates > 0).then_some(updates)
    })
    .await;
    let in_place_before = counted("n_tup_hot_upd").await;

    for bytes in 1..=200 {
        let connection = MediaServer::connection("a");
        let answer = fixture.heartbeat_from(&live, connection, stats_with_bytes(bytes));
        assert_eq!(instruction(&answer.await), CONTINUE);
    }

    eventually("the updates are counted", async || {
        (counted("n_tup_upd").await >= before + 200).then_some(())
    })
    .await;
    let updates = counted("n_tup_upd").await - before;
    let in_place = counted("n_tup_hot_upd").await - in_place_before;
    assert!(
        in_place * 100 >= updates * 95,
        "{in_place} of {updates} are HOT"
    );
}

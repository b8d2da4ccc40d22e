//! SyncNode: adoption of unknown connections.

use rstest::rstest;
use sluice::proto::v1 as pb;

use super::{
    fixture::{CONTINUE, Fixture, instruction, state, stats_with_bytes},
    node_reports::{
        assert_no_action, kicks, publisher_on_n2, single_adoption, with_key, with_stream,
        with_stream_and_key,
    },
};
use crate::harness::{Engine, MediaServer, Pooled, Postgres, Sqlite};

/// Missed heartbeats and media are detected quickly.
const SHORT_TIMEOUTS: [&str; 3] = [
    "--heartbeat-interval=100ms",
    "--heartbeat-timeout=400ms",
    "--connect-timeout=400ms",
];

#[rstest]
#[tokio::test]
async fn an_unknown_connection_with_a_valid_key_is_adopted(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
    #[values(None, stats_with_bytes(5), stats_with_bytes(0))] stats: Option<pb::StreamStats>,
) {
    let fixture = Fixture::start(engine).await;
    let revision = fixture.project().await.revision;
    let connection = pb::NodeConnection {
        stats: stats.clone(),
        ..with_key("a", &fixture.key)
    };

    let answer = fixture.sync("b1", &[connection]).await;

    let (id, stream) = single_adoption(&answer);
    assert_eq!((id, kicks(&answer).as_slice()), ("a", [].as_slice()));
    assert_eq!((&stream.project_id, stream.epoch), (&fixture.project_id, 1));
    assert_eq!(stream.publisher, Some(MediaServer::connection("a")));
    let state = match stats == stats_with_bytes(0) {
        true => pb::StreamState::Connecting,
        false => pb::StreamState::Live,
    };
    assert_eq!((stream.state(), &stream.stats), (state, &stats));
    assert_eq!(&fixture.owner.stream(&stream.id).await, stream);
    assert_eq!(fixture.project().await.live_stream_id, stream.id);
    assert_eq!(fixture.project().await.revision, revision + 1);
    assert_eq!(
        instruction(&fixture.node.heartbeat(stream, "a").await),
        CONTINUE
    );
}

/// The control plane was down for longer than the heartbeat timeout.
#[rstest]
#[tokio::test]
async fn a_connection_whose_stream_timed_out_continues_in_a_new_stream(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(false, true)] live: bool,
) {
    let fixture = Fixture::start_with(engine, &SHORT_TIMEOUTS).await;
    let stream = match live {
        true => fixture.begin_live_stream("a").await,
        false => fixture.begin_stream("a").await,
    };
    let silent = fixture
        .wait_for_state(&stream, pb::StreamState::Ended)
        .await;

    let answer = fixture
        .sync("b1", &[with_stream_and_key("a", &stream, &fixture.key)])
        .await;

    let (id, next) = single_adoption(&answer);
    assert_eq!((id, kicks(&answer).as_slice()), ("a", [].as_slice()));
    assert_ne!(next.id, stream.id);
    assert_eq!(fixture.owner.stream(&stream.id).await, silent);
}

#[rstest]
#[tokio::test]
async fn a_connection_whose_stream_is_reconnecting_continues_it(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::with_window(engine, &[]).await;
    let live = fixture.begin_live_stream("a").await;
    fixture.sync("b1", &[]).await;

    let answer = fixture
        .sync("b1", &[with_stream_and_key("a", &live, &fixture.key)])
        .await;

    let (_, back) = single_adoption(&answer);
    assert_eq!((&back.id, back.epoch), (&live.id, 2));
    assert_eq!(back.state(), pb::StreamState::Live);
    assert_no_action(&fixture.sync("b1", &[with_stream("a", back)]).await);
}

#[rstest]
#[tokio::test]
async fn a_connection_missing_from_an_earlier_report_continues(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let live = fixture.begin_live_stream("a").await;
    fixture.sync("b1", &[]).await;
    let ended = fixture.owner.stream(&live.id).await;

    let answer = fixture
        .sync("b1", &[with_stream_and_key("a", &live, &fixture.key)])
        .await;

    let (_, next) = single_adoption(&answer);
    assert_ne!(next.id, live.id);
    assert_eq!(next.state(), pb::StreamState::Live);
    assert_eq!(fixture.owner.stream(&live.id).await, ended);
}

/// The report was delayed until the connection had ended, and must not revive it.
#[rstest]
#[tokio::test]
async fn a_report_made_before_an_end_does_not_revive_the_connection(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(0, 60)] window_seconds: i64,
    #[values(false, true)] followed: bool,
) {
    let fixture = Fixture::with_window_of(engine, window_seconds).await;
    let live = fixture.begin_live_stream("a").await;
    if followed {
        // The end of a replaced connection counts, too.
        fixture.sync("b1", &[]).await;
        let next = fixture.begin_live_from(publisher_on_n2("b")).await;
        fixture.node.end(&live, "a").await;
        fixture.end_from(&next, publisher_on_n2("b")).await;
    } else {
        fixture.node.end(&live, "a").await;
    }
    let before = fixture.project().await;

    let answer = fixture
        .sync("b1", &[with_stream_and_key("a", &live, &fixture.key)])
        .await;

    assert_eq!(answer.adoptions, []);
    assert_eq!(kicks(&answer).len(), 1);
    assert_eq!(fixture.project().await, before);
}

/// The first connection is still open when the one that replaced it has ended.
#[rstest]
#[tokio::test]
async fn a_replaced_connection_continues_when_no_other_publishes(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::with_window(engine, &[]).await;
    let first = fixture.begin_live_stream("a").await;
    fixture.sync("b1", &[]).await;
    let second = fixture.begin_live_stream("b").await;

    // The second connection ended without a hook.
    let answer = fixture
        .sync("b1", &[with_stream_and_key("a", &first, &fixture.key)])
        .await;

    let (id, back) = single_adoption(&answer);
    assert_eq!((id, &back.id, back.epoch), ("a", &second.id, 3));
    assert_eq!(fixture.count_unended().await, 1);
}

#[rstest]
#[tokio::test]
async fn of_two_connections_with_one_key_the_first_is_adopted(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::with_takeover(engine, 60).await;
    let connections = [with_key("a", &fixture.key), with_key("b", &fixture.key)];

    let answer = fixture.sync("b1", &connections).await;

    assert_eq!(single_adoption(&answer).0, "a");
    assert_eq!(kicks(&answer), [("b", pb::EndReason::TakenOver)]);
    assert_eq!(fixture.count_unended().await, 1);
}

/// Only BeginPublish takes over: a reported connection may be the one that was replaced.
#[rstest]
#[tokio::test]
async fn an_adoption_never_takes_over_a_running_stream(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(false, true)] live: bool,
) {
    let fixture = Fixture::with_takeover(engine, 0).await;
    let running = match live {
        true => fixture.begin_live_from(publisher_on_n2("a")).await,
        false => {
            let publisher = publisher_on_n2("a");
            let answer = super::node_reports::begin_publish(
                &fixture.node.client,
                &fixture.key,
                publisher,
                false,
            );
            answer.await.unwrap().into_inner().stream.unwrap()
        }
    };

    let answer = fixture.sync("b1", &[with_key("b", &fixture.key)]).await;

    assert_eq!(kicks(&answer), [("b", pb::EndReason::TakenOver)]);
    assert_eq!(answer.adoptions, []);
    assert_eq!(fixture.owner.stream(&running.id).await, running);
}

#[rstest]
#[tokio::test]
async fn an_adopted_connection_replaces_the_one_missing_from_the_same_report(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
    #[values(0, 60)] window_seconds: i64,
) {
    let fixture = Fixture::with_takeover(engine, window_seconds).await;
    let live = fixture.begin_live_stream("a").await;

    let answer = fixture.sync("b1", &[with_key("b", &fixture.key)]).await;

    let (id, stream) = single_adoption(&answer);
    let goes_on = window_seconds > 0;
    assert_eq!((id, stream.id == live.id), ("b", goes_on));
    let ended = match goes_on {
        true => vec![],
        false => vec![live.id.clone()],
    };
    assert_eq!(answer.ended_stream_ids, ended);
    assert_eq!(fixture.count_unended().await, 1);
}

#[rstest]
#[tokio::test]
async fn a_begin_after_an_adoption_returns_the_adopted_stream(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let answer = fixture.sync("b1", &[with_key("a", &fixture.key)]).await;
    let (_, stream) = single_adoption(&answer);

    let begun = fixture.begin_stream("a").await;

    assert_eq!((&begun.id, begun.epoch), (&stream.id, 1));
    assert_eq!(
        state(&begun),
        (pb::StreamState::Live, pb::EndReason::Unspecified)
    );
}

#[rstest]
#[tokio::test]
async fn the_play_url_of_an_adopted_connection_is_stored_while_it_publishes(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let connection = pb::NodeConnection {
        play_url: "rtmp://10.0.0.5/live/x".to_owned(),
        ..with_key("a", &fixture.key)
    };
    let kept = "select count(*) from streams where play_url_sealed is not null";

    fixture.sync("b1", &[connection]).await;
    assert_eq!(fixture.server.database.number(kept).await, 1);

    fixture.sync("b1", &[]).await;
    assert_eq!(fixture.server.database.number(kept).await, 0);
}

use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::Code;

use super::fixture::{CONTINUE, Fixture, instruction, state, stop};
use super::node_reports::{single_adoption, with_stream_and_key};
use crate::harness::{Engine, MediaServer, Pooled, Postgres, Sqlite, refused};

const TAKEN_OVER: pb::EndReason = pb::EndReason::TakenOver;

impl Fixture {
    /// Checks that reports of another connection or epoch change nothing.
    async fn assert_fenced(&self, stream: &pb::Stream, other: pb::Publisher, epoch: i64) {
        let before = self.owner.stream(&stream.id).await;
        let project = self.project().await;
        let claimed = pb::Stream {
            epoch,
            ..stream.clone()
        };

        let answer = self.heartbeat_from(&claimed, other.clone(), None).await;
        assert_eq!(instruction(&answer), stop(TAKEN_OVER), "{other:?} {epoch}");
        assert_eq!(answer.stream.as_ref(), Some(&before));
        assert_eq!(self.end_from(&claimed, other).await, before);

        assert_eq!(self.owner.stream(&stream.id).await, before);
        assert_eq!(self.project().await, project);
    }
}

/// Predecessor's defect G4: nginx sends hooks of a refused publisher with the name of the accepted
/// stream, and its end ended that stream.
#[rstest]
#[tokio::test]
async fn a_refused_second_publisher_cannot_affect_the_first(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
    #[values(false, true)] window: bool,
) {
    let fixture = match window {
        true => Fixture::with_window(engine, &[]).await,
        false => Fixture::start(engine).await,
    };
    let winner = fixture.node.live(&fixture.key, "54").await;

    let refusal = refused(fixture.node.begin(&fixture.key, "55").await);
    assert_eq!(refusal.class(), (Code::AlreadyExists, "PUBLISH_CONFLICT"));
    let update = fixture.node.heartbeat(&winner, "55").await;
    let done = fixture.node.end(&winner, "55").await;

    assert_eq!(instruction(&update), stop(TAKEN_OVER));
    assert_eq!(update.stream, Some(winner.clone()));
    assert_eq!(done, winner);
    assert_eq!(fixture.owner.stream(&winner.id).await, winner);
    let next = fixture.node.heartbeat(&winner, "54").await;
    assert_eq!(instruction(&next), CONTINUE);
    let next = next.stream.unwrap();
    assert_eq!((next.state(), next.epoch), (pb::StreamState::Live, 1));
}

/// Predecessor's defect G4: reports were matched by the stream key alone.
#[rstest]
#[tokio::test]
async fn only_reports_of_the_publishing_connection_count(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
    #[values(false, true)] live: bool,
) {
    let fixture = Fixture::with_window(engine, &[]).await;
    let stream = match live {
        true => fixture.node.live(&fixture.key, "a").await,
        false => fixture.begin_stream("a").await,
    };
    let holder = || MediaServer::connection("a");

    let other_connection = MediaServer::connection("b");
    let other_case = MediaServer::connection("A");
    let other_node = pb::Publisher {
        node_id: "n2".to_owned(),
        ..holder()
    };
    let other_boot = pb::Publisher {
        boot_id: "b2".to_owned(),
        ..holder()
    };
    for other in [other_connection, other_case, other_node, other_boot] {
        fixture.assert_fenced(&stream, other, 1).await;
    }
    for epoch in [2, i64::MAX] {
        fixture.assert_fenced(&stream, holder(), epoch).await;
    }
    assert_eq!(
        instruction(&fixture.node.heartbeat(&stream, "a").await),
        CONTINUE
    );
}

#[rstest]
#[tokio::test]
async fn the_peer_address_is_not_part_of_a_connections_identity(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let stream = fixture.node.live(&fixture.key, "a").await;
    let elsewhere = pb::Publisher {
        peer_address: "198.51.100.7".to_owned(),
        protocol: pb::IngestProtocol::Srt.into(),
        ..MediaServer::connection("a")
    };

    let answer = fixture
        .heartbeat_from(&stream, elsewhere.clone(), None)
        .await;
    assert_eq!(instruction(&answer), CONTINUE);
    let ended = fixture.end_from(&stream, elsewhere).await;

    assert_eq!(ended.state(), pb::StreamState::Ended);
    assert_eq!(ended.publisher, stream.publisher);
}

#[rstest]
#[tokio::test]
async fn reports_of_an_older_epoch_change_nothing(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::with_window(engine, &[]).await;
    let first = fixture.node.live(&fixture.key, "a").await;
    fixture.node.end(&first, "a").await;
    let second = fixture.begin_stream("b").await;
    assert_eq!((&second.id, second.epoch), (&first.id, 2));

    fixture
        .assert_fenced(&second, MediaServer::connection("a"), 1)
        .await;
    fixture
        .assert_fenced(&second, MediaServer::connection("b"), 1)
        .await;
    fixture
        .assert_fenced(&second, MediaServer::connection("a"), 2)
        .await;

    assert_eq!(
        instruction(&fixture.node.heartbeat(&second, "b").await),
        CONTINUE
    );
}

#[rstest]
#[tokio::test]
async fn an_ended_connection_cannot_begin_again(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
    #[values(0, 60)] window_seconds: i64,
    #[values(false, true)] replaced: bool,
) {
    let fixture = Fixture::with_takeover(engine, window_seconds).await;
    let first = fixture.node.live(&fixture.key, "a").await;
    let ended = fixture.node.end(&first, "a").await;
    let now = match replaced {
        true => fixture.begin_live_stream("b").await,
        false => ended,
    };
    let before = fixture.project().await;

    let refusal = refused(fixture.node.begin(&fixture.key, "a").await);

    let over = (Code::FailedPrecondition, "CONNECTION_ENDED");
    assert_eq!(refusal.class(), over);
    assert_eq!(fixture.owner.stream(&now.id).await, now);
    assert_eq!(fixture.project().await, before);
    fixture.node.begin(&fixture.key, "c").await.unwrap();
}

/// The connection was missing from a report, and is adopted again.
#[rstest]
#[tokio::test]
async fn an_older_epoch_of_the_connection_itself_is_fenced(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::with_window(engine, &[]).await;
    let live = fixture.begin_live_stream("a").await;
    fixture.sync("b1", &[]).await;
    let answer = fixture
        .sync("b1", &[with_stream_and_key("a", &live, &fixture.key)])
        .await;
    let (_, back) = single_adoption(&answer);
    assert_eq!((&back.id, back.epoch), (&live.id, 2));

    fixture
        .assert_fenced(back, MediaServer::connection("a"), 1)
        .await;
}

#[rstest]
#[tokio::test]
async fn a_late_begin_of_a_replaced_connection_takes_nothing_over(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::with_takeover(engine, 0).await;
    fixture.node.live(&fixture.key, "loser").await;
    let winner = fixture.begin_live_stream("winner").await;

    let refusal = refused(fixture.node.begin(&fixture.key, "loser").await);

    let over = (Code::FailedPrecondition, "CONNECTION_ENDED");
    assert_eq!(refusal.class(), over);
    assert_eq!(fixture.owner.stream(&winner.id).await, winner);
}

#[rstest]
#[tokio::test]
async fn an_end_that_arrives_before_the_first_heartbeat_is_final(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let begun = fixture.begin_stream("a").await;

    let ended = fixture.node.end(&begun, "a").await;
    let late = fixture.node.heartbeat(&begun, "a").await;

    let over = (pb::StreamState::Ended, pb::EndReason::PublisherEnded);
    assert_eq!(state(&ended), over);
    assert_eq!(ended.live_time, None);
    assert_eq!(instruction(&late), stop(pb::EndReason::PublisherEnded));
    assert_eq!(late.stream, Some(ended.clone()));
    assert_eq!(fixture.owner.stream(&begun.id).await, ended);
}

#[rstest]
#[tokio::test]
async fn a_late_heartbeat_does_not_revive_an_ended_connection(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
    #[values(false, true)] live: bool,
) {
    let fixture = Fixture::with_window(engine, &[]).await;
    let stream = match live {
        true => fixture.node.live(&fixture.key, "a").await,
        false => fixture.begin_stream("a").await,
    };
    let waiting = fixture.node.end(&stream, "a").await;
    assert_eq!(waiting.state(), pb::StreamState::Reconnecting);

    let late = fixture.node.heartbeat(&stream, "a").await;

    assert_eq!(instruction(&late), stop(pb::EndReason::PublisherEnded));
    assert_eq!(late.stream, Some(waiting.clone()));
    assert_eq!(fixture.node.end(&stream, "a").await, waiting);
    assert_eq!(fixture.owner.stream(&stream.id).await, waiting);
}

#[rstest]
#[tokio::test]
async fn reports_of_an_unknown_stream_are_not_found(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let stream_id = "01890a5d-ac96-774b-bcce-b302099a8057";
    let heartbeat = pb::HeartbeatPublishRequest {
        stream_id: stream_id.to_owned(),
        epoch: 1,
        publisher: Some(MediaServer::connection("a")),
        stats: None,
    };
    let end = pb::EndPublishRequest {
        stream_id: stream_id.to_owned(),
        epoch: 1,
        publisher: Some(MediaServer::connection("a")),
    };

    let mut client = fixture.node.client.stream.clone();
    for refusal in [
        refused(client.heartbeat_publish(heartbeat).await),
        refused(client.end_publish(end).await),
    ] {
        assert_eq!(refusal.class(), (Code::NotFound, "RESOURCE_NOT_FOUND"));
        let resource = refusal.details.resource_info().unwrap();
        assert_eq!(resource.resource_type, "stream");
        assert_eq!(resource.resource_name, stream_id);
    }
}

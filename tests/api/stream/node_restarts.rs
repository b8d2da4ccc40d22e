//! Restarts of media servers, and the connections of their earlier boots.

use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::{Code, Response, Status};

use super::{
    fixture::{CONTINUE, Fixture, instruction, state, stop},
    node_reports::{begin_publish, publisher_of_boot},
};
use crate::harness::{Engine, Postgres, Sqlite, refused};

impl Fixture {
    async fn begin_from(
        &self,
        publisher: pb::Publisher,
    ) -> Result<Response<pb::BeginPublishResponse>, Status> {
        begin_publish(&self.node.client, &self.key, publisher, true).await
    }
}

/// Otherwise a publisher would be refused after a crash of its media server until the old
/// connection timed out.
#[rstest]
#[tokio::test]
async fn a_publisher_of_a_new_boot_replaces_a_connection_that_the_old_boot_never_ended(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::with_window_of(engine, 0).await;
    let old = fixture.begin_live_stream("a").await;

    let answer = fixture
        .begin_from(publisher_of_boot("b2", "a"))
        .await
        .unwrap();

    let new = answer.into_inner().stream.unwrap();
    assert_ne!(new.id, old.id);
    let ended = fixture.owner.stream(&old.id).await;
    let lost = (pb::StreamState::Ended, pb::EndReason::NodeLost);
    assert_eq!(state(&ended), lost);
    assert_eq!(ended.end_time, old.last_seen_time);
    let late = fixture.node.heartbeat(&old, "a").await;
    assert_eq!(instruction(&late), stop(pb::EndReason::NodeLost));
    assert_eq!(fixture.node.end(&old, "a").await, ended);
    assert_eq!(fixture.owner.stream(&new.id).await, new);
}

#[rstest]
#[tokio::test]
async fn within_the_reconnect_window_the_stream_continues_on_the_new_boot(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::with_window_of(engine, 60).await;
    let old = fixture.begin_live_stream("a").await;
    let before = fixture.project().await.revision;

    let answer = fixture
        .begin_from(publisher_of_boot("b2", "a"))
        .await
        .unwrap();

    let new = answer.into_inner().stream.unwrap();
    assert_eq!((&new.id, new.epoch), (&old.id, 2));
    assert_eq!(new.state(), pb::StreamState::Live);
    assert_eq!(
        fixture.project().await.revision,
        before + 2,
        "lost, and back"
    );
    let late = fixture.node.heartbeat(&old, "a").await;
    assert_eq!(instruction(&late), stop(pb::EndReason::TakenOver));
    fixture.node.end(&old, "a").await;
    assert_eq!(fixture.owner.stream(&new.id).await, new);
    let heartbeat = fixture
        .heartbeat_from(&new, publisher_of_boot("b2", "a"), None)
        .await;
    assert_eq!(instruction(&heartbeat), CONTINUE);
}

#[rstest]
#[tokio::test]
async fn a_superseded_boot_cannot_begin_a_publish(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(0, 60)] window_seconds: i64,
) {
    let fixture = Fixture::with_window_of(engine, window_seconds).await;
    fixture.begin_stream("a").await;
    let answer = fixture
        .begin_from(publisher_of_boot("b2", "a"))
        .await
        .unwrap();
    let new = answer.into_inner().stream.unwrap();
    let before = fixture.project().await;

    for connection in ["a", "z"] {
        let refusal = refused(fixture.node.begin(&fixture.key, connection).await);
        let superseded = (Code::FailedPrecondition, "NODE_SUPERSEDED");
        assert_eq!(refusal.class(), superseded);
    }

    assert_eq!(fixture.owner.stream(&new.id).await, new);
    assert_eq!(fixture.project().await, before);
}

#[rstest]
#[tokio::test]
async fn another_node_does_not_supersede_this_one(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::with_window_of(engine, 0).await;
    let live = fixture.begin_live_stream("a").await;

    let other = pb::Publisher {
        node_id: "n2".to_owned(),
        ..publisher_of_boot("b2", "a")
    };
    let refusal = refused(fixture.begin_from(other).await);

    assert_eq!(refusal.class(), (Code::AlreadyExists, "PUBLISH_CONFLICT"));
    assert_eq!(fixture.owner.stream(&live.id).await, live);
}

//! SyncNode: kicks and their reasons.

use rstest::rstest;
use sluice::proto::v1 as pb;

use super::{
    fixture::Fixture,
    node_reports::{
        kicks, minimal_connection, publisher_on_n2, with_key, with_stream, with_stream_and_key,
    },
};
use crate::{
    contract::dump::dump,
    harness::{Engine, Pooled, Postgres, Sqlite},
};

/// An action of an owner on a live project.
#[derive(Debug, Clone, Copy)]
enum Decision {
    Stop,
    Disable,
    Delete,
    Rotate,
}

const DECISIONS: [(Decision, pb::EndReason); 4] = [
    (Decision::Stop, pb::EndReason::StoppedByOwner),
    (Decision::Disable, pb::EndReason::ProjectDisabled),
    (Decision::Delete, pb::EndReason::ProjectDeleted),
    (Decision::Rotate, pb::EndReason::KeyRotated),
];

impl Fixture {
    async fn decide(&self, decision: Decision) {
        match decision {
            Decision::Stop => {
                let stream_id = self.project().await.live_stream_id;
                let stream = self.owner.stream(&stream_id).await;
                self.stop(&stream, 0).await;
            }
            Decision::Disable => self.set_disabled(true).await,
            Decision::Delete => self.delete().await,
            Decision::Rotate => {
                let request = pb::RotateStreamKeyRequest {
                    project_id: self.project_id.clone(),
                    grace: None,
                    ..Default::default()
                };
                let mut client = self.owner.client.project.clone();
                client.rotate_stream_key(request).await.unwrap();
            }
        }
    }
}

#[rstest]
#[tokio::test]
async fn a_report_does_not_undo_a_decision_of_the_owner(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(0, 1, 2, 3)] decision: usize,
) {
    let (decision, reason) = DECISIONS[decision];
    let fixture = Fixture::with_window(engine, &[]).await;
    let live = fixture.begin_live_stream("a").await;
    fixture.decide(decision).await;
    if matches!(decision, Decision::Disable) {
        fixture.set_disabled(false).await;
    }
    let before = dump(&fixture.server.database).await;

    // Also with a media server that does not know its stream.
    for connection in [
        with_stream_and_key("a", &live, &fixture.key),
        with_stream("a", &live),
        with_key("a", &fixture.key),
        minimal_connection("a"),
    ] {
        let answer = fixture.sync("b1", &[connection]).await;
        assert_eq!(kicks(&answer), [("a", reason)], "{decision:?}");
        assert_eq!(answer.adoptions, []);
    }
    let boot = |row: &String| !row.starts_with("node_boots: ");
    let after = dump(&fixture.server.database).await;
    let kept = |rows: Vec<String>| rows.into_iter().filter(boot).collect::<Vec<_>>();
    assert_eq!(kept(after), kept(before));
}

#[rstest]
#[tokio::test]
async fn a_connection_that_lost_a_takeover_is_kicked_as_taken_over(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
    #[values(0, 60)] window_seconds: i64,
) {
    let fixture = Fixture::with_takeover(engine, window_seconds).await;
    let old = fixture.begin_live_stream("a").await;
    let new = fixture.begin_live_from(publisher_on_n2("b")).await;

    for connection in [
        with_stream_and_key("a", &old, &fixture.key),
        with_stream("a", &old),
        with_key("a", &fixture.key),
    ] {
        let answer = fixture.sync("b1", &[connection]).await;
        assert_eq!(kicks(&answer), [("a", pb::EndReason::TakenOver)]);
    }
    assert_eq!(fixture.owner.stream(&new.id).await, new);
}

#[rstest]
#[tokio::test]
async fn a_connection_whose_stream_continues_elsewhere_is_kicked_as_taken_over(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::with_window(engine, &[]).await;
    let first = fixture.begin_live_stream("a").await;
    fixture.node.end(&first, "a").await;
    let second = fixture.begin_live_from(publisher_on_n2("b")).await;
    assert_eq!((&second.id, second.epoch), (&first.id, 2));

    for connection in [
        with_stream_and_key("a", &first, &fixture.key),
        with_stream("a", &first),
    ] {
        let answer = fixture.sync("b1", &[connection]).await;
        assert_eq!(kicks(&answer), [("a", pb::EndReason::TakenOver)]);
    }
    assert_eq!(fixture.owner.stream(&second.id).await, second);
}

#[rstest]
#[tokio::test]
async fn an_unknown_connection_is_kicked_for_the_reason_that_refuses_a_new_publisher(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let sync = async |connection: pb::NodeConnection| {
        let answer = fixture.sync("b1", &[connection]).await;
        assert_eq!(answer.adoptions, []);
        answer.kicks[0].reason()
    };

    let live = fixture.begin_live_from(publisher_on_n2("a")).await;
    let new_publisher = || with_key("b", &fixture.key);
    assert_eq!(sync(new_publisher()).await, pb::EndReason::TakenOver);

    fixture.stop(&live, 60).await;
    assert_eq!(sync(new_publisher()).await, pb::EndReason::StoppedByOwner);
    fixture.release_hold().await;

    fixture.set_disabled(true).await;
    assert_eq!(sync(new_publisher()).await, pb::EndReason::ProjectDisabled);
    fixture.set_disabled(false).await;

    let nobodys = with_key("b", "no key of any project");
    assert_eq!(sync(nobodys).await, pb::EndReason::KeyRotated);
    assert_eq!(
        sync(minimal_connection("b")).await,
        pb::EndReason::KeyRotated
    );
    assert_eq!(fixture.count_unended().await, 0);
}

#[rstest]
#[tokio::test]
async fn a_connection_without_key_is_kicked_with_the_end_reason_of_its_stream(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let live = fixture.begin_live_stream("a").await;
    fixture.node.end(&live, "a").await;

    for connection in [with_stream("a", &live), minimal_connection("a")] {
        let answer = fixture.sync("b1", &[connection]).await;
        assert_eq!(kicks(&answer), [("a", pb::EndReason::PublisherEnded)]);
    }
    assert_eq!(fixture.count_unended().await, 0);
}

//! SyncNode: connections that must not go on, and why.

use rstest::rstest;
use sluice::proto::v1 as pb;

use super::{
    node::{bare, elsewhere, holding, keyed, kicks, unknown},
    scene::{Scene, seconds},
};
use crate::{
    contract::dump::dump,
    harness::{Engine, Postgres, Sqlite},
};

/// What an owner does to a live project.
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

impl Scene {
    async fn decide(&self, decision: Decision) {
        let mut client = self.owner.client.project.clone();
        let project_id = self.project_id.clone();
        match decision {
            Decision::Stop => {
                let stream_id = self.project().await.live_stream_id;
                let stream = self.owner.stream(&stream_id).await;
                self.stop(&stream, 0).await;
            }
            Decision::Disable => self.disable(true).await,
            Decision::Delete => {
                let request = pb::DeleteProjectRequest {
                    project_id,
                    force: true,
                };
                client.delete_project(request).await.unwrap();
            }
            Decision::Rotate => {
                let request = pb::RotateStreamKeyRequest {
                    project_id,
                    grace: None,
                };
                client.rotate_stream_key(request).await.unwrap();
            }
        }
    }

    async fn disable(&self, disabled: bool) {
        let request = pb::UpdateProjectRequest {
            project_id: self.project_id.clone(),
            disabled: Some(disabled),
            ..Default::default()
        };
        let mut client = self.owner.client.project.clone();
        client.update_project(request).await.unwrap();
    }
}

#[rstest]
#[tokio::test]
async fn what_an_owner_decided_is_not_undone_by_a_report(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(0, 1, 2, 3)] decision: usize,
) {
    let (decision, reason) = DECISIONS[decision];
    let scene = Scene::with_window(engine, &[]).await;
    let live = scene.begun_live("a").await;
    scene.decide(decision).await;
    if matches!(decision, Decision::Disable) {
        scene.disable(false).await;
    }
    let before = dump(&scene.server.database).await;

    // Also of a media server that never learnt which stream it had.
    for connection in [
        keyed("a", &live, &scene.key),
        holding("a", &live),
        unknown("a", &scene.key),
        bare("a"),
    ] {
        let answer = scene.sync("b1", &[connection]).await;
        assert_eq!(kicks(&answer), [("a", reason)], "{decision:?}");
        assert_eq!(answer.adoptions, []);
    }
    let boot = |row: &String| !row.starts_with("node_boots: ");
    let after = dump(&scene.server.database).await;
    let kept = |rows: Vec<String>| rows.into_iter().filter(boot).collect::<Vec<_>>();
    assert_eq!(kept(after), kept(before));
}

#[rstest]
#[tokio::test]
async fn a_connection_that_lost_its_stream_is_told_that_it_was_taken_over(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(0, 60)] window_seconds: i64,
) {
    let request = pb::CreateProjectRequest {
        reconnect_window: Some(seconds(window_seconds)),
        publish_conflict_policy: pb::PublishConflictPolicy::Takeover.into(),
        ..Default::default()
    };
    let scene = Scene::of(engine, &[], request).await;
    let old = scene.begun_live("a").await;
    let new = scene.live_of(elsewhere("b")).await;

    for connection in [
        keyed("a", &old, &scene.key),
        holding("a", &old),
        unknown("a", &scene.key),
    ] {
        let answer = scene.sync("b1", &[connection]).await;
        assert_eq!(kicks(&answer), [("a", pb::EndReason::TakenOver)]);
    }
    assert_eq!(scene.owner.stream(&new.id).await, new);
}

#[rstest]
#[tokio::test]
async fn a_connection_whose_stream_goes_on_elsewhere_was_taken_over(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::with_window(engine, &[]).await;
    let first = scene.begun_live("a").await;
    scene.node.end(&first, "a").await;
    let second = scene.live_of(elsewhere("b")).await;
    assert_eq!((&second.id, second.epoch), (&first.id, 2));

    for connection in [keyed("a", &first, &scene.key), holding("a", &first)] {
        let answer = scene.sync("b1", &[connection]).await;
        assert_eq!(kicks(&answer), [("a", pb::EndReason::TakenOver)]);
    }
    assert_eq!(scene.owner.stream(&second.id).await, second);
}

#[rstest]
#[tokio::test]
async fn an_unknown_connection_meets_what_would_refuse_a_newcomer(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let sync = async |connection: pb::NodeConnection| {
        let answer = scene.sync("b1", &[connection]).await;
        assert_eq!(answer.adoptions, []);
        answer.kicks[0].reason()
    };

    let live = scene.live_of(elsewhere("a")).await;
    let newcomer = || unknown("b", &scene.key);
    assert_eq!(sync(newcomer()).await, pb::EndReason::TakenOver);

    scene.stop(&live, 60).await;
    assert_eq!(sync(newcomer()).await, pb::EndReason::StoppedByOwner);
    scene.release_hold().await;

    scene.disable(true).await;
    assert_eq!(sync(newcomer()).await, pb::EndReason::ProjectDisabled);
    scene.disable(false).await;

    let nobodys = unknown("b", "no key of any project");
    assert_eq!(sync(nobodys).await, pb::EndReason::KeyRotated);
    assert_eq!(sync(bare("b")).await, pb::EndReason::KeyRotated);
    assert_eq!(scene.unended().await, 0);
}

#[rstest]
#[tokio::test]
async fn a_connection_without_key_whose_stream_ended_is_told_why(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let live = scene.begun_live("a").await;
    scene.node.end(&live, "a").await;

    for connection in [holding("a", &live), bare("a")] {
        let answer = scene.sync("b1", &[connection]).await;
        assert_eq!(kicks(&answer), [("a", pb::EndReason::PublisherEnded)]);
    }
    assert_eq!(scene.unended().await, 0);
}

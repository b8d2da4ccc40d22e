//! What becomes of a stream that was begun with a stream key which is replaced.

use rstest::rstest;
use sluice::proto::v1 as pb;

use super::scene::{CONTINUE, Scene, state, stop, told};
use crate::harness::{Engine, Postgres, Sqlite};

/// So that the reaper judges soon.
const IMPATIENT: [&str; 2] = ["--heartbeat-interval=100ms", "--heartbeat-timeout=60s"];

impl Scene {
    async fn grace_is_over(&self) {
        for statement in [
            "update projects set previous_key_expire_time = '2020-01-01T00:00:00+00:00'",
            "update streams set key_expire_time = '2020-01-01T00:00:00+00:00'
             where key_expire_time is not null",
        ] {
            self.server.database.execute(statement).await;
        }
    }

    /// Lets the reaper judge as if it had heard for long.
    async fn judged(engine: Engine) -> Self {
        let flags = ["--heartbeat-interval=100ms", "--heartbeat-timeout=500ms"];
        Self::start_with(engine, &flags).await
    }
}

#[rstest]
#[tokio::test]
async fn a_stream_of_the_old_key_ends_when_its_grace_is_over(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(false, true)] begun_after: bool,
) {
    let scene = Scene::judged(engine).await;
    let live = match begun_after {
        true => {
            scene.rotate(3600).await;
            scene.begun_live("a").await
        }
        false => {
            let live = scene.begun_live("a").await;
            scene.rotate(3600).await;
            live
        }
    };
    let heartbeat = scene.node.heartbeat(&live, "a").await;
    assert_eq!(told(&heartbeat), CONTINUE, "while the grace lasts");

    scene.grace_is_over().await;

    let ended = scene.eventually(&live, pb::StreamStatus::Ended).await;
    let rotated = (pb::StreamStatus::Ended, pb::EndReason::KeyRotated);
    assert_eq!(state(&ended), rotated);
    let late = scene.node.heartbeat(&live, "a").await;
    assert_eq!(told(&late), stop(pb::EndReason::KeyRotated));
}

#[rstest]
#[tokio::test]
async fn a_stream_of_the_new_key_goes_on_when_the_grace_is_over(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start_with(engine, &IMPATIENT).await;
    let new_key = scene.rotate(3600).await;
    let live = scene.node.live(&new_key, "a").await;

    let query = "select count(*) from streams where key_expire_time is null";
    assert_eq!(scene.server.database.number(query).await, 1);
    scene.grace_is_over().await;
    let heartbeat = scene.node.heartbeat(&live, "a").await;
    assert_eq!(told(&heartbeat), CONTINUE);
}

#[rstest]
#[tokio::test]
async fn a_publisher_that_comes_back_with_the_new_key_keeps_the_stream(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::with_window(engine, &IMPATIENT).await;
    let live = scene.begun_live("a").await;
    let new_key = scene.rotate(3600).await;
    scene.node.end(&live, "a").await;

    let back = scene.node.live(&new_key, "b").await;

    assert_eq!((&back.id, back.epoch), (&live.id, 2));
    let query = "select count(*) from streams where key_expire_time is null";
    assert_eq!(scene.server.database.number(query).await, 1);
}

#[rstest]
#[tokio::test]
async fn a_second_rotation_leaves_an_older_key_no_more_time(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start_with(engine, &IMPATIENT).await;
    scene.begun_live("a").await;
    scene.rotate(60).await;
    scene.rotate(3600).await;

    let query = "select count(*) from streams s join projects p on p.id = s.project_id
                 where s.key_expire_time < p.previous_key_expire_time";
    assert_eq!(scene.server.database.number(query).await, 1);
}

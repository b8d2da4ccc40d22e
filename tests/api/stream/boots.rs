//! What a media server that has started anew means for the connections from before.

use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::{Code, Response, Status};

use super::scene::{CONTINUE, Scene, seconds, state, stop, told};
use crate::harness::{Engine, MediaServer, Postgres, Sqlite, refused};

fn of_boot(boot: &str, connection: &str) -> pb::Publisher {
    pb::Publisher {
        boot_id: boot.to_owned(),
        ..MediaServer::connection(connection)
    }
}

impl Scene {
    async fn begin_of(
        &self,
        publisher: pb::Publisher,
    ) -> Result<Response<pb::BeginPublishResponse>, Status> {
        let request = pb::BeginPublishRequest {
            stream_key: self.key.clone(),
            publisher: Some(publisher),
            media_flowing: true,
            play_url: String::new(),
        };
        self.node.client.stream.clone().begin_publish(request).await
    }
}

async fn scene_of(engine: Engine, window_seconds: i64) -> Scene {
    let request = pb::CreateProjectRequest {
        reconnect_window: Some(seconds(window_seconds)),
        ..Default::default()
    };
    Scene::of(engine, &[], request).await
}

/// Without this a crash of the media server kept its publisher away until the
/// heartbeats of the dead connection were missed.
#[rstest]
#[tokio::test]
async fn a_publisher_of_a_new_boot_is_let_in_though_the_old_one_never_said_goodbye(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = scene_of(engine, 0).await;
    let old = scene.begun_live("a").await;

    let answer = scene.begin_of(of_boot("b2", "a")).await.unwrap();

    let new = answer.into_inner().stream.unwrap();
    assert_ne!(new.id, old.id);
    let ended = scene.owner.stream(&old.id).await;
    let lost = (pb::StreamStatus::Ended, pb::EndReason::NodeLost);
    assert_eq!(state(&ended), lost);
    assert_eq!(ended.end_time, old.last_seen_time);
    let late = scene.node.heartbeat(&old, "a").await;
    assert_eq!(told(&late), stop(pb::EndReason::NodeLost));
    assert_eq!(scene.node.end(&old, "a").await, ended);
    assert_eq!(scene.owner.stream(&new.id).await, new);
}

#[rstest]
#[tokio::test]
async fn with_a_window_the_stream_goes_on_at_the_new_boot(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = scene_of(engine, 60).await;
    let old = scene.begun_live("a").await;
    let before = scene.project().await.revision;

    let answer = scene.begin_of(of_boot("b2", "a")).await.unwrap();

    let new = answer.into_inner().stream.unwrap();
    assert_eq!((&new.id, new.epoch), (&old.id, 2));
    assert_eq!(new.status(), pb::StreamStatus::Live);
    assert_eq!(scene.project().await.revision, before + 2, "lost, and back");
    let late = scene.node.heartbeat(&old, "a").await;
    assert_eq!(told(&late), stop(pb::EndReason::TakenOver));
    scene.node.end(&old, "a").await;
    assert_eq!(scene.owner.stream(&new.id).await, new);
    let heartbeat = scene.heartbeat_of(&new, of_boot("b2", "a"), None).await;
    assert_eq!(told(&heartbeat), CONTINUE);
}

#[rstest]
#[tokio::test]
async fn a_boot_that_another_one_has_followed_begins_nothing(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(0, 60)] window_seconds: i64,
) {
    let scene = scene_of(engine, window_seconds).await;
    scene.begun("a").await;
    let answer = scene.begin_of(of_boot("b2", "a")).await.unwrap();
    let new = answer.into_inner().stream.unwrap();
    let before = scene.project().await;

    for connection in ["a", "z"] {
        let refusal = refused(scene.node.begin(&scene.key, connection).await);
        let superseded = (Code::FailedPrecondition, "NODE_SUPERSEDED");
        assert_eq!(refusal.class(), superseded);
    }

    assert_eq!(scene.owner.stream(&new.id).await, new);
    assert_eq!(scene.project().await, before);
}

#[rstest]
#[tokio::test]
async fn another_node_is_not_a_boot_of_this_one(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = scene_of(engine, 0).await;
    let live = scene.begun_live("a").await;

    let other = pb::Publisher {
        node_id: "n2".to_owned(),
        ..of_boot("b2", "a")
    };
    let refusal = refused(scene.begin_of(other).await);

    assert_eq!(refusal.class(), (Code::AlreadyExists, "PUBLISH_CONFLICT"));
    assert_eq!(scene.owner.stream(&live.id).await, live);
}

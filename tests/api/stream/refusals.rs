use rstest::rstest;
use tonic::Code;

use super::scene::Scene;
use crate::harness::{Engine, Postgres, Refusal, Sqlite, refused};

const HELD: (Code, &str) = (Code::FailedPrecondition, "PUBLISH_HELD");

impl Scene {
    async fn refusal(&self, key: &str, connection: &str) -> Refusal {
        refused(self.node.begin(key, connection).await)
    }
}

/// Predecessor's defect G1: whoever reached the API could probe keys.
#[rstest]
#[tokio::test]
async fn an_unknown_key_tells_nothing(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let old = scene.key.clone();
    let current = scene.rotate(0).await;
    let upper = current.to_uppercase();
    let padded = format!("{current} ");
    let start = &current[..current.len() - 1];

    let unknown = scene.refusal("sk_unknown", "a").await;

    assert_eq!(
        unknown.class(),
        (Code::PermissionDenied, "STREAM_KEY_INVALID")
    );
    assert!(unknown.details.error_info().unwrap().metadata.is_empty());
    for key in [&*old, &*upper, &*padded, start, "'", "\0", &"k".repeat(255)] {
        let refusal = scene.refusal(key, "a").await;
        assert_eq!(format!("{refusal:?}"), format!("{unknown:?}"), "{key}");
    }
    scene.node.begin(&current, "a").await.unwrap();
    let while_live = scene.refusal(&old, "b").await;
    assert_eq!(format!("{while_live:?}"), format!("{unknown:?}"));
    scene.delete().await;
    let deleted = scene.refusal(&current, "b").await;
    assert_eq!(format!("{deleted:?}"), format!("{unknown:?}"));
}

#[rstest]
#[tokio::test]
async fn a_replaced_key_works_until_its_grace_is_over(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let current = scene.rotate(3600).await;

    let stream = scene.begun("a").await;
    scene.node.end(&stream, "a").await;
    let move_time = "update projects set previous_key_expire_time = '2020-01-01T00:00:00+00:00'";
    scene.server.database.execute(move_time).await;

    assert_eq!(
        scene.refusal(&scene.key, "a").await.class(),
        (Code::PermissionDenied, "STREAM_KEY_INVALID")
    );
    scene.node.begin(&current, "b").await.unwrap();
}

#[rstest]
#[tokio::test]
async fn a_disabled_project_refuses_publishers(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    scene.set_disabled(true).await;
    let before = scene.project().await;

    let refusal = scene.refusal(&scene.key, "a").await;

    let disabled = (Code::FailedPrecondition, "PROJECT_DISABLED");
    assert_eq!(refusal.class(), disabled);
    assert_eq!(scene.project().await, before);
    assert_eq!(scene.unended().await, 0);
    scene.set_disabled(false).await;
    scene.begun("a").await;
}

#[rstest]
#[tokio::test]
async fn a_hold_refuses_publishers_until_it_is_over(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::with_window(engine, &[]).await;
    let first = scene.node.live(&scene.key, "a").await;
    scene.stop(&first, 3600).await;
    let before = scene.project().await;

    for connection in ["a", "b"] {
        let refusal = scene.refusal(&scene.key, connection).await;
        assert_eq!(refusal.class(), HELD);
    }

    assert_eq!(scene.project().await, before);
    assert_eq!(scene.unended().await, 0);
    scene.release_hold().await;
    let second = scene.begun("b").await;
    assert_ne!(second.id, first.id);
    assert_eq!(second.epoch, 1);
}

/// A media server that lost the answer asks again.
#[rstest]
#[tokio::test]
async fn a_hold_does_not_refuse_who_was_accepted(#[values(Sqlite, Postgres)] engine: Engine) {
    let scene = Scene::start(engine).await;
    let first = scene.node.live(&scene.key, "a").await;
    scene.node.end(&first, "a").await;
    let second = scene.node.live(&scene.key, "b").await;
    scene.stop(&first, 3600).await;

    let again = scene.begun("b").await;

    assert_eq!((&again.id, again.epoch), (&second.id, 1));
    assert_eq!(scene.refusal(&scene.key, "c").await.class(), HELD);
}

#[rstest]
#[tokio::test]
async fn a_second_publisher_is_refused(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(true, false)] live: bool,
) {
    let scene = Scene::start(engine).await;
    let stream = match live {
        true => scene.node.live(&scene.key, "a").await,
        false => scene.begun("a").await,
    };
    let before = scene.project().await;

    let refusal = scene.refusal(&scene.key, "b").await;

    assert_eq!(refusal.class(), (Code::AlreadyExists, "PUBLISH_CONFLICT"));
    assert!(!format!("{refusal:?}").contains(&stream.id));
    assert_eq!(scene.project().await, before);
    assert_eq!(scene.owner.stream(&stream.id).await, stream);
    assert_eq!(scene.unended().await, 1);
}

/// What the owner has forbidden comes before what other publishers do.
#[rstest]
#[tokio::test]
async fn a_disabled_project_that_is_held_says_that_it_is_disabled(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let scene = Scene::start(engine).await;
    let stream = scene.begun("a").await;
    scene.stop(&stream, 3600).await;
    scene.set_disabled(true).await;

    let refusal = scene.refusal(&scene.key, "a").await;

    assert_eq!(refusal.reason, "PROJECT_DISABLED");
    scene.set_disabled(false).await;
    assert_eq!(scene.refusal(&scene.key, "a").await.class(), HELD);
}

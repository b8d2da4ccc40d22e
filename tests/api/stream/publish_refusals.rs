use rstest::rstest;
use tonic::Code;

use super::fixture::Fixture;
use crate::harness::{Engine, Postgres, Refusal, Sqlite, refused};

const HELD: (Code, &str) = (Code::FailedPrecondition, "PUBLISH_HELD");

impl Fixture {
    async fn refusal(&self, key: &str, connection: &str) -> Refusal {
        refused(self.node.begin(key, connection).await)
    }
}

/// Predecessor's defect G1: everyone who could reach the API could probe keys.
#[rstest]
#[tokio::test]
async fn all_invalid_keys_get_the_same_refusal(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    let old = fixture.key.clone();
    let current = fixture.rotate(0).await;
    let upper = current.to_uppercase();
    let broken = current.replacen('_', "_ ", 1);
    let start = &current[..current.len() - 1];

    let unknown = fixture.refusal("sk_unknown", "a").await;

    assert_eq!(
        unknown.class(),
        (Code::PermissionDenied, "STREAM_KEY_INVALID")
    );
    assert!(unknown.details.error_info().unwrap().metadata.is_empty());
    for key in [
        &*old,
        &*upper,
        &*broken,
        start,
        "'",
        "k\0k",
        &"k".repeat(255),
    ] {
        let refusal = fixture.refusal(key, "a").await;
        assert_eq!(format!("{refusal:?}"), format!("{unknown:?}"), "{key}");
    }
    fixture.node.begin(&current, "a").await.unwrap();
    let while_live = fixture.refusal(&old, "b").await;
    assert_eq!(format!("{while_live:?}"), format!("{unknown:?}"));
    fixture.delete().await;
    let deleted = fixture.refusal(&current, "b").await;
    assert_eq!(format!("{deleted:?}"), format!("{unknown:?}"));
}

#[rstest]
#[tokio::test]
async fn a_rotated_key_works_until_its_grace_period_ends(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let current = fixture.rotate(3600).await;

    let stream = fixture.begin_stream("a").await;
    fixture.node.end(&stream, "a").await;
    let move_time = "update projects set previous_key_expire_time = '2020-01-01T00:00:00+00:00'";
    fixture.server.database.execute(move_time).await;

    assert_eq!(
        fixture.refusal(&fixture.key, "a").await.class(),
        (Code::PermissionDenied, "STREAM_KEY_INVALID")
    );
    fixture.node.begin(&current, "b").await.unwrap();
}

#[rstest]
#[tokio::test]
async fn a_disabled_project_refuses_publishers(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::start(engine).await;
    fixture.set_disabled(true).await;
    let before = fixture.project().await;

    let refusal = fixture.refusal(&fixture.key, "a").await;

    let disabled = (Code::FailedPrecondition, "PROJECT_DISABLED");
    assert_eq!(refusal.class(), disabled);
    assert_eq!(fixture.project().await, before);
    assert_eq!(fixture.count_unended().await, 0);
    fixture.set_disabled(false).await;
    fixture.begin_stream("a").await;
}

#[rstest]
#[tokio::test]
async fn a_hold_refuses_publishers_until_it_is_over(#[values(Sqlite, Postgres)] engine: Engine) {
    let fixture = Fixture::with_window(engine, &[]).await;
    let first = fixture.node.live(&fixture.key, "a").await;
    fixture.stop(&first, 3600).await;
    let before = fixture.project().await;

    for connection in ["a", "b"] {
        let refusal = fixture.refusal(&fixture.key, connection).await;
        assert_eq!(refusal.class(), HELD);
    }

    assert_eq!(fixture.project().await, before);
    assert_eq!(fixture.count_unended().await, 0);
    fixture.release_hold().await;
    let second = fixture.begin_stream("b").await;
    assert_ne!(second.id, first.id);
    assert_eq!(second.epoch, 1);
}

/// A media server that lost the response retries.
#[rstest]
#[tokio::test]
async fn a_hold_does_not_refuse_a_repeated_begin_of_an_accepted_connection(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let first = fixture.node.live(&fixture.key, "a").await;
    fixture.node.end(&first, "a").await;
    let second = fixture.node.live(&fixture.key, "b").await;
    fixture.stop(&first, 3600).await;

    let again = fixture.begin_stream("b").await;

    assert_eq!((&again.id, again.epoch), (&second.id, 1));
    assert_eq!(fixture.refusal(&fixture.key, "c").await.class(), HELD);
}

#[rstest]
#[tokio::test]
async fn a_second_publisher_is_refused(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(true, false)] live: bool,
) {
    let fixture = Fixture::start(engine).await;
    let stream = match live {
        true => fixture.node.live(&fixture.key, "a").await,
        false => fixture.begin_stream("a").await,
    };
    let before = fixture.project().await;

    let refusal = fixture.refusal(&fixture.key, "b").await;

    assert_eq!(refusal.class(), (Code::AlreadyExists, "PUBLISH_CONFLICT"));
    assert!(!format!("{refusal:?}").contains(&stream.id));
    assert_eq!(fixture.project().await, before);
    assert_eq!(fixture.owner.stream(&stream.id).await, stream);
    assert_eq!(fixture.count_unended().await, 1);
}

/// A disabled project takes precedence over a hold.
#[rstest]
#[tokio::test]
async fn a_disabled_project_with_a_hold_refuses_as_disabled(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let stream = fixture.begin_stream("a").await;
    fixture.stop(&stream, 3600).await;
    fixture.set_disabled(true).await;

    let refusal = fixture.refusal(&fixture.key, "a").await;

    assert_eq!(refusal.reason, "PROJECT_DISABLED");
    fixture.set_disabled(false).await;
    assert_eq!(fixture.refusal(&fixture.key, "a").await.class(), HELD);
}

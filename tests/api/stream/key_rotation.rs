//! Streams that were begun with a rotated stream key.

use rstest::rstest;
use sluice::proto::v1 as pb;
use sqlx::Connection;
use sqlx_postgres::PgConnection;
use tonic::Code;

use super::fixture::{CONTINUE, Fixture, instruction, state, stop};
use crate::harness::{Engine, MediaServer, Postgres, Sqlite, eventually, refused};

/// The reaper runs often.
const FAST_REAPER: [&str; 2] = ["--heartbeat-interval=100ms", "--heartbeat-timeout=60s"];

impl Fixture {
    async fn expire_grace_period(&self) {
        for statement in [
            "update projects set previous_key_expire_time = '2020-01-01T00:00:00+00:00'",
            "update streams set key_expire_time = '2020-01-01T00:00:00+00:00'
             where key_expire_time is not null",
        ] {
            self.server.database.execute(statement).await;
        }
    }

    /// The startup quiet period of the reaper is short, too.
    async fn with_short_timeouts(engine: Engine) -> Self {
        let flags = ["--heartbeat-interval=100ms", "--heartbeat-timeout=500ms"];
        Self::start_with(engine, &flags).await
    }
}

#[rstest]
#[tokio::test]
async fn a_stream_of_the_old_key_ends_with_the_grace_period(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(false, true)] begun_after: bool,
) {
    let fixture = Fixture::with_short_timeouts(engine).await;
    let live = match begun_after {
        true => {
            fixture.rotate(3600).await;
            fixture.begin_live_stream("a").await
        }
        false => {
            let live = fixture.begin_live_stream("a").await;
            fixture.rotate(3600).await;
            live
        }
    };
    let heartbeat = fixture.node.heartbeat(&live, "a").await;
    assert_eq!(instruction(&heartbeat), CONTINUE, "while the grace lasts");

    fixture.expire_grace_period().await;

    let ended = fixture.wait_for_state(&live, pb::StreamState::Ended).await;
    let rotated = (pb::StreamState::Ended, pb::EndReason::KeyRotated);
    assert_eq!(state(&ended), rotated);
    let late = fixture.node.heartbeat(&live, "a").await;
    assert_eq!(instruction(&late), stop(pb::EndReason::KeyRotated));
}

#[rstest]
#[tokio::test]
async fn a_stream_of_the_new_key_continues_after_the_grace_period(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start_with(engine, &FAST_REAPER).await;
    let new_key = fixture.rotate(3600).await;
    let live = fixture.node.live(&new_key, "a").await;

    let query = "select count(*) from streams where key_expire_time is null";
    assert_eq!(fixture.server.database.number(query).await, 1);
    fixture.expire_grace_period().await;
    let heartbeat = fixture.node.heartbeat(&live, "a").await;
    assert_eq!(instruction(&heartbeat), CONTINUE);
}

#[rstest]
#[tokio::test]
async fn a_publisher_that_reconnects_with_the_new_key_keeps_the_stream(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::with_window(engine, &FAST_REAPER).await;
    let live = fixture.begin_live_stream("a").await;
    let new_key = fixture.rotate(3600).await;
    fixture.node.end(&live, "a").await;

    let back = fixture.node.live(&new_key, "b").await;

    assert_eq!((&back.id, back.epoch), (&live.id, 2));
    let query = "select count(*) from streams where key_expire_time is null";
    assert_eq!(fixture.server.database.number(query).await, 1);
}

#[rstest]
#[tokio::test]
async fn a_second_rotation_does_not_extend_the_grace_period_of_an_older_key(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start_with(engine, &FAST_REAPER).await;
    fixture.begin_live_stream("a").await;
    fixture.rotate(60).await;
    fixture.rotate(3600).await;

    let query = "select count(*) from streams s join projects p on p.id = s.project_id
                 where s.key_expire_time < p.previous_key_expire_time";
    assert_eq!(fixture.server.database.number(query).await, 1);
}

/// Silence is judged only five minutes after the start of this server.
#[rstest]
#[tokio::test]
async fn a_grace_period_that_ends_soon_after_a_start_ends_its_streams(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let live = fixture.begin_live_stream("a").await;
    fixture.rotate(3600).await;

    fixture.expire_grace_period().await;

    let ended = fixture.wait_for_state(&live, pb::StreamState::Ended).await;
    assert_eq!(ended.end_reason(), pb::EndReason::KeyRotated);
}

/// The call has been received before the key is replaced, but waits for the boots of media
/// servers before it locks the project.
#[rstest]
#[tokio::test]
async fn a_begin_that_is_decided_after_its_key_became_invalid_is_refused(
    #[values(0, 1)] grace_seconds: i64,
) {
    let fixture = Fixture::start_with(Postgres, &["--db-timeout=1min"]).await;
    let database = &fixture.server.database;
    let mut boots = PgConnection::connect(&database.url).await.unwrap();
    let lock = sqlx::raw_sql("begin; lock table node_boots in exclusive mode");
    lock.execute(&mut boots).await.unwrap();
    let media_server = MediaServer {
        client: fixture.node.client.clone(),
    };
    let old_key = fixture.key.clone();
    let begin = tokio::spawn(async move { media_server.begin(&old_key, "late").await });
    let has = async |rows: &'static str| {
        let count = format!("select count(*) from {rows}");
        eventually("the database has such a row", async || {
            (database.number(&count).await > 0).then_some(())
        })
        .await;
    };
    has("pg_locks where not granted and relation = 'node_boots'::regclass").await;

    fixture.rotate(grace_seconds).await;
    has("projects where coalesce(previous_key_expire_time < clock_timestamp(), true)").await;
    boots.close().await.unwrap();

    let refusal = refused(begin.await.unwrap());
    let class = (Code::PermissionDenied, "STREAM_KEY_INVALID");
    assert_eq!(refusal.class(), class);
    assert_eq!(fixture.count_unended().await, 0);
}

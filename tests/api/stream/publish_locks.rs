//! Publishes that meet a lock of their project: they wait, and decide on what they find then.

use rstest::rstest;
use sluice::proto::v1 as pb;
use sqlx::{AssertSqlSafe, Connection};
use sqlx_postgres::PgConnection;
use tonic::Code;

use super::fixture::{Fixture, state};
use crate::harness::{MediaServer, Postgres, eventually, refused};

/// No statement and no call gives up while it waits for the lock.
const PATIENT: [&str; 2] = ["--db-timeout=2min", "--call-timeout=2min"];

/// A transaction that has locked all projects.
struct Lock(PgConnection);

impl Lock {
    async fn take(fixture: &Fixture) -> Self {
        let url = &fixture.server.database.url;
        let mut connection = PgConnection::connect(url).await.unwrap();
        let lock = sqlx::raw_sql("begin; select id from projects for update");
        lock.execute(&mut connection).await.unwrap();
        Self(connection)
    }

    /// Waits until a statement waits for the lock, runs another one, and commits.
    async fn release_with(mut self, fixture: &Fixture, sql: &str) {
        eventually("a call waits for the lock", async || {
            let waiting = "select count(*) from pg_stat_activity
                           where datname = current_database() and wait_event_type = 'Lock'";
            (fixture.server.database.number(waiting).await > 0).then_some(())
        })
        .await;
        let released = sqlx::raw_sql(AssertSqlSafe(format!("{sql}; commit")));
        released.execute(&mut self.0).await.unwrap();
    }
}

fn begin_request(fixture: &Fixture, connection: &str) -> pb::BeginPublishRequest {
    pb::BeginPublishRequest {
        stream_key: fixture.key.clone(),
        publisher: Some(MediaServer::connection(connection)),
        media_flowing: true,
        play_url: String::new(),
    }
}

#[rstest]
#[case(
    "update projects set disabled = true",
    Code::FailedPrecondition,
    "PROJECT_DISABLED"
)]
#[case(
    "update projects set delete_time = now()",
    Code::PermissionDenied,
    "STREAM_KEY_INVALID"
)]
#[case(
    "insert into node_boots values ('n1', 'b9', now() + interval '1 hour')",
    Code::FailedPrecondition,
    "NODE_SUPERSEDED"
)]
#[tokio::test]
async fn a_begin_that_waits_for_its_project_decides_on_what_has_changed_meanwhile(
    #[case] change: &str,
    #[case] code: Code,
    #[case] reason: &str,
) {
    let fixture = Fixture::start_with(Postgres, &PATIENT).await;
    fixture.node.live(&fixture.key, "before").await;
    fixture.sync("b1", &[]).await;
    let lock = Lock::take(&fixture).await;
    let mut client = fixture.node.client.stream.clone();
    let request = begin_request(&fixture, "a");
    let begun = tokio::spawn(async move { client.begin_publish(request).await });

    lock.release_with(&fixture, change).await;

    let refusal = refused(begun.await.unwrap());
    assert_eq!(refusal.class(), (code, reason));
    assert_eq!(fixture.count_unended().await, 0);
}

#[tokio::test]
async fn a_begin_that_waited_has_its_whole_time_to_connect() {
    let fixture = Fixture::start_with(Postgres, &PATIENT).await;
    let lock = Lock::take(&fixture).await;
    let mut client = fixture.node.client.stream.clone();
    let request = pb::BeginPublishRequest {
        media_flowing: false,
        ..begin_request(&fixture, "a")
    };
    let begun = tokio::spawn(async move { client.begin_publish(request).await });

    let changed = "select pg_sleep(1);
                   create table released as
                   select clock_timestamp() - interval '500 milliseconds' as at";
    lock.release_with(&fixture, changed).await;

    let stream = begun.await.unwrap().unwrap().into_inner().stream.unwrap();
    let id = &stream.id;
    let after =
        format!("select count(*) from streams, released where id = '{id}' and create_time > at");
    assert_eq!(fixture.server.database.number(&after).await, 1);
    fixture.server.database.execute("drop table released").await;
}

#[tokio::test]
async fn an_end_that_waits_for_its_project_ends_the_stream() {
    let fixture = Fixture::start_with(Postgres, &PATIENT).await;
    let live = fixture.begin_live_stream("a").await;
    let lock = Lock::take(&fixture).await;
    let mut client = fixture.node.client.stream.clone();
    let request = pb::EndPublishRequest {
        stream_id: live.id.clone(),
        epoch: live.epoch,
        publisher: Some(MediaServer::connection("a")),
    };
    let ended = tokio::spawn(async move { client.end_publish(request).await });

    lock.release_with(&fixture, "select 1").await;

    let ended = ended.await.unwrap().unwrap().into_inner().stream.unwrap();
    let over = (pb::StreamState::Ended, pb::EndReason::PublisherEnded);
    assert_eq!(state(&ended), over);
    assert_eq!(fixture.owner.stream(&live.id).await, ended);
}

#[tokio::test]
async fn a_first_heartbeat_that_waits_for_its_project_makes_the_stream_live() {
    let fixture = Fixture::start_with(Postgres, &PATIENT).await;
    let begun = fixture.begin_stream("a").await;
    let lock = Lock::take(&fixture).await;
    let mut client = fixture.node.client.stream.clone();
    let request = pb::HeartbeatPublishRequest {
        stream_id: begun.id.clone(),
        epoch: begun.epoch,
        publisher: Some(MediaServer::connection("a")),
        stats: None,
    };
    let beat = tokio::spawn(async move { client.heartbeat_publish(request).await });

    lock.release_with(&fixture, "select 1").await;

    let live = beat.await.unwrap().unwrap().into_inner().stream.unwrap();
    assert_eq!(live.state(), pb::StreamState::Live);
    assert_eq!(fixture.owner.stream(&live.id).await, live);
}

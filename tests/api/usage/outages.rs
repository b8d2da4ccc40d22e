use rstest::rstest;

use super::fixture::{FLAGS, total, wait_for_delivered};
use crate::{
    harness::{Client, Engine, Postgres, Sqlite, TestServer},
    relay::fixture::{Fixture, broadcasting_report},
};

#[rstest]
#[tokio::test]
async fn usage_of_the_time_in_which_no_server_ran_is_recorded_later(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    // This server does not record before it stops.
    let fixture = Fixture::start(engine).await;
    let (stream, _, worker, assignment) = fixture.claimed_relay().await;
    worker
        .expect_accepted(broadcasting_report(&assignment, 1000))
        .await;
    assert_eq!(total(&fixture.owner.client).await.bytes_delivered, 0);
    fixture.node.end(&stream, "c1").await;
    let token = fixture.owner.tokens.access_token.clone();
    let database = fixture.server.stop().await;

    let server = TestServer::start_on(database, &FLAGS).await;

    let owner = Client::with_token(&server.channel, &token);
    wait_for_delivered(&owner, 1000).await;
    let time = total(&owner).await.stream_time.unwrap();
    assert!((time.seconds, time.nanos) > (0, 0), "{time:?}");
}

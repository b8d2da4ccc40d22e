use std::time::Duration;

use tokio::time::sleep;

use super::{
    endpoint::Endpoint,
    fixture::{create, rename, wait_for_delivery},
};
use crate::harness::{Postgres, Proxy, TestDatabase, TestServer};

/// The statements of the server in some seconds.
async fn statements(proxy: &Proxy) -> usize {
    let before = proxy.round_trips();
    sleep(Duration::from_secs(5)).await;
    proxy.round_trips() - before
}

/// With or without webhooks, a poll is one statement.
#[tokio::test]
async fn while_nothing_waits_there_is_one_statement_for_each_poll() {
    let database = TestDatabase::create(Postgres).await.direct();
    let (database, proxy) = Proxy::to_database(database).await;
    let flags = [
        "--allow-private-webhooks=true",
        "--watch-poll-interval=20ms",
    ];
    let server = TestServer::start_on(database, &flags).await;
    let user = server.user().await;
    let (project, _) = user.project().await;
    let without = statements(&proxy).await;

    let endpoint = Endpoint::start().await;
    let webhook = create(&user, &endpoint).await;
    rename(&user, &project.id, "Renamed").await;
    wait_for_delivery(&user, &webhook, |_| true).await;
    let with = statements(&proxy).await;

    // Another one for each poll would be 250.
    assert!(
        with < without + without / 2 + 50,
        "{without} without, {with} with"
    );
}

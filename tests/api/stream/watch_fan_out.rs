use std::time::Duration;

use rstest::rstest;
use tokio::time::sleep;
use tonic::transport::Endpoint;

use super::changes::{next_project_updated, rename};
use crate::harness::{Client, Engine, Postgres, Proxy, Sqlite, TestDatabase, TestServer, Watcher};

/// Watches of one connection.
const EACH: usize = 100;

const PROJECTS: usize = 10;

#[rstest]
#[tokio::test]
async fn a_thousand_watchers_of_one_replica_all_get_every_event(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let flags = ["--max-user-watches=1000", "--max-connection-calls=1001"];
    let server = TestServer::start_with(engine, &flags).await;
    let owner = server.user().await;
    let mut projects = Vec::new();
    for _ in 0..PROJECTS {
        projects.push(owner.project().await.0);
    }
    let address = format!("http://{}", server.address);
    let mut watchers = Vec::new();
    for _ in 0..10 {
        let endpoint = Endpoint::from_shared(address.clone()).unwrap();
        let channel = endpoint.connect().await.unwrap();
        let client = Client::with_token(&channel, &owner.tokens.access_token);
        for number in 0..EACH {
            let project = &projects[number % PROJECTS];
            watchers.push(Watcher::start_synced(&client, &project.id).await.1);
        }
    }
    assert_eq!(watchers.len(), 1000);

    for number in 0..5 {
        for project in &projects {
            rename(&owner.client, &project.id, &format!("Name {number}")).await;
        }
    }

    for (at, watcher) in watchers.iter_mut().enumerate() {
        for number in 0..5 {
            let project = next_project_updated(watcher).await;
            let expected = (&projects[at % PROJECTS].id, format!("Name {number}"));
            assert_eq!((&project.id, project.display_name), expected);
        }
    }
}

/// The statements of the server in some seconds.
async fn statements(proxy: &Proxy) -> usize {
    let before = proxy.round_trips();
    sleep(Duration::from_secs(5)).await;
    proxy.round_trips() - before
}

#[tokio::test]
async fn the_number_of_statements_does_not_grow_with_the_number_of_watches() {
    let database = TestDatabase::create(Postgres).await.direct();
    let (database, proxy) = Proxy::to_database(database).await;
    let server = TestServer::start_on(database, &["--reap-interval=1s"]).await;
    let owner = server.user().await;
    let mut watchers = Vec::new();
    for _ in 0..2 {
        let (project, _) = owner.project().await;
        watchers.push(Watcher::start_synced(&owner.client, &project.id).await.1);
    }
    let few = statements(&proxy).await;

    while watchers.len() < 100 {
        let (project, _) = owner.project().await;
        for _ in 0..5 {
            watchers.push(Watcher::start_synced(&owner.client, &project.id).await.1);
        }
    }
    let many = statements(&proxy).await;

    // One for each watch and second would be 500, one for each project 100.
    assert!(many < few + few / 2 + 50, "{few} with 2, {many} with 100");
}

use std::time::{Duration, Instant};

use rstest::rstest;
use sluice::proto::v1::{
    self as pb, OrganizationRole as Role, watch_projects_response::Event as Kind,
};
use tonic::{Code, Status, Streaming};

use super::fixture::{create, create_project, join, refused, remove, transfer, verified_user};
use crate::harness::{Client, Engine, Postgres, Sqlite, TestServer};

/// The longest time that a watch may go on after the membership has ended.
const MAX_DELAY: Duration = Duration::from_secs(5);

type Watch = Streaming<pb::WatchProjectsResponse>;

/// Watches a project, or all of an organization.
pub async fn watch(client: &Client, organization_id: &str, project: Option<&pb::Project>) -> Watch {
    let projects = project.map(|project| pb::WatchedProject {
        project_id: project.id.clone(),
        after_revision: 0,
    });
    let request = pb::WatchProjectsRequest {
        projects: projects.into_iter().collect(),
        organization_id: organization_id.to_owned(),
        ..Default::default()
    };
    let watch = client.stream.clone().watch_projects(request).await;
    watch.unwrap().into_inner()
}

/// Reads until an event of a kind; returns its project.
async fn read_until(watch: &mut Watch, is_wanted: impl Fn(&Kind) -> bool) -> String {
    loop {
        let message = watch.message().await.unwrap().unwrap();
        if message.event.as_ref().is_some_and(&is_wanted) {
            return message.project_id;
        }
    }
}

/// Reads until a watch ends; returns why.
pub async fn read_to_end(mut watch: Watch) -> Status {
    loop {
        if let Err(status) = watch.message().await {
            return status;
        }
    }
}

#[rstest]
#[tokio::test]
async fn the_watches_of_a_removed_member_end_on_every_replica(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let owner = verified_user(&server).await;
    let id = create(&owner).await.id;
    let (project, _) = create_project(&owner, &id).await.unwrap();
    let member = join(&server, &owner, &id, Role::Viewer).await;
    // A file of SQLite has one server.
    let channel = match engine {
        Sqlite => server.channel.clone(),
        _ => server.replica().await,
    };
    let there = Client::with_token(&channel, &member.tokens.access_token);
    let mut watches = vec![
        watch(&member.client, "", Some(&project)).await,
        watch(&there, "", Some(&project)).await,
        watch(&there, &id, None).await,
    ];
    let mut of_owner = watch(&owner.client, &id, None).await;
    for watch in watches.iter_mut().chain([&mut of_owner]) {
        read_until(watch, |event| matches!(event, Kind::Synced(_))).await;
    }
    // Longer than the interval in which memberships are read.
    tokio::time::sleep(Duration::from_secs(3)).await;

    remove(&owner, &id, &member).await.unwrap();

    let removed = Instant::now();
    for watch in watches {
        let refusal = refused::<()>(Err(read_to_end(watch).await));
        assert_eq!(refusal.class(), (Code::NotFound, "RESOURCE_NOT_FOUND"));
        assert!(removed.elapsed() < MAX_DELAY, "{:?}", removed.elapsed());
    }
    let (created, _) = create_project(&owner, &id).await.unwrap();
    let seen = read_until(&mut of_owner, |event| matches!(event, Kind::Snapshot(_))).await;
    assert_eq!(seen, created.id);
}

#[rstest]
#[tokio::test]
async fn a_transferred_project_moves_between_the_watches_of_its_organizations(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let owner = verified_user(&server).await;
    let (from, to) = (create(&owner).await.id, create(&owner).await.id);
    let viewer = join(&server, &owner, &from, Role::Viewer).await;
    let (project, _) = create_project(&owner, &from).await.unwrap();
    let mut before = watch(&owner.client, &from, None).await;
    let mut after = watch(&owner.client, &to, None).await;
    let named = watch(&viewer.client, "", Some(&project)).await;
    for watch in [&mut before, &mut after] {
        read_until(watch, |event| matches!(event, Kind::Synced(_))).await;
    }

    transfer(&owner, &project, &to).await.unwrap();

    let gone = read_until(&mut before, |event| {
        matches!(event, Kind::ProjectDeleted(_))
    })
    .await;
    assert_eq!(gone, project.id);
    let seen = read_until(&mut after, |event| matches!(event, Kind::Snapshot(_))).await;
    assert_eq!(seen, project.id);
    let refusal = refused::<()>(Err(read_to_end(named).await));
    assert_eq!(refusal.class(), (Code::NotFound, "RESOURCE_NOT_FOUND"));
}

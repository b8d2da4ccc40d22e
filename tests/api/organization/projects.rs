use rstest::rstest;
use sluice::proto::v1::{self as pb, OrganizationRole as Role};
use tonic::Code;

use super::fixture::{
    create, create_project, get_project, join, project_ids, refused, rename_project, transfer,
    verified_user,
};
use crate::{
    harness::{Engine, Postgres, Sqlite, TestServer, User},
    webhooks::fixture::create_quiet,
};

const NOT_FOUND: (Code, &str) = (Code::NotFound, "RESOURCE_NOT_FOUND");
const INSUFFICIENT: (Code, &str) = (Code::PermissionDenied, "ROLE_INSUFFICIENT");

async fn stream_ids(user: &User, organization_id: &str) -> Vec<String> {
    let request = pb::ListStreamsRequest {
        organization_id: organization_id.to_owned(),
        ..Default::default()
    };
    let listed = user.client.stream.clone().list_streams(request).await;
    let streams = listed.unwrap().into_inner().streams.into_iter();
    streams.map(|stream| stream.id).collect()
}

#[rstest]
#[tokio::test]
async fn projects_and_streams_are_listed_by_organization(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let owner = verified_user(&server).await;
    let (one, two) = (create(&owner).await.id, create(&owner).await.id);
    let personal = owner.user.id.clone();
    let media = server.media_server().await;
    let mut expected = Vec::new();
    for id in ["", &*one, &*two] {
        let (project, key) = create_project(&owner, id).await.unwrap();
        let stream = media.live(&key, &format!("c{id}")).await;
        expected.push((id.to_owned(), project.id, stream.id));
    }

    for (id, project, stream) in &expected {
        assert_eq!(project_ids(&owner, id).await.unwrap(), [&**project]);
        assert_eq!(stream_ids(&owner, id).await, [&**stream]);
    }
    assert_eq!(
        project_ids(&owner, &personal).await.unwrap(),
        [&*expected[0].1]
    );
    let stranger = server.user().await;
    assert_eq!(
        refused(project_ids(&stranger, &one).await).class(),
        NOT_FOUND
    );
    let request = pb::ListProjectsRequest {
        organization_id: "1".to_owned(),
        ..Default::default()
    };
    let listed = owner.client.project.clone().list_projects(request).await;
    assert_eq!(refused(listed).fields(), ["organization_id"]);
}

#[rstest]
#[tokio::test]
async fn a_transferred_project_keeps_its_stream_and_changes_its_members(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let owner = verified_user(&server).await;
    let (from, to) = (create(&owner).await.id, create(&owner).await.id);
    let before = join(&server, &owner, &from, Role::Viewer).await;
    let after = join(&server, &owner, &to, Role::Viewer).await;
    let (project, key) = create_project(&owner, &from).await.unwrap();
    let node = server.media_server().await;
    let stream = node.live(&key, "c1").await;

    let moved = transfer(&owner, &project, &to).await.unwrap();

    assert_eq!(moved.organization_id, to);
    assert_eq!(moved.live_stream_id, stream.id);
    let answer = node.heartbeat(&stream, "c1").await;
    assert_eq!(answer.action(), pb::PublishAction::Continue);
    assert_eq!(get_project(&after, &project).await.unwrap(), moved);
    assert_eq!(stream_ids(&after, &to).await, [&*stream.id]);
    assert_eq!(
        refused(get_project(&before, &project).await).class(),
        NOT_FOUND
    );
    assert!(project_ids(&before, &from).await.unwrap().is_empty());

    // A repeated transfer changes nothing.
    assert_eq!(transfer(&owner, &project, &to).await.unwrap(), moved);
    node.end(&stream, "c1").await;
}

#[rstest]
#[tokio::test]
async fn a_transfer_needs_an_admin_of_both_organizations(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let owner = verified_user(&server).await;
    let id = create(&owner).await.id;
    let producer = join(&server, &owner, &id, Role::Producer).await;
    let stranger = server.user().await;
    let (project, _) = create_project(&owner, &id).await.unwrap();
    let (own, _) = producer.project().await;
    let personal = |user: &User| user.user.id.clone();

    let refusal = refused(transfer(&producer, &project, &personal(&producer)).await);
    assert_eq!(refusal.class(), INSUFFICIENT);
    assert_eq!(
        refused(transfer(&producer, &own, &id).await).class(),
        INSUFFICIENT
    );
    let refusal = refused(transfer(&stranger, &project, &personal(&stranger)).await);
    assert_eq!(refusal.class(), NOT_FOUND);
    let refusal = refused(transfer(&owner, &project, &personal(&stranger)).await);
    assert_eq!(refusal.class(), NOT_FOUND);
    assert_eq!(
        get_project(&owner, &project).await.unwrap().organization_id,
        id
    );

    transfer(&owner, &project, &personal(&owner)).await.unwrap();
    assert_eq!(
        refused(get_project(&producer, &project).await).class(),
        NOT_FOUND
    );
}

#[rstest]
#[tokio::test]
async fn webhooks_for_all_projects_of_an_organization_follow_a_transfer(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let owner = verified_user(&server).await;
    let id = create(&owner).await.id;
    let (project, _) = owner.project().await;
    create_quiet(&owner, &project.id, true).await;
    create_quiet(&owner, "", true).await;
    // There are events that a webhook of the new organization must not get.
    rename_project(&owner, &project).await.unwrap();
    let to_organization = "
        update webhooks set owner_id =
             (select id from organizations where not personal)
         where project_id is null";
    let cursors = "select count(*) from webhook_cursors c
        join webhooks w on w.id = c.webhook_id and w.project_id is null";
    assert_eq!(server.database.number(cursors).await, 1);

    // The webhook for all personal projects ends with the transfer.
    let moved = transfer(&owner, &project, &id).await.unwrap();
    assert_eq!(server.database.number(cursors).await, 0);
    let owners = "select count(*) from webhooks w join projects p on p.id = w.project_id
        where w.owner_id = p.owner_id";
    assert_eq!(server.database.number(owners).await, 1);

    // One for all projects of an organization begins before the change.
    server.database.execute(to_organization).await;
    transfer(&owner, &project, &owner.user.id).await.unwrap();
    let back = transfer(&owner, &project, &id).await.unwrap();
    assert_eq!(back.revision, moved.revision + 2);
    let begun = "select c.revision from webhook_cursors c
        join webhooks w on w.id = c.webhook_id and w.project_id is null";
    assert_eq!(server.database.number(begun).await, back.revision - 1);
}

use rstest::rstest;
use sluice::proto::v1::{self as pb, OrganizationRole as Role};
use tonic::Code;

use super::fixture::{
    create, create_project, get, get_project, invite, join, leave, project_ids, refused, remove,
    rename_project, set_role, verified_user,
};
use crate::{
    auth::calls,
    harness::{Client, Engine, Postgres, Refusal, Sqlite, TestServer, User},
    webhooks::fixture::create_quiet,
};

const LAST_OWNER: (Code, &str) = (Code::FailedPrecondition, "LAST_OWNER");
const NOT_FOUND: (Code, &str) = (Code::NotFound, "RESOURCE_NOT_FOUND");

async fn list(user: &User, organization_id: &str) -> Vec<(String, Role)> {
    let request = pb::ListMembersRequest {
        organization_id: organization_id.to_owned(),
        ..Default::default()
    };
    let listed = user.client.organization.clone().list_members(request).await;
    let members = listed.unwrap().into_inner().members.into_iter();
    members
        .map(|member| (member.email.clone(), member.role()))
        .collect()
}

/// Whether a refusal names the role that is needed.
fn assert_needs(refusal: &Refusal, role: &str) {
    let class = (Code::PermissionDenied, "ROLE_INSUFFICIENT");
    assert_eq!(refusal.class(), class);
    let info = refusal.details.error_info().unwrap();
    assert_eq!(info.metadata["role"], role);
}

#[rstest]
#[tokio::test]
async fn each_role_does_what_its_scopes_allow_and_no_more(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let owner = verified_user(&server).await;
    let id = create(&owner).await.id;
    let (project, key) = create_project(&owner, &id).await.unwrap();
    let stream = server.media_server().await.live(&key, "c1").await;
    let viewer = join(&server, &owner, &id, Role::Viewer).await;
    let producer = join(&server, &owner, &id, Role::Producer).await;
    let admin = join(&server, &owner, &id, Role::Admin).await;
    let reveal = async |user: &User| {
        let request = pb::RevealStreamKeyRequest {
            project_id: project.id.clone(),
        };
        user.client.project.clone().reveal_stream_key(request).await
    };
    let stop = async |user: &User| {
        let request = pb::StopStreamRequest {
            stream_id: stream.id.clone(),
            ..Default::default()
        };
        user.client.stream.clone().stop_stream(request).await
    };

    for member in [&owner, &admin, &producer, &viewer] {
        let seen = get_project(member, &project).await.unwrap();
        assert_eq!(seen.organization_id, id);
        assert_eq!(project_ids(member, &id).await.unwrap(), [&*project.id]);
        assert!(project_ids(member, "").await.unwrap().is_empty());
        assert_eq!(list(member, &id).await.len(), 4);
    }
    assert_needs(
        &refused(rename_project(&viewer, &project).await),
        "producer",
    );
    assert_needs(&refused(reveal(&viewer).await), "producer");
    assert_needs(&refused(stop(&viewer).await), "producer");
    assert_needs(&refused(create_project(&viewer, &id).await), "producer");
    reveal(&producer).await.unwrap();
    rename_project(&producer, &project).await.unwrap();
    create_project(&producer, &id).await.unwrap();
    stop(&producer).await.unwrap();

    let email = "new@example.com";
    for member in [&viewer, &producer] {
        assert_needs(
            &refused(invite(member, &id, email, Role::Viewer).await),
            "admin",
        );
        assert_needs(
            &refused(set_role(member, &id, &viewer, Role::Admin).await),
            "admin",
        );
        assert_needs(&refused(remove(member, &id, &viewer).await), "admin");
    }
    invite(&admin, &id, email, Role::Admin).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn only_an_owner_makes_changes_and_removes_owners(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let owner = verified_user(&server).await;
    let id = create(&owner).await.id;
    let admin = join(&server, &owner, &id, Role::Admin).await;
    let viewer = join(&server, &owner, &id, Role::Viewer).await;

    assert_needs(
        &refused(set_role(&admin, &id, &viewer, Role::Owner).await),
        "owner",
    );
    assert_needs(
        &refused(set_role(&admin, &id, &admin, Role::Owner).await),
        "owner",
    );
    assert_needs(
        &refused(set_role(&admin, &id, &owner, Role::Viewer).await),
        "owner",
    );
    assert_needs(&refused(remove(&admin, &id, &owner).await), "owner");
    assert_needs(
        &refused(invite(&admin, &id, "o@example.com", Role::Owner).await),
        "owner",
    );

    let changed = set_role(&admin, &id, &viewer, Role::Producer)
        .await
        .unwrap();
    assert_eq!(changed.role(), Role::Producer);
    assert_eq!(get(&viewer, &id).await.unwrap().role(), Role::Producer);
    set_role(&owner, &id, &viewer, Role::Owner).await.unwrap();
    remove(&viewer, &id, &owner).await.unwrap();
    assert_eq!(refused(get(&owner, &id).await).class(), NOT_FOUND);
}

#[rstest]
#[tokio::test]
async fn a_removed_member_is_refused_with_the_next_call(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let owner = verified_user(&server).await;
    let id = create(&owner).await.id;
    let (project, _) = create_project(&owner, &id).await.unwrap();
    let member = join(&server, &owner, &id, Role::Admin).await;
    rename_project(&member, &project).await.unwrap();

    remove(&owner, &id, &member).await.unwrap();

    assert_eq!(
        refused(get_project(&member, &project).await).class(),
        NOT_FOUND
    );
    assert_eq!(
        refused(rename_project(&member, &project).await).class(),
        NOT_FOUND
    );
    assert_eq!(
        refused(create_project(&member, &id).await).class(),
        NOT_FOUND
    );
    assert_eq!(refused(project_ids(&member, &id).await).class(), NOT_FOUND);
    assert_eq!(refused(get(&member, &id).await).class(), NOT_FOUND);
    assert_eq!(refused(leave(&member, &id).await).class(), NOT_FOUND);
    assert_eq!(
        refused(remove(&owner, &id, &member).await).class(),
        NOT_FOUND
    );
    assert_eq!(
        list(&owner, &id).await,
        [(owner.email.clone(), Role::Owner)]
    );
}

#[rstest]
#[tokio::test]
async fn the_last_owner_stays_also_if_two_leave_at_once(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let owner = verified_user(&server).await;
    let id = create(&owner).await.id;
    assert_eq!(refused(leave(&owner, &id).await).class(), LAST_OWNER);
    let refusal = refused(set_role(&owner, &id, &owner, Role::Admin).await);
    assert_eq!(refusal.class(), LAST_OWNER);

    for _ in 0..5 {
        let organization = create(&owner).await.id;
        let other = join(&server, &owner, &organization, Role::Owner).await;

        let (one, two) = tokio::join!(leave(&owner, &organization), leave(&other, &organization));

        let mut refusals = [one, two].into_iter().filter_map(Result::err);
        let refusal = refused::<()>(Err(refusals.next().unwrap()));
        assert_eq!(refusal.class(), LAST_OWNER);
        assert!(refusals.next().is_none());
    }
    let ownerless = "select count(*) from organizations o where not exists (
        select 1 from memberships m where m.organization_id = o.id and m.role = 'owner')";
    assert_eq!(server.database.number(ownerless).await, 0);
}

#[rstest]
#[tokio::test]
async fn an_api_key_neither_sees_nor_changes_members(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let owner = verified_user(&server).await;
    let id = create(&owner).await.id;
    let (project, _) = create_project(&owner, &id).await.unwrap();
    create_quiet(&owner, "", true).await;
    let request = calls::api_key_request(&["projects:read", "projects:write"]);
    let (_, secret) = calls::new_api_key(&owner, request).await;
    let token = calls::api_key_token(&server, &secret).await;
    let program = User {
        client: Client::with_token(&server.channel, &token),
        ..owner
    };

    let class = (Code::PermissionDenied, "SESSION_REQUIRED");
    assert_eq!(refused(get(&program, &id).await).class(), class);
    // A key belongs to the personal organization.
    assert_eq!(
        refused(get_project(&program, &project).await).class(),
        NOT_FOUND
    );
    assert_eq!(refused(project_ids(&program, &id).await).class(), NOT_FOUND);
    assert_eq!(
        refused(create_project(&program, &id).await).class(),
        NOT_FOUND
    );
    assert!(project_ids(&program, "").await.unwrap().is_empty());
}

use rstest::rstest;
use sluice::proto::v1::{self as pb, OrganizationRole as Role};
use tonic::{Code, Status};

use super::fixture::{
    accept, create, create_project, get, get_project, invite, join, leave, project_ids, refused,
    set_role, token, verified_user,
};
use crate::harness::{Engine, Postgres, Sqlite, TestServer, User, eventually};

async fn list(user: &User) -> Vec<pb::Organization> {
    let request = pb::ListOrganizationsRequest::default();
    let mut organizations = user.client.organization.clone();
    let listed = organizations.list_organizations(request);
    listed.await.unwrap().into_inner().organizations
}

async fn rename(user: &User, id: &str, name: &str) -> Result<pb::Organization, Status> {
    let request = pb::UpdateOrganizationRequest {
        organization_id: id.to_owned(),
        display_name: Some(name.to_owned()),
        ..Default::default()
    };
    let mut organizations = user.client.organization.clone();
    let updated = organizations.update_organization(request);
    Ok(updated.await?.into_inner().organization.unwrap())
}

async fn delete(user: &User, id: &str, force: bool) -> Result<(), Status> {
    let request = pb::DeleteOrganizationRequest {
        organization_id: id.to_owned(),
        force,
        ..Default::default()
    };
    let mut organizations = user.client.organization.clone();
    let deleted = organizations.delete_organization(request);
    deleted.await.map(drop)
}

async fn delete_me(user: &User) -> Result<(), Status> {
    let request = pb::DeleteMeRequest {
        password: user.password.to_owned(),
        ..Default::default()
    };
    user.client.auth.clone().delete_me(request).await.map(drop)
}

#[rstest]
#[tokio::test]
async fn a_user_has_a_personal_organization_with_the_own_id_and_name(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let (project, _) = user.project().await;

    let organizations = list(&user).await;

    assert_eq!(organizations.len(), 1);
    let personal = &organizations[0];
    assert_eq!(personal.id, user.user.id);
    assert_eq!(personal.display_name, user.user.display_name);
    assert!(personal.personal);
    assert_eq!(personal.role(), Role::Owner);
    assert_eq!(project.organization_id, personal.id);
}

#[rstest]
#[tokio::test]
async fn an_organization_is_created_renamed_and_deleted_by_its_owner(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = verified_user(&server).await;

    let created = create(&user).await;
    assert_eq!(
        (&*created.display_name, created.personal, created.role()),
        ("Studio", false, Role::Owner)
    );
    assert_eq!(list(&user).await[0], created);

    let renamed = rename(&user, &created.id, "Studio B").await.unwrap();
    assert_ne!(renamed.etag, created.etag);
    assert_eq!(get(&user, &created.id).await.unwrap(), renamed);

    delete(&user, &created.id, false).await.unwrap();
    let gone = refused(get(&user, &created.id).await);
    assert_eq!(gone.class(), (Code::NotFound, "RESOURCE_NOT_FOUND"));
    assert_eq!(list(&user).await.len(), 1);
}

#[rstest]
#[tokio::test]
async fn a_personal_organization_has_one_member_and_ends_with_its_user(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = verified_user(&server).await;
    let id = &*user.user.id;

    let refusals = [
        refused(rename(&user, id, "Mine").await),
        refused(delete(&user, id, true).await),
        refused(leave(&user, id).await),
        refused(invite(&user, id, "bob@example.com", Role::Viewer).await),
    ];
    for refusal in refusals {
        let class = (Code::FailedPrecondition, "ORGANIZATION_PERSONAL");
        assert_eq!(refusal.class(), class);
    }

    delete_me(&user).await.unwrap();
    eventually("its row is deleted", async || {
        let rows = "select count(*) from organizations";
        (server.database.number(rows).await == 0).then_some(())
    })
    .await;
}

#[rstest]
#[tokio::test]
async fn an_organization_needs_a_verified_address_and_has_a_name(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = server.user().await;
    let mut client = user.client.organization.clone();
    let request = |name: &str, request_id: &str| pb::CreateOrganizationRequest {
        display_name: name.to_owned(),
        request_id: request_id.to_owned(),
    };

    let refusal = refused(client.create_organization(request("Studio", "")).await);
    let class = (Code::FailedPrecondition, "EMAIL_UNVERIFIED");
    assert_eq!(refusal.class(), class);

    let refusal = refused(client.create_organization(request(" ", "1")).await);
    assert_eq!(refusal.fields(), ["display_name", "request_id"]);
}

#[rstest]
#[tokio::test]
async fn a_user_has_a_limited_number_of_organizations(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start_with(engine, &["--max-organizations=1"]).await;
    let (user, other) = (verified_user(&server).await, verified_user(&server).await);
    create(&user).await;
    let request = pb::CreateOrganizationRequest {
        display_name: "Another".to_owned(),
        ..Default::default()
    };

    let mut organizations = user.client.organization.clone();
    let created = organizations.create_organization(request);
    let class = (Code::FailedPrecondition, "ORGANIZATION_LIMIT_REACHED");
    assert_eq!(refused(created.await).class(), class);

    // An invitation can be accepted later.
    let theirs = create(&other).await;
    invite(&other, &theirs.id, &user.email, Role::Viewer)
        .await
        .unwrap();
    let token = token(&server.database, &user.email).await;
    let accepted = accept(&user, &token).await;
    assert_eq!(refused(accepted).class(), class);
    let own = list(&user).await.into_iter().find(|one| !one.personal);
    delete(&user, &own.unwrap().id, false).await.unwrap();
    accept(&user, &token).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn an_organization_with_a_live_stream_is_deleted_by_force_only(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let user = verified_user(&server).await;
    let organization = create(&user).await;
    let viewer = join(&server, &user, &organization.id, Role::Viewer).await;
    let (project, key) = create_project(&user, &organization.id).await.unwrap();
    let (quiet, _) = create_project(&user, &organization.id).await.unwrap();
    let media = server.media_server().await;
    media.live(&key, "c1").await;

    let refusal = refused(delete(&user, &organization.id, false).await);
    assert_eq!(refusal.class(), (Code::FailedPrecondition, "PROJECT_LIVE"));
    let refusal = refused(delete(&viewer, &organization.id, true).await);
    assert_eq!(
        refusal.class(),
        (Code::PermissionDenied, "ROLE_INSUFFICIENT")
    );
    delete(&user, &organization.id, true).await.unwrap();

    for member in [&user, &viewer] {
        for project in [&project, &quiet] {
            let gone = refused(get_project(member, project).await);
            assert_eq!(gone.class(), (Code::NotFound, "RESOURCE_NOT_FOUND"));
        }
        let gone = refused(project_ids(member, &organization.id).await);
        assert_eq!(gone.class(), (Code::NotFound, "RESOURCE_NOT_FOUND"));
    }
    let refusal = refused(media.begin(&key, "c2").await);
    assert_eq!(
        refusal.class(),
        (Code::PermissionDenied, "STREAM_KEY_INVALID")
    );
    eventually(
        "the projects are deleted, and their streams have ended",
        async || {
            let left = "select (select count(*) from streams where end_time is null)
            + (select count(*) from projects where delete_time is null)";
            (server.database.number(left).await == 0).then_some(())
        },
    )
    .await;
}

#[rstest]
#[tokio::test]
async fn an_account_that_is_the_last_owner_of_members_is_not_deleted(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let owner = verified_user(&server).await;
    let (alone, shared) = (create(&owner).await, create(&owner).await);
    let member = join(&server, &owner, &shared.id, Role::Admin).await;

    let refusal = refused(delete_me(&owner).await);
    assert_eq!(refusal.class(), (Code::FailedPrecondition, "LAST_OWNER"));
    get(&owner, &alone.id).await.unwrap();

    set_role(&owner, &shared.id, &member, Role::Owner)
        .await
        .unwrap();
    delete_me(&owner).await.unwrap();
    let deleted =
        "select count(*) from organizations where delete_time is not null and not personal";
    let left = "select count(*) from organizations where not personal and delete_time is null";
    assert_eq!(server.database.number(left).await, 1);
    eventually(
        "the organization without another member is deleted",
        async || (server.database.number(deleted).await == 0).then_some(()),
    )
    .await;
    assert_eq!(get(&member, &shared.id).await.unwrap().role(), Role::Owner);
}

//! Organizations with members, for tests of what they do.

use sluice::proto::v1::{self as pb, OrganizationRole as Role};
use tonic::{Response, Status};

use crate::harness::{Refusal, TestDatabase, TestServer, User};

/// The error of a call.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(result: Result<T, Status>) -> Refusal {
    crate::harness::refused(result.map(Response::new))
}

/// Marks the address of a user as verified.
pub async fn verify(database: &TestDatabase, user: &User) {
    let statement = format!(
        "update users set email_verified = true where email_key = '{}'",
        user.email
    );
    database.execute(&statement).await;
}

/// A new user with a verified address.
pub async fn verified_user(server: &TestServer) -> User {
    let user = server.user().await;
    verify(&server.database, &user).await;
    user
}

/// Creates an organization.
pub async fn create(user: &User) -> pb::Organization {
    let request = pb::CreateOrganizationRequest {
        display_name: "Studio".to_owned(),
        ..Default::default()
    };
    let mut organizations = user.client.organization.clone();
    let created = organizations.create_organization(request);
    created.await.unwrap().into_inner().organization.unwrap()
}

/// Gets an organization.
pub async fn get(user: &User, id: &str) -> Result<pb::Organization, Status> {
    let request = pb::GetOrganizationRequest {
        organization_id: id.to_owned(),
    };
    let mut organizations = user.client.organization.clone();
    let got = organizations.get_organization(request);
    Ok(got.await?.into_inner().organization.unwrap())
}

/// Sends an invitation.
pub async fn invite(
    inviter: &User,
    organization_id: &str,
    email: &str,
    role: Role,
) -> Result<pb::Invitation, Status> {
    let request = pb::CreateInvitationRequest {
        organization_id: organization_id.to_owned(),
        email: email.to_owned(),
        role: role.into(),
        request_id: String::new(),
    };
    let mut organizations = inviter.client.organization.clone();
    let created = organizations.create_invitation(request);
    Ok(created.await?.into_inner().invitation.unwrap())
}

/// The token in the message of an invitation, which is the first one to this address.
pub async fn token(database: &TestDatabase, email: &str) -> String {
    database.mail(email, "nvitation", 1).await.token()
}

/// Accepts an invitation.
pub async fn accept(
    user: &User,
    token: &str,
) -> Result<Response<pb::AcceptInvitationResponse>, Status> {
    let request = pb::AcceptInvitationRequest {
        token: token.to_owned(),
    };
    user.client
        .organization
        .clone()
        .accept_invitation(request)
        .await
}

/// A new user who is invited to an organization, and accepts.
pub async fn join(server: &TestServer, owner: &User, organization_id: &str, role: Role) -> User {
    let user = verified_user(server).await;
    invite(owner, organization_id, &user.email, role)
        .await
        .unwrap();
    let token = token(&server.database, &user.email).await;
    accept(&user, &token).await.unwrap();
    user
}

/// Makes a user a member with a role, without an invitation.
pub async fn plant_member(
    database: &TestDatabase,
    organization_id: &str,
    user: &User,
    role: sluice::domain::Role,
) {
    let ids =
        [organization_id, &*user.user.id].map(|id| match database.url.starts_with("sqlite:") {
            true => format!("unhex('{}')", id.replace('-', "")),
            false => format!("'{id}'"),
        });
    let [organization, user] = ids;
    let (role, now) = (role.as_str(), sluice::domain::now().to_rfc3339());
    let statement = format!(
        "insert into memberships (organization_id, user_id, role, create_time, update_time)
         values ({organization}, {user}, '{role}', '{now}', '{now}')
         on conflict (organization_id, user_id) do update set role = excluded.role"
    );
    database.execute(&statement).await;
}

/// Changes the role of a member.
pub async fn set_role(
    user: &User,
    organization_id: &str,
    member: &User,
    role: Role,
) -> Result<pb::Member, Status> {
    let request = pb::UpdateMemberRequest {
        organization_id: organization_id.to_owned(),
        user_id: member.user.id.clone(),
        role: role.into(),
    };
    let mut organizations = user.client.organization.clone();
    let updated = organizations.update_member(request);
    Ok(updated.await?.into_inner().member.unwrap())
}

/// Removes a member.
pub async fn remove(user: &User, organization_id: &str, member: &User) -> Result<(), Status> {
    let request = pb::RemoveMemberRequest {
        organization_id: organization_id.to_owned(),
        user_id: member.user.id.clone(),
    };
    let mut organizations = user.client.organization.clone();
    let removed = organizations.remove_member(request);
    removed.await.map(drop)
}

/// Ends the own membership.
pub async fn leave(user: &User, organization_id: &str) -> Result<(), Status> {
    let request = pb::LeaveOrganizationRequest {
        organization_id: organization_id.to_owned(),
    };
    let mut organizations = user.client.organization.clone();
    let left = organizations.leave_organization(request);
    left.await.map(drop)
}

/// Creates a project of an organization without a reconnect window; returns its stream key too.
pub async fn create_project(
    user: &User,
    organization_id: &str,
) -> Result<(pb::Project, String), Status> {
    let request = pb::CreateProjectRequest {
        display_name: "Show".to_owned(),
        reconnect_window: Some(prost_types::Duration::default()),
        organization_id: organization_id.to_owned(),
        ..Default::default()
    };
    let created = user.client.project.clone().create_project(request).await?;
    let created = created.into_inner();
    Ok((created.project.unwrap(), created.stream_key))
}

/// Gets a project.
pub async fn get_project(user: &User, project: &pb::Project) -> Result<pb::Project, Status> {
    let request = pb::GetProjectRequest {
        project_id: project.id.clone(),
        ..Default::default()
    };
    let got = user.client.project.clone().get_project(request).await?;
    Ok(got.into_inner().project.unwrap())
}

/// Renames a project.
pub async fn rename_project(user: &User, project: &pb::Project) -> Result<pb::Project, Status> {
    let request = pb::UpdateProjectRequest {
        project_id: project.id.clone(),
        display_name: Some("Renamed".to_owned()),
        ..Default::default()
    };
    let updated = user.client.project.clone().update_project(request).await?;
    Ok(updated.into_inner().project.unwrap())
}

/// The ids of the projects of an organization, or of the personal one.
pub async fn project_ids(user: &User, organization_id: &str) -> Result<Vec<String>, Status> {
    let request = pb::ListProjectsRequest {
        organization_id: organization_id.to_owned(),
        ..Default::default()
    };
    let listed = user.client.project.clone().list_projects(request).await?;
    let projects = listed.into_inner().projects.into_iter();
    Ok(projects.map(|project| project.id).collect())
}

/// Moves a project to an organization.
pub async fn transfer(
    user: &User,
    project: &pb::Project,
    organization_id: &str,
) -> Result<pb::Project, Status> {
    let request = pb::TransferProjectRequest {
        project_id: project.id.clone(),
        organization_id: organization_id.to_owned(),
    };
    let mut organizations = user.client.organization.clone();
    let moved = organizations.transfer_project(request);
    Ok(moved.await?.into_inner().project.unwrap())
}

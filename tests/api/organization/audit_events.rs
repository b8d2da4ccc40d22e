use rstest::rstest;
use sluice::proto::v1::{self as pb, OrganizationRole as Role};
use tonic::{Code, Status};

use super::fixture::{
    create, create_project, join, refused, remove, rename_project, transfer, verified_user,
};
use crate::{
    auth::calls,
    harness::{Engine, Postgres, Sqlite, TestServer, User},
};

async fn list(user: &User, organization_id: &str) -> Result<Vec<(String, String)>, Status> {
    let request = pb::ListOrganizationAuditEventsRequest {
        organization_id: organization_id.to_owned(),
        ..Default::default()
    };
    let mut organizations = user.client.organization.clone();
    let listed = organizations
        .list_organization_audit_events(request)
        .await?;
    let events = listed.into_inner().audit_events.into_iter();
    let actions = events.map(|entry| (entry.event.unwrap().action, entry.user_id));
    Ok(actions.collect())
}

#[rstest]
#[tokio::test]
async fn admins_read_what_was_done_in_their_organization(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let owner = verified_user(&server).await;
    let (id, other) = (create(&owner).await.id, create(&owner).await.id);
    let (project, key) = create_project(&owner, &id).await.unwrap();
    let member = join(&server, &owner, &id, Role::Producer).await;
    rename_project(&member, &project).await.unwrap();
    let request = pb::CreateApiKeyRequest {
        organization_id: id.clone(),
        ..calls::api_key_request(&["projects:read"])
    };
    let (api_key, _) = calls::new_api_key(&member, request).await;
    let adopt = pb::AdoptApiKeyRequest {
        api_key_id: api_key.id.clone(),
    };
    owner
        .client
        .auth
        .clone()
        .adopt_api_key(adopt)
        .await
        .unwrap();
    let revoke = pb::RevokeApiKeyRequest {
        api_key_id: api_key.id,
        ..Default::default()
    };
    owner
        .client
        .auth
        .clone()
        .revoke_api_key(revoke)
        .await
        .unwrap();
    let stream = server.media_server().await.live(&key, "c1").await;
    let stop = pb::StopStreamRequest {
        stream_id: stream.id,
        ..Default::default()
    };
    member
        .client
        .stream
        .clone()
        .stop_stream(stop)
        .await
        .unwrap();
    refused(transfer(&member, &project, &other).await);
    remove(&owner, &id, &member).await.unwrap();
    refused(rename_project(&member, &project).await);
    transfer(&owner, &project, &other).await.unwrap();
    owner.project().await;

    let (ours, theirs) = (&owner.user.id, &member.user.id);
    let expected = [
        ("RemoveMember", ours),
        ("StopStream", theirs),
        ("RevokeApiKey", ours),
        ("AdoptApiKey", ours),
        ("CreateApiKey", theirs),
        ("UpdateProject", theirs),
        ("AcceptInvitation", theirs),
        ("CreateInvitation", ours),
        ("CreateProject", ours),
        ("CreateOrganization", ours),
    ];
    let expected = expected.map(|(action, user)| (action.to_owned(), user.clone()));
    assert_eq!(list(&owner, &id).await.unwrap(), expected);
    let there = list(&owner, &other).await.unwrap();
    assert_eq!(there[0], ("TransferProject".to_owned(), ours.clone()));

    assert_eq!(
        refused(list(&member, &id).await).class(),
        (Code::NotFound, "RESOURCE_NOT_FOUND")
    );
    let viewer = join(&server, &owner, &id, Role::Viewer).await;
    assert_eq!(
        refused(list(&viewer, &id).await).class(),
        (Code::PermissionDenied, "ROLE_INSUFFICIENT")
    );
}

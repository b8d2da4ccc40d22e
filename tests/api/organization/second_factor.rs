use std::time::{Duration, Instant};

use rstest::rstest;
use sluice::proto::v1::{self as pb, OrganizationRole as Role};
use tonic::{Code, Status};

use super::{
    fixture::{
        accept, create, create_project, get, get_project, invite, join, project_ids, refused,
        token, verified_user,
    },
    watches::{read_to_end, watch},
};
use crate::{
    auth::{calls, second_factor_calls},
    harness::{Client, Engine, Postgres, Sqlite, TestServer, User},
};

const MISSING: (Code, &str) = (Code::PermissionDenied, "SECOND_FACTOR_MISSING");

async fn require(user: &User, id: &str, required: bool) -> Result<pb::Organization, Status> {
    let request = pb::UpdateOrganizationRequest {
        organization_id: id.to_owned(),
        require_second_factor: Some(required),
        ..Default::default()
    };
    let mut organizations = user.client.organization.clone();
    let updated = organizations.update_organization(request).await?;
    Ok(updated.into_inner().organization.unwrap())
}

#[rstest]
#[tokio::test]
async fn a_member_without_a_required_second_factor_is_refused_until_there_is_one(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let owner = verified_user(&server).await;
    let id = create(&owner).await.id;
    let (project, _) = create_project(&owner, &id).await.unwrap();
    let member = join(&server, &owner, &id, Role::Viewer).await;
    let request = pb::CreateApiKeyRequest {
        organization_id: id.clone(),
        ..calls::api_key_request(&["projects:read"])
    };
    let (_, secret) = calls::new_api_key(&member, request).await;
    let key_token = calls::api_key_token(&server, &secret).await;
    let program = User {
        client: Client::with_token(&server.channel, &key_token),
        ..server.user().await
    };
    second_factor_calls::enrol(&owner).await;
    let open = watch(&member.client, &id, None).await;
    // Longer than the interval in which memberships are read.
    tokio::time::sleep(Duration::from_secs(3)).await;

    assert!(
        require(&owner, &id, true)
            .await
            .unwrap()
            .require_second_factor
    );

    let required = Instant::now();
    for caller in [&member, &program] {
        assert_eq!(
            refused(get_project(caller, &project).await).class(),
            MISSING
        );
        assert_eq!(refused(project_ids(caller, &id).await).class(), MISSING);
    }
    assert_eq!(refused(get(&member, &id).await).class(), MISSING);
    let refusal = refused::<()>(Err(read_to_end(open).await));
    assert_eq!(refusal.class(), MISSING);
    assert!(required.elapsed() < Duration::from_secs(5));
    get_project(&owner, &project).await.unwrap();
    // Nothing else of the member is concerned.
    member.project().await;
    // An invitation is accepted without a second factor.
    let invited = verified_user(&server).await;
    invite(&owner, &id, &invited.email, Role::Viewer)
        .await
        .unwrap();
    let invitation = token(&server.database, &invited.email).await;
    accept(&invited, &invitation).await.unwrap();
    assert_eq!(refused(get(&invited, &id).await).class(), MISSING);

    second_factor_calls::enrol(&member).await;
    for caller in [&member, &program] {
        get_project(caller, &project).await.unwrap();
    }
    require(&owner, &id, false).await.unwrap();
    get(&invited, &id).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn only_an_owner_with_a_second_factor_requires_one(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let owner = verified_user(&server).await;
    let id = create(&owner).await.id;
    let admin = join(&server, &owner, &id, Role::Admin).await;

    assert_eq!(refused(require(&owner, &id, true).await).class(), MISSING);
    assert!(!get(&owner, &id).await.unwrap().require_second_factor);
    second_factor_calls::enrol(&admin).await;
    let refusal = refused(require(&admin, &id, true).await);
    let class = (Code::PermissionDenied, "ROLE_INSUFFICIENT");
    assert_eq!(refusal.class(), class);
    second_factor_calls::enrol(&owner).await;
    let personal = refused(require(&owner, &owner.user.id, true).await);
    let class = (Code::FailedPrecondition, "ORGANIZATION_PERSONAL");
    assert_eq!(personal.class(), class);
    let required = require(&owner, &id, true).await.unwrap();
    assert_eq!(get(&admin, &id).await.unwrap().etag, required.etag);
}

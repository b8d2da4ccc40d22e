use std::time::{Duration, Instant};

use rstest::rstest;
use sluice::proto::v1::{self as pb, OrganizationRole as Role};
use tonic::{Code, Status};

use super::{
    fixture::{
        create, create_project, get_project, join, project_ids, refused, remove, rename_project,
        set_role, verified_user,
    },
    watches::{read_to_end, watch},
};
use crate::{
    auth::calls,
    harness::{Client, Engine, Postgres, Sqlite, TestServer, User},
};

const INSUFFICIENT: (Code, &str) = (Code::PermissionDenied, "ROLE_INSUFFICIENT");
const NOT_FOUND: (Code, &str) = (Code::NotFound, "RESOURCE_NOT_FOUND");

async fn create_key(
    user: &User,
    organization_id: &str,
    scopes: &[&str],
    project_ids: Vec<String>,
) -> Result<(pb::ApiKey, String), Status> {
    let request = pb::CreateApiKeyRequest {
        organization_id: organization_id.to_owned(),
        project_ids,
        ..calls::api_key_request(scopes)
    };
    let created = user.client.auth.clone().create_api_key(request).await?;
    let created = created.into_inner();
    Ok((created.api_key.unwrap(), created.secret))
}

/// A program that calls with a key, as a user.
async fn program(server: &TestServer, secret: &str, user: User) -> User {
    let token = calls::api_key_token(server, secret).await;
    User {
        client: Client::with_token(&server.channel, &token),
        ..user
    }
}

async fn key_ids(user: &User, organization_id: &str) -> Result<Vec<String>, Status> {
    let request = pb::ListApiKeysRequest {
        organization_id: organization_id.to_owned(),
        ..Default::default()
    };
    let listed = user.client.auth.clone().list_api_keys(request).await?;
    let keys = listed.into_inner().api_keys.into_iter();
    Ok(keys.map(|key| key.id).collect())
}

async fn adopt(user: &User, key: &pb::ApiKey) -> Result<pb::ApiKey, Status> {
    let request = pb::AdoptApiKeyRequest {
        api_key_id: key.id.clone(),
    };
    let adopted = user.client.auth.clone().adopt_api_key(request).await?;
    Ok(adopted.into_inner().api_key.unwrap())
}

async fn revoke(user: &User, key: &pb::ApiKey) -> Result<(), Status> {
    let request = pb::RevokeApiKeyRequest {
        api_key_id: key.id.clone(),
        ..Default::default()
    };
    let revoked = user.client.auth.clone().revoke_api_key(request).await;
    revoked.map(drop)
}

#[rstest]
#[tokio::test]
async fn a_key_accesses_the_projects_of_its_organization_only(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let owner = verified_user(&server).await;
    let id = create(&owner).await.id;
    let (ours, _) = create_project(&owner, &id).await.unwrap();
    let (other, _) = create_project(&owner, &id).await.unwrap();
    let (personal, _) = owner.project().await;
    let scopes = ["projects:read", "projects:write"];

    let (key, secret) = create_key(&owner, &id, &scopes, Vec::new()).await.unwrap();
    assert_eq!(
        (&*key.organization_id, &*key.user_id),
        (&*id, &*owner.user.id)
    );
    let of_ours = create_key(&owner, &id, &scopes, vec![ours.id.clone()]).await;
    let (restricted, restricted_secret) = of_ours.unwrap();
    let refusal = refused(create_key(&owner, &id, &scopes, vec![personal.id.clone()]).await);
    assert_eq!(refusal.class(), NOT_FOUND);
    assert_eq!(
        key_ids(&owner, &id).await.unwrap(),
        [&*restricted.id, &*key.id]
    );
    assert!(key_ids(&owner, "").await.unwrap().is_empty());
    let user_id = owner.user.id.clone();

    let unrestricted = program(&server, &secret, owner).await;
    // Without an organization, that of the key is meant.
    let seen = project_ids(&unrestricted, "").await.unwrap();
    assert_eq!(seen, [&*other.id, &*ours.id]);
    assert_eq!(project_ids(&unrestricted, &id).await.unwrap(), seen);
    assert_eq!(
        refused(project_ids(&unrestricted, &user_id).await).class(),
        NOT_FOUND
    );
    assert_eq!(
        refused(get_project(&unrestricted, &personal).await).class(),
        NOT_FOUND
    );
    rename_project(&unrestricted, &ours).await.unwrap();
    let (made, _) = create_project(&unrestricted, "").await.unwrap();
    assert_eq!(made.organization_id, id);
    assert_eq!(
        refused(create_project(&unrestricted, &user_id).await).class(),
        NOT_FOUND
    );

    let restricted = program(&server, &restricted_secret, unrestricted).await;
    assert_eq!(project_ids(&restricted, "").await.unwrap(), [&*ours.id]);
    assert_eq!(
        refused(get_project(&restricted, &other).await).class(),
        NOT_FOUND
    );
}

#[rstest]
#[tokio::test]
async fn a_key_has_at_most_the_scopes_of_its_creators_role(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let owner = verified_user(&server).await;
    let id = create(&owner).await.id;
    let (project, _) = create_project(&owner, &id).await.unwrap();
    let member = join(&server, &owner, &id, Role::Producer).await;

    let refusal = refused(create_key(&member, &id, &["webhooks:write"], Vec::new()).await);
    assert_eq!(refusal.class(), INSUFFICIENT);
    let write = ["projects:read", "projects:write"];
    let (key, secret) = create_key(&member, &id, &write, Vec::new()).await.unwrap();
    let program = program(&server, &secret, server.user().await).await;
    rename_project(&program, &project).await.unwrap();

    // A lower role counts at once.
    set_role(&owner, &id, &member, Role::Viewer).await.unwrap();
    assert_eq!(
        refused(rename_project(&program, &project).await).class(),
        INSUFFICIENT
    );
    get_project(&program, &project).await.unwrap();

    // A member sees and revokes the own keys, an admin all.
    let (admins, _) = create_key(&owner, &id, &write, Vec::new()).await.unwrap();
    assert_eq!(key_ids(&member, &id).await.unwrap(), [&*key.id]);
    assert_eq!(key_ids(&owner, &id).await.unwrap(), [&*admins.id, &*key.id]);
    assert_eq!(refused(revoke(&member, &admins).await).class(), NOT_FOUND);
    let stranger = server.user().await;
    assert_eq!(refused(key_ids(&stranger, &id).await).class(), NOT_FOUND);
    revoke(&owner, &key).await.unwrap();
    let refusal = refused(get_project(&program, &project).await);
    let class = (Code::Unauthenticated, "ACCESS_TOKEN_INVALID");
    assert_eq!(refusal.class(), class);
}

#[rstest]
#[tokio::test]
async fn a_key_ends_with_the_membership_of_its_creator_unless_an_owner_adopts_it(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let owner = verified_user(&server).await;
    let id = create(&owner).await.id;
    let (project, _) = create_project(&owner, &id).await.unwrap();
    let admin = join(&server, &owner, &id, Role::Admin).await;
    let read = ["projects:read"];
    let (adopted, secret) = create_key(&admin, &id, &read, Vec::new()).await.unwrap();
    let (_, left_secret) = create_key(&admin, &id, &read, Vec::new()).await.unwrap();
    let (own, own_secret) = create_key(&admin, "", &read, Vec::new()).await.unwrap();
    let left = program(&server, &left_secret, server.user().await).await;
    get_project(&left, &project).await.unwrap();

    assert_eq!(refused(adopt(&admin, &adopted).await).class(), INSUFFICIENT);
    assert_eq!(refused(adopt(&owner, &own).await).class(), NOT_FOUND);
    let after = adopt(&owner, &adopted).await.unwrap();
    assert_eq!(after.user_id, owner.user.id);
    remove(&owner, &id, &admin).await.unwrap();

    let refusal = refused(get_project(&left, &project).await);
    let class = (Code::Unauthenticated, "ACCESS_TOKEN_INVALID");
    assert_eq!(refusal.class(), class);
    let request = pb::ExchangeApiKeyRequest {
        secret: left_secret,
    };
    let exchanged = server.anonymous().auth.exchange_api_key(request).await;
    let class = (Code::Unauthenticated, "API_KEY_INVALID");
    assert_eq!(refused(exchanged).class(), class);
    let kept = program(&server, &secret, server.user().await).await;
    get_project(&kept, &project).await.unwrap();
    // Keys of the personal organization stay.
    program(&server, &own_secret, admin).await;
}

#[rstest]
#[tokio::test]
async fn the_key_of_a_removed_member_is_refused_on_every_replica_within_five_seconds(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let owner = verified_user(&server).await;
    let id = create(&owner).await.id;
    let (project, _) = create_project(&owner, &id).await.unwrap();
    let member = join(&server, &owner, &id, Role::Viewer).await;
    let scopes = ["projects:read", "streams:read"];
    let (_, secret) = create_key(&member, &id, &scopes, Vec::new()).await.unwrap();
    let here = program(&server, &secret, server.user().await).await;
    // A file of SQLite has one server.
    let channel = match engine {
        Sqlite => server.channel.clone(),
        _ => server.replica().await,
    };
    let token = calls::api_key_token(&server, &secret).await;
    let there = User {
        client: Client::with_token(&channel, &token),
        ..server.user().await
    };
    let watches = [
        watch(&here.client, &id, None).await,
        watch(&there.client, "", Some(&project)).await,
    ];

    remove(&owner, &id, &member).await.unwrap();

    let removed = Instant::now();
    // From the next call on, although the other replica has not learned of it yet.
    refused(get_project(&here, &project).await);
    refused(get_project(&there, &project).await);
    for watch in watches {
        read_to_end(watch).await;
        assert!(removed.elapsed() < Duration::from_secs(5));
    }
    for program in [&here, &there] {
        let refusal = refused(get_project(program, &project).await);
        let class = (Code::Unauthenticated, "ACCESS_TOKEN_INVALID");
        assert_eq!(refusal.class(), class);
    }
    let exchange = pb::ExchangeApiKeyRequest { secret };
    let mut auth = Client::anonymous(&channel).auth;
    let refusal = refused(auth.exchange_api_key(exchange).await);
    let class = (Code::Unauthenticated, "API_KEY_INVALID");
    assert_eq!(refusal.class(), class);
}

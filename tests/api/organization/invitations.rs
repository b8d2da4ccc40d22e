use rstest::rstest;
use sluice::proto::v1::{self as pb, OrganizationRole as Role};
use tonic::Code;
use uuid::Uuid;

use super::fixture::{
    accept, create, get, invite, join, refused, remove, set_role, token, verified_user, verify,
};
use crate::harness::{Engine, Postgres, Sqlite, TestServer, User};

const INVALID: (Code, &str) = (Code::Unauthenticated, "MAIL_TOKEN_INVALID");
const NOT_FOUND: (Code, &str) = (Code::NotFound, "RESOURCE_NOT_FOUND");

async fn list(user: &User, organization_id: &str) -> Vec<pb::Invitation> {
    let request = pb::ListInvitationsRequest {
        organization_id: organization_id.to_owned(),
        ..Default::default()
    };
    let mut organizations = user.client.organization.clone();
    let listed = organizations.list_invitations(request);
    listed.await.unwrap().into_inner().invitations
}

async fn revoke(user: &User, id: &str) -> Result<(), tonic::Status> {
    let request = pb::RevokeInvitationRequest {
        invitation_id: id.to_owned(),
    };
    let mut organizations = user.client.organization.clone();
    let revoked = organizations.revoke_invitation(request);
    revoked.await.map(drop)
}

#[rstest]
#[tokio::test]
async fn an_invitation_makes_its_user_a_member_once(#[values(Sqlite, Postgres)] engine: Engine) {
    let flags = ["--mail-invitation-url=https://app.example.com/join#token="];
    let server = TestServer::start_with(engine, &flags).await;
    let owner = verified_user(&server).await;
    let id = create(&owner).await.id;
    let (user, other) = (verified_user(&server).await, verified_user(&server).await);

    // The address is compared without regard to case.
    let address = user.email.to_uppercase();
    let sent = invite(&owner, &id, &address, Role::Producer).await.unwrap();
    assert_eq!(
        (&*sent.organization_id, &*sent.email, sent.role()),
        (&*id, &*address, Role::Producer)
    );
    assert_eq!(sent.inviter_user_id, owner.user.id);
    let week = 7 * 24 * 60 * 60;
    let lifetime = sent.expire_time.unwrap().seconds - sent.create_time.unwrap().seconds;
    assert_eq!(lifetime, week);
    assert_eq!(list(&owner, &id).await, [sent]);
    let mail = server.database.mail(&address, "nvitation", 1).await;
    assert!(!format!("{mail:?}").contains("Studio"));
    let token = mail.token();

    assert_eq!(refused(accept(&other, &token).await).class(), INVALID);
    let joined = accept(&user, &token).await.unwrap().into_inner();
    let joined = joined.organization.unwrap();
    assert_eq!((&*joined.id, joined.role()), (&*id, Role::Producer));
    assert_eq!(get(&user, &id).await.unwrap(), joined);
    assert!(list(&owner, &id).await.is_empty());

    assert_eq!(refused(accept(&user, &token).await).class(), INVALID);
    assert_eq!(refused(accept(&user, "made up").await).class(), INVALID);
    assert_eq!(refused(accept(&user, " ").await).fields(), ["token"]);
}

#[rstest]
#[tokio::test]
async fn an_invitation_is_the_same_whether_or_not_the_address_has_an_account(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let owner = verified_user(&server).await;
    let id = create(&owner).await.id;
    let user = server.user().await;
    let member = join(&server, &owner, &id, Role::Viewer).await;

    for email in [&*user.email, &*member.email, "nobody@example.com"] {
        let sent = invite(&owner, &id, email, Role::Admin).await.unwrap();
        assert_eq!(sent.email, email);
        assert_eq!(sent.role(), Role::Admin);
    }
    let nobody = token(&server.database, "nobody@example.com").await;
    assert_eq!(refused(accept(&user, &nobody).await).class(), INVALID);

    // Only who has proved to own the address can accept.
    let theirs = token(&server.database, &user.email).await;
    assert_eq!(refused(accept(&user, &theirs).await).class(), INVALID);
    verify(&server.database, &user).await;
    accept(&user, &theirs).await.unwrap();

    // A member keeps the role.
    let again = server.database.mail(&member.email, "nvitation", 2).await;
    accept(&member, &again.token()).await.unwrap();
    assert_eq!(get(&member, &id).await.unwrap().role(), Role::Viewer);
}

#[rstest]
#[tokio::test]
async fn of_two_acceptances_at_once_one_wins(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let owner = verified_user(&server).await;
    let user = verified_user(&server).await;

    for number in 1..=5 {
        let id = create(&owner).await.id;
        invite(&owner, &id, &user.email, Role::Viewer)
            .await
            .unwrap();
        let mail = server.database.mail(&user.email, "nvitation", number).await;
        let token = mail.token();

        let (one, two) = tokio::join!(accept(&user, &token), accept(&user, &token));

        let mut refusals = [one, two].into_iter().filter_map(Result::err);
        let refusal = refused::<()>(Err(refusals.next().unwrap()));
        assert_eq!(refusal.class(), INVALID);
        assert!(refusals.next().is_none());
        get(&user, &id).await.unwrap();
    }
}

#[rstest]
#[tokio::test]
async fn a_revoked_or_expired_invitation_is_not_accepted(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let owner = verified_user(&server).await;
    let (id, other) = (create(&owner).await.id, create(&owner).await.id);
    let viewer = join(&server, &owner, &id, Role::Viewer).await;
    let (stranger, user) = (verified_user(&server).await, verified_user(&server).await);
    let sent = invite(&owner, &id, &user.email, Role::Viewer)
        .await
        .unwrap();
    let first = token(&server.database, &user.email).await;

    assert_eq!(
        refused(revoke(&stranger, &sent.id).await).class(),
        NOT_FOUND
    );
    let class = (Code::PermissionDenied, "ROLE_INSUFFICIENT");
    assert_eq!(refused(revoke(&viewer, &sent.id).await).class(), class);
    revoke(&owner, &sent.id).await.unwrap();
    assert_eq!(refused(revoke(&owner, &sent.id).await).class(), NOT_FOUND);
    assert_eq!(refused(accept(&user, &first).await).class(), INVALID);

    invite(&owner, &other, &user.email, Role::Viewer)
        .await
        .unwrap();
    let second = server.database.mail(&user.email, "nvitation", 2).await;
    let expire = "update invitations set expire_time = '2020-01-01T00:00:00+00:00'";
    server.database.execute(expire).await;
    assert_eq!(
        refused(accept(&user, &second.token()).await).class(),
        INVALID
    );
    assert!(list(&owner, &other).await.is_empty());
}

#[rstest]
#[tokio::test]
async fn the_invitations_of_a_member_end_with_the_right_to_send_them(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let server = TestServer::start(engine).await;
    let owner = verified_user(&server).await;
    let id = create(&owner).await.id;
    let demoted = join(&server, &owner, &id, Role::Admin).await;
    let removed = join(&server, &owner, &id, Role::Admin).await;
    let (one, two) = (verified_user(&server).await, verified_user(&server).await);
    invite(&demoted, &id, &one.email, Role::Admin)
        .await
        .unwrap();
    invite(&removed, &id, &two.email, Role::Admin)
        .await
        .unwrap();
    let first = token(&server.database, &one.email).await;
    let second = token(&server.database, &two.email).await;

    set_role(&owner, &id, &demoted, Role::Producer)
        .await
        .unwrap();
    remove(&owner, &id, &removed).await.unwrap();

    assert_eq!(refused(accept(&one, &first).await).class(), INVALID);
    assert_eq!(refused(accept(&two, &second).await).class(), INVALID);
}

#[rstest]
#[tokio::test]
async fn invitations_and_members_are_limited(#[values(Sqlite, Postgres)] engine: Engine) {
    let flags = ["--max-invitations=2", "--max-members=1"];
    let server = TestServer::start_with(engine, &flags).await;
    let (owner, user) = (verified_user(&server).await, verified_user(&server).await);
    let id = create(&owner).await.id;
    let sent = invite(&owner, &id, &user.email, Role::Viewer)
        .await
        .unwrap();
    let token = token(&server.database, &user.email).await;

    let class = (Code::FailedPrecondition, "MEMBER_LIMIT_REACHED");
    assert_eq!(refused(accept(&user, &token).await).class(), class);

    // A revoked invitation counts.
    revoke(&owner, &sent.id).await.unwrap();
    let email = "nobody@example.com";
    invite(&owner, &id, email, Role::Viewer).await.unwrap();
    let refusal = refused(invite(&owner, &id, email, Role::Viewer).await);
    let class = (Code::FailedPrecondition, "INVITATION_LIMIT_REACHED");
    assert_eq!(refusal.class(), class);
}

#[rstest]
#[tokio::test]
async fn an_invitation_needs_mail_and_valid_fields(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start_with(engine, &["--mail=off"]).await;
    let owner = verified_user(&server).await;
    let id = create(&owner).await.id;

    let refusal = refused(invite(&owner, &id, "bob@example.com", Role::Viewer).await);
    let class = (Code::FailedPrecondition, "MAIL_DISABLED");
    assert_eq!(refusal.class(), class);

    let request = pb::CreateInvitationRequest {
        organization_id: "1".to_owned(),
        email: "no address".to_owned(),
        role: 0,
        request_id: "1".to_owned(),
    };
    let mut organizations = owner.client.organization.clone();
    let sent = organizations.create_invitation(request);
    let fields = ["email", "organization_id", "request_id", "role"];
    assert_eq!(refused(sent.await).fields(), fields);
    let unknown = Uuid::now_v7().to_string();
    let refusal = refused(super::fixture::leave(&owner, &unknown).await);
    assert_eq!(refusal.class(), NOT_FOUND);
}

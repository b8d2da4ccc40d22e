//! What every RPC does for each member of an organization, for its API keys, and for everybody
//! else.

use rstest::rstest;
use sluice::{
    domain::{Role, Scope},
    proto::v1 as pb,
};
use tonic::{Code, Response, Status};
use uuid::Uuid;

use super::{
    descriptors::requests,
    dump::settled_dump,
    id_fields::{IdField, Kind, Resource, UNKNOWN, create_destination, id_fields},
    raw_rpc::{ObservableError, bearer, call},
    tenant_isolation::{ALL_SCOPES, another_session},
};
use crate::{
    auth::{calls, passkey_calls, second_factor_calls},
    harness::{Engine, Postgres, Sqlite, TestServer, User, eventually, refused},
    organization::fixture,
    webhooks::fixture::{create_quiet, plant_delivery},
};

/// What an RPC requires of its caller, in the organization of the resource that a request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// No request names a resource of a user.
    Unnamed,
    /// The caller is a member with this role or a higher one, or an API key of one.
    Member(Role),
    /// The caller is a member with this role or a higher one, in a session.
    Session(Role),
    /// The same. Members with a lower role do not see the resource.
    Visible(Role),
    /// The caller is the user whose resource it is, in a session.
    Account,
    /// The caller is a media server or a relay worker.
    Machine,
}

use Access::{Account, Machine, Member, Session, Unnamed, Visible};
use Role::{Admin, Owner, Producer, Viewer};

/// The access to every RPC. A test compares the names with the descriptor set.
const ACCESS: [(&str, Access); 113] = [
    ("AuthService/SignUp", Unnamed),
    ("AuthService/SignIn", Unnamed),
    ("AuthService/SignInWithIdToken", Unnamed),
    ("AuthService/RefreshTokens", Unnamed),
    ("AuthService/SignOut", Unnamed),
    ("AuthService/ListSessions", Unnamed),
    ("AuthService/RevokeSession", Account),
    ("AuthService/GetMe", Unnamed),
    ("AuthService/UpdateMe", Unnamed),
    ("AuthService/ChangePassword", Unnamed),
    ("AuthService/DeleteMe", Unnamed),
    ("AuthService/RequestEmailVerification", Unnamed),
    ("AuthService/VerifyEmail", Unnamed),
    ("AuthService/RequestPasswordReset", Unnamed),
    ("AuthService/ResetPassword", Unnamed),
    ("AuthService/CreateApiKey", Session(Viewer)),
    ("AuthService/ListApiKeys", Session(Viewer)),
    ("AuthService/RevokeApiKey", Visible(Admin)),
    ("AuthService/AdoptApiKey", Session(Owner)),
    ("AuthService/ExchangeApiKey", Unnamed),
    ("AuthService/GetJwks", Unnamed),
    ("AuthService/ListAuditEvents", Unnamed),
    ("AuthService/RequestEmailChange", Unnamed),
    ("AuthService/ConfirmEmailChange", Unnamed),
    ("AuthService/CancelEmailChange", Unnamed),
    ("AuthService/Reauthenticate", Unnamed),
    ("AuthService/CreateSecondFactor", Unnamed),
    ("AuthService/ConfirmSecondFactor", Account),
    ("AuthService/ListSecondFactors", Unnamed),
    ("AuthService/DeleteSecondFactor", Account),
    ("AuthService/RegenerateRecoveryCodes", Unnamed),
    ("AuthService/BeginPasskeyRegistration", Unnamed),
    ("AuthService/FinishPasskeyRegistration", Unnamed),
    ("AuthService/ListPasskeys", Unnamed),
    ("AuthService/UpdatePasskey", Account),
    ("AuthService/DeletePasskey", Account),
    ("AuthService/BeginPasskeyAuthentication", Unnamed),
    ("AuthService/SignInWithPasskey", Unnamed),
    ("ProjectService/CreateProject", Member(Producer)),
    ("ProjectService/GetProject", Member(Viewer)),
    ("ProjectService/ListProjects", Member(Viewer)),
    ("ProjectService/UpdateProject", Member(Producer)),
    ("ProjectService/DeleteProject", Member(Producer)),
    ("ProjectService/RotateStreamKey", Member(Producer)),
    ("ProjectService/RevealStreamKey", Member(Producer)),
    ("ProjectService/CreateDestination", Member(Producer)),
    ("ProjectService/GetDestination", Member(Viewer)),
    ("ProjectService/ListDestinations", Member(Viewer)),
    ("ProjectService/UpdateDestination", Member(Producer)),
    ("ProjectService/CheckDestination", Member(Producer)),
    ("ProjectService/DeleteDestination", Member(Producer)),
    ("ProjectService/ListPlatforms", Unnamed),
    ("StreamService/BeginPublish", Unnamed),
    ("StreamService/HeartbeatPublish", Machine),
    ("StreamService/EndPublish", Machine),
    ("StreamService/SyncNode", Machine),
    ("StreamService/GetStream", Member(Viewer)),
    ("StreamService/ListStreams", Member(Viewer)),
    ("StreamService/ListStreamSamples", Member(Viewer)),
    ("StreamService/StopStream", Member(Producer)),
    ("StreamService/ListRefusals", Member(Viewer)),
    ("StreamService/WatchProject", Member(Viewer)),
    ("StreamService/WatchProjects", Member(Viewer)),
    ("StreamService/StartRelay", Member(Producer)),
    ("StreamService/StopRelay", Member(Producer)),
    ("StreamService/ListRelays", Member(Viewer)),
    ("StreamService/ClaimRelays", Unnamed),
    ("StreamService/ReportRelays", Unnamed),
    ("OperatorService/CreateOperatorKey", Unnamed),
    ("OperatorService/ListOperatorKeys", Unnamed),
    ("OperatorService/RevokeOperatorKey", Unnamed),
    ("OperatorService/ListUsers", Unnamed),
    ("OperatorService/GetUser", Unnamed),
    ("OperatorService/SuspendUser", Unnamed),
    ("OperatorService/ResumeUser", Unnamed),
    ("OperatorService/ListOrganizations", Unnamed),
    ("OperatorService/SuspendOrganization", Unnamed),
    ("OperatorService/ResumeOrganization", Unnamed),
    ("OperatorService/GetOrganizationQuota", Unnamed),
    ("OperatorService/SetOrganizationQuota", Unnamed),
    ("OperatorService/ListNodes", Unnamed),
    ("OperatorService/DrainNode", Unnamed),
    ("OperatorService/ResumeNode", Unnamed),
    ("OperatorService/ListWorkers", Unnamed),
    ("OperatorService/ListLiveStreams", Unnamed),
    ("OperatorService/ListAuditEvents", Unnamed),
    ("WebhookService/CreateWebhook", Member(Admin)),
    ("WebhookService/GetWebhook", Member(Viewer)),
    ("WebhookService/ListWebhooks", Member(Viewer)),
    ("WebhookService/UpdateWebhook", Member(Admin)),
    ("WebhookService/DeleteWebhook", Member(Admin)),
    ("WebhookService/RotateWebhookSecret", Member(Admin)),
    ("WebhookService/TestWebhook", Member(Admin)),
    ("WebhookService/ListWebhookDeliveries", Member(Viewer)),
    ("WebhookService/RedeliverWebhook", Member(Admin)),
    ("UsageService/GetUsage", Member(Viewer)),
    ("UsageService/ListUsage", Member(Viewer)),
    ("UsageService/GetQuota", Member(Viewer)),
    ("OrganizationService/CreateOrganization", Unnamed),
    ("OrganizationService/GetOrganization", Session(Viewer)),
    ("OrganizationService/ListOrganizations", Unnamed),
    ("OrganizationService/UpdateOrganization", Session(Admin)),
    ("OrganizationService/DeleteOrganization", Session(Owner)),
    ("OrganizationService/ListMembers", Session(Viewer)),
    ("OrganizationService/UpdateMember", Session(Admin)),
    ("OrganizationService/RemoveMember", Session(Admin)),
    ("OrganizationService/LeaveOrganization", Session(Viewer)),
    ("OrganizationService/CreateInvitation", Session(Admin)),
    ("OrganizationService/ListInvitations", Session(Admin)),
    ("OrganizationService/RevokeInvitation", Session(Admin)),
    ("OrganizationService/AcceptInvitation", Unnamed),
    ("OrganizationService/TransferProject", Session(Admin)),
    (
        "OrganizationService/ListOrganizationAuditEvents",
        Session(Admin),
    ),
];

/// The fields whose resource must be one of the organization that another field of the request
/// names, which is empty here: sessions mean the personal one of their user.
const OF_OWN_ORGANIZATION: [&str; 4] = [
    "/sluice.v1.AuthService/CreateApiKey project_ids",
    "/sluice.v1.UsageService/GetUsage project_id",
    "/sluice.v1.UsageService/ListUsage project_id",
    "/sluice.v1.UsageService/ListUsage destination_id",
];

/// The errors of calls that are permitted, and fail for another reason.
const OTHER_REASONS: [&str; 2] = ["LAST_OWNER", "NO_RELAY_WORKER"];

fn access(path: &str) -> Access {
    let name = path.strip_prefix("/sluice.v1.").unwrap();
    let found = ACCESS.iter().find(|(of, _)| *of == name);
    found.unwrap_or_else(|| panic!("add {name} to ACCESS")).1
}

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    /// A member in a session.
    Member(Role),
    RemovedMember,
    /// A user who never was a member, in a session.
    Stranger,
    /// An API key of the organization with all scopes, whose user has this role.
    Key(Role),
    /// An API key of the organization whose user is no member any more.
    KeyOfRemovedMember,
    /// An API key of the personal organization of an owner.
    PersonalKeyOfOwner,
    KeyOfStranger,
}

const CALLERS: [Caller; 13] = [
    Caller::Member(Owner),
    Caller::Member(Admin),
    Caller::Member(Producer),
    Caller::Member(Viewer),
    Caller::RemovedMember,
    Caller::Stranger,
    Caller::Key(Owner),
    Caller::Key(Admin),
    Caller::Key(Producer),
    Caller::Key(Viewer),
    Caller::KeyOfRemovedMember,
    Caller::PersonalKeyOfOwner,
    Caller::KeyOfStranger,
];

const NOT_FOUND: (Code, &str) = (Code::NotFound, "RESOURCE_NOT_FOUND");
const INSUFFICIENT: (Code, &str) = (Code::PermissionDenied, "ROLE_INSUFFICIENT");
const SUSPENDED: (Code, &str) = (Code::PermissionDenied, "ORGANIZATION_SUSPENDED");
const UNPROTECTED: (Code, &str) = (Code::PermissionDenied, "SECOND_FACTOR_MISSING");

/// What keeps members from using their organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hindrance {
    Nothing,
    /// An operator has suspended it.
    Suspension,
    /// It requires a second factor. Only its owner has one.
    SecondFactor,
}

impl Caller {
    /// The role in the organization.
    fn role(self) -> Option<Role> {
        match self {
            Self::Member(role) | Self::Key(role) => Some(role),
            _ => None,
        }
    }

    fn is_key(self) -> bool {
        !matches!(self, Self::Member(_) | Self::RemovedMember | Self::Stranger)
    }

    /// The error of a call with a field of an organization; `None` if it is permitted.
    fn refusal(self, field: &IdField, hindrance: Hindrance) -> Option<(Code, &'static str)> {
        let access = access(field.path());
        if self == Self::KeyOfRemovedMember {
            return Some((Code::Unauthenticated, "ACCESS_TOKEN_INVALID"));
        }
        if access == Machine {
            return Some((Code::PermissionDenied, "SCOPE_MISSING"));
        }
        if self.is_key() && !matches!(access, Member(_)) {
            return Some((Code::PermissionDenied, "SESSION_REQUIRED"));
        }
        if !self.is_key() && OF_OWN_ORGANIZATION.contains(&field.name) {
            return Some(NOT_FOUND);
        }
        let Some(role) = self.role() else {
            return Some(NOT_FOUND);
        };
        if matches!(access, Member(_) | Session(_) | Visible(_)) {
            match hindrance {
                Hindrance::Suspension => return Some(SUSPENDED),
                Hindrance::SecondFactor if role != Owner => return Some(UNPROTECTED),
                Hindrance::SecondFactor | Hindrance::Nothing => {}
            }
        }
        match access {
            Member(lowest) | Session(lowest) if !role.includes(lowest) => Some(INSUFFICIENT),
            Visible(lowest) if !role.includes(lowest) => Some(NOT_FOUND),
            Member(_) | Session(_) | Visible(_) => None,
            // The resource is one of the owner.
            Account if role == Owner => None,
            Account => Some(NOT_FOUND),
            Unnamed | Machine => panic!("{} names a resource: correct ACCESS", field.name),
        }
    }
}

/// An organization with one resource of each type.
struct Studio {
    id: String,
    ids: Vec<(Resource, String)>,
}

impl Studio {
    /// The id of a resource of a type.
    fn resource(&self, resource: Resource) -> &str {
        let found = self.ids.iter().find(|(of, _)| *of == resource);
        &found.unwrap().1
    }

    /// A request with an id, and with another resource of the organization if it needs one.
    fn request(&self, field: &IdField, id: &str) -> Vec<u8> {
        let request = (field.request)(id.to_owned());
        let Kind::OwnedWith(_, other) = field.kind else {
            return request;
        };
        let other = self.resource(other).as_bytes();
        let unknown = UNKNOWN.as_bytes();
        let mut windows = request.windows(unknown.len());
        let start = windows.position(|window| window == unknown).unwrap();
        let end = start + unknown.len();
        [&request[..start], other, &request[end..]].concat()
    }
}

/// A server, and the users who are members of each organization.
struct Fixture {
    server: TestServer,
    members: [(Role, User); 4],
    removed: User,
    stranger: User,
    /// The resources of the owner's account.
    account: [(Resource, String); 3],
}

impl Fixture {
    async fn start(engine: Engine) -> Self {
        let flags = ["--max-organizations=1000"];
        let server = TestServer::start_with(engine, &flags).await;
        let owner = fixture::verified_user(&server).await;
        let session = another_session(&server, &owner).await;
        let (authenticator, codes) = second_factor_calls::enrol(&owner).await;
        let passkey = passkey_calls::register_another(&owner, &codes[0]).await;
        let account = [
            (Resource::Session, session),
            (Resource::SecondFactor, authenticator.id),
            (Resource::Passkey, passkey.id),
        ];
        let members = [
            (Owner, owner),
            (Admin, server.user().await),
            (Producer, server.user().await),
            (Viewer, server.user().await),
        ];
        Self {
            removed: server.user().await,
            stranger: server.user().await,
            server,
            members,
            account,
        }
    }

    fn member(&self, role: Role) -> &User {
        let found = self.members.iter().find(|(of, _)| *of == role);
        &found.unwrap().1
    }

    /// A new organization with all members.
    async fn studio(&self) -> Studio {
        let (database, owner) = (&self.server.database, self.member(Owner));
        let id = fixture::create(owner).await.id;
        for (role, user) in &self.members {
            fixture::plant_member(database, &id, user, *role).await;
        }
        let (project, stream_key) = fixture::create_project(owner, &id).await.unwrap();
        let request = create_destination(project.id.clone(), String::new());
        let mut projects = owner.client.project.clone();
        let created = projects.create_destination(request).await.unwrap();
        let destination = created.into_inner().destination.unwrap();
        let media = self.server.media_server().await;
        let stream = media.live(&stream_key, "c1").await;
        let key = pb::CreateApiKeyRequest {
            organization_id: id.clone(),
            ..calls::api_key_request(&["projects:read"])
        };
        let (api_key, _) = calls::new_api_key(owner, key).await;
        let webhook = create_quiet(owner, &project.id, true).await;
        // The event of the project's creation.
        let delivery = plant_delivery(database, &webhook.id, &project.id, 1, "failed").await;
        let email = "invited@example.com";
        let role = pb::OrganizationRole::Viewer;
        let invitation = fixture::invite(owner, &id, email, role).await.unwrap();
        let mut ids = vec![
            (Resource::Organization, id.clone()),
            (Resource::Project, project.id),
            (Resource::Destination, destination.id),
            (Resource::Stream, stream.id),
            (Resource::ApiKey, api_key.id),
            (Resource::Webhook, webhook.id),
            (Resource::WebhookDelivery, delivery),
            (Resource::Invitation, invitation.id),
            (Resource::Member, self.member(Viewer).user.id.clone()),
        ];
        ids.extend(self.account.clone());
        Studio { id, ids }
    }

    /// All callers with their access tokens.
    async fn callers(&self, studio: &Studio) -> Vec<(Caller, String)> {
        let mut callers = Vec::new();
        for caller in CALLERS {
            callers.push((caller, self.token(studio, caller).await));
        }
        callers
    }

    /// The access token of a caller of an organization.
    async fn token(&self, studio: &Studio, caller: Caller) -> String {
        let database = &self.server.database;
        match caller {
            Caller::Member(role) => self.member(role).tokens.access_token.clone(),
            Caller::RemovedMember => self.removed.tokens.access_token.clone(),
            Caller::Stranger => self.stranger.tokens.access_token.clone(),
            Caller::PersonalKeyOfOwner => self.key(self.member(Owner), "").await,
            Caller::KeyOfStranger => self.key(&self.stranger, "").await,
            // The key has the scopes of a higher role than its user has later.
            Caller::Key(role) => {
                let user = self.member(role);
                fixture::plant_member(database, &studio.id, user, Owner).await;
                let token = self.key(user, &studio.id).await;
                fixture::plant_member(database, &studio.id, user, role).await;
                token
            }
            Caller::KeyOfRemovedMember => {
                fixture::plant_member(database, &studio.id, &self.removed, Owner).await;
                let token = self.key(&self.removed, &studio.id).await;
                let owner = self.member(Owner);
                let removed = fixture::remove(owner, &studio.id, &self.removed).await;
                removed.unwrap();
                token
            }
        }
    }

    /// The access token of a new API key with all scopes.
    async fn key(&self, user: &User, organization_id: &str) -> String {
        let request = pb::CreateApiKeyRequest {
            organization_id: organization_id.to_owned(),
            ..calls::api_key_request(&ALL_SCOPES)
        };
        let (_, secret) = calls::new_api_key(user, request).await;
        calls::api_key_token(&self.server, &secret).await
    }

    async fn send(
        &self,
        field: &IdField,
        token: &str,
        request: Vec<u8>,
    ) -> Result<Response<Vec<u8>>, Status> {
        call(
            &self.server.channel,
            field.path(),
            &[bearer(token)],
            request,
        )
        .await
    }

    /// A caller is refused with an error. If it hides the resource, an unknown one has the same.
    async fn assert_refused(
        &self,
        studio: &Studio,
        field: &IdField,
        (caller, token): (Caller, &str),
        class: (Code, &str),
    ) {
        let unknown = Uuid::now_v7().to_string();
        let known = studio.resource(field.resource().unwrap());
        // A member may learn of what exists.
        let hides = ![INSUFFICIENT, SUSPENDED, UNPROTECTED].contains(&class);
        let mut errors = Vec::new();
        for id in [known, &unknown] {
            let answer = self.send(field, token, studio.request(field, id)).await;
            let what = format!("{} called by {caller:?}", field.name);
            let status = answer.err().unwrap_or_else(|| panic!("{what} succeeded"));
            errors.push(ObservableError::of(&status).with_id_masked(id));
            if id == known || hides {
                assert_eq!(refused::<()>(Err(status)).class(), class, "{what}");
            }
        }
        if hides {
            assert_eq!(errors[0], errors[1], "{} called by {caller:?}", field.name);
        }
    }

    /// All calls that are not permitted are refused, and write nothing; returns their number.
    async fn assert_all_refused(
        &self,
        studio: &Studio,
        callers: &[(Caller, String)],
        hindrance: Hindrance,
    ) -> usize {
        let before = settled_dump(&self.server.database).await;
        let mut refusals = 0;
        for field in id_fields() {
            if field.resource().is_none() {
                continue;
            }
            for (caller, token) in callers {
                if let Some(class) = caller.refusal(&field, hindrance) {
                    let caller = (*caller, &**token);
                    self.assert_refused(studio, &field, caller, class).await;
                    refusals += 1;
                }
            }
            // Not even an audit event.
            let after = settled_dump(&self.server.database).await;
            assert_eq!(after, before, "{}", field.name);
        }
        refusals
    }
}

/// Whether an RPC changes nothing, so that all may call it in the same organization.
fn only_reads(path: &str) -> bool {
    let (_, method) = path.rsplit_once('/').unwrap();
    let reads = ["Get", "List", "Watch", "Reveal", "Check"];
    reads.iter().any(|verb| method.starts_with(verb))
}

#[test]
fn every_rpc_has_an_entry_and_names_what_the_entry_says() {
    let mut described: Vec<_> = requests().into_keys().collect();
    let mut entries: Vec<_> = ACCESS
        .iter()
        .map(|(name, _)| format!("/sluice.v1.{name}"))
        .collect();
    described.sort_unstable();
    entries.sort_unstable();
    assert_eq!(entries, described);

    let fields = id_fields();
    for path in described {
        let mut of_rpc = fields.iter().filter(|field| field.path() == path);
        let names_resource = of_rpc.any(|field| field.resource().is_some());
        assert_eq!(names_resource, access(&path) != Unnamed, "{path}");
    }
    for name in OF_OWN_ORGANIZATION {
        assert!(fields.iter().any(|field| field.name == name), "{name}");
    }
}

#[rstest]
#[tokio::test]
async fn no_rpc_serves_a_caller_without_the_role_that_it_requires(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let studio = fixture.studio().await;
    let callers = fixture.callers(&studio).await;

    let refusals = fixture
        .assert_all_refused(&studio, &callers, Hindrance::Nothing)
        .await;
    assert!(refusals > 500, "{refusals}");
}

#[rstest]
#[tokio::test]
async fn no_rpc_serves_a_member_or_a_key_of_a_suspended_organization(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let studio = fixture.studio().await;
    let callers = fixture.callers(&studio).await;
    let operator = fixture.server.operator(&[Scope::OperatorWrite]).await;
    let suspend = pb::SuspendOrganizationRequest {
        organization_id: studio.id.clone(),
    };
    let mut operator = operator.operator.clone();
    operator.suspend_organization(suspend).await.unwrap();
    eventually("the stream ends", async || {
        let live = "select count(*) from streams where end_time is null";
        (fixture.server.database.number(live).await == 0).then_some(())
    })
    .await;

    let refusals = fixture
        .assert_all_refused(&studio, &callers, Hindrance::Suspension)
        .await;
    assert!(refusals > 900, "{refusals}");
}

#[rstest]
#[tokio::test]
async fn no_rpc_serves_a_member_or_a_key_without_the_second_factor_that_is_required(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let studio = fixture.studio().await;
    let callers = fixture.callers(&studio).await;
    let require = pb::UpdateOrganizationRequest {
        organization_id: studio.id.clone(),
        require_second_factor: Some(true),
        ..Default::default()
    };
    let mut organizations = fixture.member(Owner).client.organization.clone();
    organizations.update_organization(require).await.unwrap();

    let refusals = fixture
        .assert_all_refused(&studio, &callers, Hindrance::SecondFactor)
        .await;
    assert!(refusals > 700, "{refusals}");
}

#[rstest]
#[tokio::test]
async fn every_rpc_serves_the_members_and_keys_with_the_role_that_it_requires(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let fixture = Fixture::start(engine).await;
    let shared = fixture.studio().await;
    let mut tokens = Vec::new();
    for caller in CALLERS {
        tokens.push(fixture.token(&shared, caller).await);
    }

    for field in id_fields() {
        // What is one of an account, not of an organization, has tests of its own.
        let Some(resource) = field.resource().filter(|_| access(field.path()) != Account) else {
            continue;
        };
        for (caller, shared_token) in CALLERS.into_iter().zip(&tokens) {
            if caller.refusal(&field, Hindrance::Nothing).is_some() {
                continue;
            }
            let answer = if only_reads(field.path()) {
                let request = shared.request(&field, shared.resource(resource));
                fixture.send(&field, shared_token, request).await
            } else {
                let studio = fixture.studio().await;
                let token = fixture.token(&studio, caller).await;
                let request = studio.request(&field, studio.resource(resource));
                fixture.send(&field, &token, request).await
            };
            if answer.is_err() {
                let refusal = refused(answer);
                let reason = &*refusal.reason;
                let what = format!("{} called by {caller:?}: {refusal:?}", field.name);
                assert!(OTHER_REASONS.contains(&reason), "{what}");
            }
        }
    }
}

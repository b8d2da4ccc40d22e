//! The access that each RPC requires. A test compares the table with the descriptor set.

use std::{collections::HashMap, sync::LazyLock};

use crate::domain::{Role, Scope};

/// The access that an RPC requires of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequiredAccess {
    /// No token.
    Public,
    /// An access token of a user's session.
    Session,
    /// An access token with all of these scopes.
    Scopes(&'static [Scope]),
}

impl RequiredAccess {
    /// The lowest role of a member that has the required scopes.
    pub fn role(self) -> Role {
        match self {
            Self::Scopes(scopes) => Role::lowest_with(scopes),
            // Such a method names the role that it requires.
            Self::Public | Self::Session => Role::Owner,
        }
    }
}

/// Every RPC of `sluice.v1`: its path and the required access.
pub const METHODS: [(&str, RequiredAccess); 108] = {
    use RequiredAccess::{Public, Session};
    const PROJECTS_READ: RequiredAccess = RequiredAccess::Scopes(&[Scope::ProjectsRead]);
    const PROJECTS_WRITE: RequiredAccess = RequiredAccess::Scopes(&[Scope::ProjectsWrite]);
    const BOTH_READ: RequiredAccess =
        RequiredAccess::Scopes(&[Scope::StreamsRead, Scope::ProjectsRead]);
    const STREAMS_READ: RequiredAccess = RequiredAccess::Scopes(&[Scope::StreamsRead]);
    const STREAMS_WRITE: RequiredAccess = RequiredAccess::Scopes(&[Scope::StreamsWrite]);
    const RELAYS_WORK: RequiredAccess = RequiredAccess::Scopes(&[Scope::RelaysWork]);
    const STREAMS_PUBLISH: RequiredAccess = RequiredAccess::Scopes(&[Scope::StreamsPublish]);
    const WEBHOOKS_READ: RequiredAccess = RequiredAccess::Scopes(&[Scope::WebhooksRead]);
    const USAGE_READ: RequiredAccess = RequiredAccess::Scopes(&[Scope::UsageRead]);
    const WEBHOOKS_WRITE: RequiredAccess = RequiredAccess::Scopes(&[Scope::WebhooksWrite]);
    // An endpoint gets projects and streams.
    const WEBHOOKS_SEND: RequiredAccess = RequiredAccess::Scopes(&[
        Scope::WebhooksWrite,
        Scope::ProjectsRead,
        Scope::StreamsRead,
    ]);
    const OPERATOR_READ: RequiredAccess = RequiredAccess::Scopes(&[Scope::OperatorRead]);
    const OPERATOR_WRITE: RequiredAccess = RequiredAccess::Scopes(&[Scope::OperatorWrite]);

    [
        ("/sluice.v1.AuthService/SignUp", Public),
        ("/sluice.v1.AuthService/SignIn", Public),
        ("/sluice.v1.AuthService/SignInWithIdToken", Public),
        ("/sluice.v1.AuthService/RefreshTokens", Public),
        ("/sluice.v1.AuthService/SignOut", Session),
        ("/sluice.v1.AuthService/ListSessions", Session),
        ("/sluice.v1.AuthService/RevokeSession", Session),
        ("/sluice.v1.AuthService/GetMe", Session),
        ("/sluice.v1.AuthService/UpdateMe", Session),
        ("/sluice.v1.AuthService/ChangePassword", Session),
        ("/sluice.v1.AuthService/DeleteMe", Session),
        ("/sluice.v1.AuthService/RequestEmailVerification", Session),
        ("/sluice.v1.AuthService/VerifyEmail", Session),
        ("/sluice.v1.AuthService/RequestPasswordReset", Public),
        ("/sluice.v1.AuthService/ResetPassword", Public),
        ("/sluice.v1.AuthService/CreateApiKey", Session),
        ("/sluice.v1.AuthService/ListApiKeys", Session),
        ("/sluice.v1.AuthService/RevokeApiKey", Session),
        ("/sluice.v1.AuthService/AdoptApiKey", Session),
        ("/sluice.v1.AuthService/ExchangeApiKey", Public),
        ("/sluice.v1.AuthService/GetJwks", Public),
        ("/sluice.v1.AuthService/ListAuditEvents", Session),
        ("/sluice.v1.AuthService/RequestEmailChange", Session),
        ("/sluice.v1.AuthService/ConfirmEmailChange", Session),
        ("/sluice.v1.AuthService/CancelEmailChange", Public),
        ("/sluice.v1.AuthService/Reauthenticate", Session),
        ("/sluice.v1.AuthService/CreateSecondFactor", Session),
        ("/sluice.v1.AuthService/ConfirmSecondFactor", Session),
        ("/sluice.v1.AuthService/ListSecondFactors", Session),
        ("/sluice.v1.AuthService/DeleteSecondFactor", Session),
        ("/sluice.v1.AuthService/RegenerateRecoveryCodes", Session),
        ("/sluice.v1.AuthService/BeginPasskeyRegistration", Session),
        ("/sluice.v1.AuthService/FinishPasskeyRegistration", Session),
        ("/sluice.v1.AuthService/ListPasskeys", Session),
        ("/sluice.v1.AuthService/UpdatePasskey", Session),
        ("/sluice.v1.AuthService/DeletePasskey", Session),
        ("/sluice.v1.AuthService/BeginPasskeyAuthentication", Public),
        ("/sluice.v1.AuthService/SignInWithPasskey", Public),
        ("/sluice.v1.ProjectService/CreateProject", PROJECTS_WRITE),
        ("/sluice.v1.ProjectService/GetProject", PROJECTS_READ),
        ("/sluice.v1.ProjectService/ListProjects", PROJECTS_READ),
        ("/sluice.v1.ProjectService/UpdateProject", PROJECTS_WRITE),
        ("/sluice.v1.ProjectService/DeleteProject", PROJECTS_WRITE),
        ("/sluice.v1.ProjectService/RotateStreamKey", PROJECTS_WRITE),
        ("/sluice.v1.ProjectService/RevealStreamKey", PROJECTS_WRITE),
        (
            "/sluice.v1.ProjectService/CreateDestination",
            PROJECTS_WRITE,
        ),
        ("/sluice.v1.ProjectService/GetDestination", PROJECTS_READ),
        ("/sluice.v1.ProjectService/ListDestinations", PROJECTS_READ),
        (
            "/sluice.v1.ProjectService/UpdateDestination",
            PROJECTS_WRITE,
        ),
        // It makes an edge connect to the destination.
        ("/sluice.v1.ProjectService/CheckDestination", PROJECTS_WRITE),
        (
            "/sluice.v1.ProjectService/DeleteDestination",
            PROJECTS_WRITE,
        ),
        ("/sluice.v1.ProjectService/ListPlatforms", PROJECTS_READ),
        ("/sluice.v1.StreamService/BeginPublish", STREAMS_PUBLISH),
        ("/sluice.v1.StreamService/HeartbeatPublish", STREAMS_PUBLISH),
        ("/sluice.v1.StreamService/EndPublish", STREAMS_PUBLISH),
        ("/sluice.v1.StreamService/SyncNode", STREAMS_PUBLISH),
        ("/sluice.v1.StreamService/GetStream", STREAMS_READ),
        ("/sluice.v1.StreamService/ListStreams", STREAMS_READ),
        ("/sluice.v1.StreamService/ListStreamSamples", STREAMS_READ),
        ("/sluice.v1.StreamService/StopStream", STREAMS_WRITE),
        ("/sluice.v1.StreamService/ListRefusals", STREAMS_READ),
        // The response contains the project and its destinations.
        ("/sluice.v1.StreamService/WatchProject", BOTH_READ),
        ("/sluice.v1.StreamService/WatchProjects", BOTH_READ),
        ("/sluice.v1.StreamService/StartRelay", STREAMS_WRITE),
        ("/sluice.v1.StreamService/StopRelay", STREAMS_WRITE),
        ("/sluice.v1.StreamService/ListRelays", STREAMS_READ),
        ("/sluice.v1.StreamService/ClaimRelays", RELAYS_WORK),
        ("/sluice.v1.StreamService/ReportRelays", RELAYS_WORK),
        (
            "/sluice.v1.OperatorService/CreateOperatorKey",
            OPERATOR_WRITE,
        ),
        ("/sluice.v1.OperatorService/ListOperatorKeys", OPERATOR_READ),
        (
            "/sluice.v1.OperatorService/RevokeOperatorKey",
            OPERATOR_WRITE,
        ),
        ("/sluice.v1.OperatorService/ListUsers", OPERATOR_READ),
        ("/sluice.v1.OperatorService/GetUser", OPERATOR_READ),
        ("/sluice.v1.OperatorService/SuspendUser", OPERATOR_WRITE),
        ("/sluice.v1.OperatorService/ResumeUser", OPERATOR_WRITE),
        (
            "/sluice.v1.OperatorService/GetOrganizationQuota",
            OPERATOR_READ,
        ),
        (
            "/sluice.v1.OperatorService/SetOrganizationQuota",
            OPERATOR_WRITE,
        ),
        ("/sluice.v1.OperatorService/ListNodes", OPERATOR_READ),
        ("/sluice.v1.OperatorService/ListWorkers", OPERATOR_READ),
        ("/sluice.v1.OperatorService/ListLiveStreams", OPERATOR_READ),
        ("/sluice.v1.OperatorService/ListAuditEvents", OPERATOR_READ),
        ("/sluice.v1.WebhookService/CreateWebhook", WEBHOOKS_SEND),
        ("/sluice.v1.WebhookService/GetWebhook", WEBHOOKS_READ),
        ("/sluice.v1.WebhookService/ListWebhooks", WEBHOOKS_READ),
        ("/sluice.v1.WebhookService/UpdateWebhook", WEBHOOKS_SEND),
        ("/sluice.v1.WebhookService/DeleteWebhook", WEBHOOKS_WRITE),
        (
            "/sluice.v1.WebhookService/RotateWebhookSecret",
            WEBHOOKS_WRITE,
        ),
        ("/sluice.v1.WebhookService/TestWebhook", WEBHOOKS_WRITE),
        (
            "/sluice.v1.WebhookService/ListWebhookDeliveries",
            WEBHOOKS_READ,
        ),
        ("/sluice.v1.WebhookService/RedeliverWebhook", WEBHOOKS_SEND),
        ("/sluice.v1.UsageService/GetUsage", USAGE_READ),
        ("/sluice.v1.UsageService/ListUsage", USAGE_READ),
        ("/sluice.v1.UsageService/GetQuota", USAGE_READ),
        ("/sluice.v1.OrganizationService/CreateOrganization", Session),
        ("/sluice.v1.OrganizationService/GetOrganization", Session),
        ("/sluice.v1.OrganizationService/ListOrganizations", Session),
        ("/sluice.v1.OrganizationService/UpdateOrganization", Session),
        ("/sluice.v1.OrganizationService/DeleteOrganization", Session),
        ("/sluice.v1.OrganizationService/ListMembers", Session),
        ("/sluice.v1.OrganizationService/UpdateMember", Session),
        ("/sluice.v1.OrganizationService/RemoveMember", Session),
        ("/sluice.v1.OrganizationService/LeaveOrganization", Session),
        ("/sluice.v1.OrganizationService/CreateInvitation", Session),
        ("/sluice.v1.OrganizationService/ListInvitations", Session),
        ("/sluice.v1.OrganizationService/RevokeInvitation", Session),
        ("/sluice.v1.OrganizationService/AcceptInvitation", Session),
        ("/sluice.v1.OrganizationService/TransferProject", Session),
        (
            "/sluice.v1.OrganizationService/ListOrganizationAuditEvents",
            Session,
        ),
    ]
};

/// The access that the RPC with this path requires; `None` for an unknown path.
pub fn required_access(path: &str) -> Option<RequiredAccess> {
    static BY_PATH: LazyLock<HashMap<&str, RequiredAccess>> = LazyLock::new(|| METHODS.into());
    BY_PATH.get(path).copied()
}

//! Every request field that takes an id, with a request that is valid except for that id.

use prost::Message;
use sluice::proto::v1 as pb;

/// What an id refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A resource of a user.
    Owned(Resource),
    /// The same, in a request that refers to another resource of that user too, by [`UNKNOWN`].
    OwnedWith(Resource, Resource),
    /// The same, in a request that is refused to the owner for a reason of its own.
    OwnedButRefused(Resource),
    /// An idempotency key, which has tests of its own.
    RequestId,
    /// A name of a media server, a connection or a worker, or a lease: no resource of a user.
    Machine,
    /// A resource that only operators name, whatever its tenant: users lack the scope.
    Operator,
}

/// A type of resource that belongs to a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    Project,
    Destination,
    Stream,
    Session,
    ApiKey,
    SecondFactor,
    Passkey,
    Webhook,
    WebhookDelivery,
    Organization,
    Invitation,
    Member,
}

/// An id field, with a request around it.
pub struct IdField {
    /// The path of the RPC and of the field.
    pub name: &'static str,
    pub kind: Kind,
    /// A request with this id, valid otherwise.
    pub request: fn(String) -> Vec<u8>,
}

impl IdField {
    /// The path of the RPC.
    pub fn path(&self) -> &'static str {
        self.name.split_once(' ').unwrap().0
    }

    /// The type of the resource of a user that it refers to.
    pub fn resource(&self) -> Option<Resource> {
        match self.kind {
            Kind::Owned(resource)
            | Kind::OwnedWith(resource, _)
            | Kind::OwnedButRefused(resource) => Some(resource),
            Kind::RequestId | Kind::Machine | Kind::Operator => None,
        }
    }
}

macro_rules! id_fields {
    ($($name:literal: $kind:expr, $id:ident => $request:expr;)*) => {
        vec![$(IdField {
            name: concat!("/sluice.v1.", $name),
            kind: $kind,
            request: |$id| Message::encode_to_vec(&$request),
        }),*]
    };
}

const PROJECT: Kind = Kind::Owned(Resource::Project);
const DESTINATION: Kind = Kind::Owned(Resource::Destination);
const STREAM: Kind = Kind::Owned(Resource::Stream);
const ORGANIZATION: Kind = Kind::Owned(Resource::Organization);
const WEBHOOK: Kind = Kind::Owned(Resource::Webhook);

/// All id fields; a test compares them with the descriptor set.
pub fn id_fields() -> Vec<IdField> {
    id_fields! {
        "AuthService/SignUp request_id": Kind::RequestId, id => sign_up("x", id);
        "AuthService/UpdateMe request_id": Kind::RequestId, id => pb::UpdateMeRequest {
            display_name: Some("Renamed".to_owned()),
            request_id: id,
        };
        "AuthService/RevokeSession session_id": Kind::Owned(Resource::Session), id =>
            pb::RevokeSessionRequest { session_id: id, ..Default::default() };
        "AuthService/RevokeSession request_id": Kind::RequestId, id => pb::RevokeSessionRequest { session_id: UNKNOWN.to_owned(), request_id: id };
        "AuthService/CreateApiKey project_ids": PROJECT, id => pb::CreateApiKeyRequest {
            display_name: "A program".to_owned(),
            scopes: vec!["projects:read".to_owned()],
            project_ids: vec![id],
            expire_time: None, ..Default::default() };
        "AuthService/CreateApiKey request_id": Kind::RequestId, id => pb::CreateApiKeyRequest {
            display_name: "A program".to_owned(),
            scopes: vec!["projects:read".to_owned()],
            request_id: id,
            ..Default::default()
        };
        "AuthService/CreateApiKey organization_id": ORGANIZATION, id => pb::CreateApiKeyRequest {
            display_name: "A program".to_owned(),
            scopes: vec!["projects:read".to_owned()],
            organization_id: id,
            ..Default::default()
        };
        "AuthService/ListApiKeys organization_id": ORGANIZATION, id =>
            pb::ListApiKeysRequest { organization_id: id, ..Default::default() };
        "AuthService/AdoptApiKey api_key_id": Kind::Owned(Resource::ApiKey), id =>
            pb::AdoptApiKeyRequest { api_key_id: id };
        "AuthService/RevokeApiKey api_key_id": Kind::Owned(Resource::ApiKey), id =>
            pb::RevokeApiKeyRequest { api_key_id: id, ..Default::default() };
        "AuthService/RevokeApiKey request_id": Kind::RequestId, id => pb::RevokeApiKeyRequest { api_key_id: UNKNOWN.to_owned(), request_id: id };
        // A code is needed too, which is of one of the user's authenticators.
        "AuthService/ConfirmSecondFactor second_factor_id": Kind::OwnedButRefused(Resource::SecondFactor), id =>
            pb::ConfirmSecondFactorRequest { second_factor_id: id, second_factor_code: "123456".to_owned() };
        "AuthService/DeleteSecondFactor second_factor_id": Kind::OwnedButRefused(Resource::SecondFactor), id =>
            pb::DeleteSecondFactorRequest { second_factor_id: id, second_factor_code: "123456".to_owned(), ..Default::default() };
        "AuthService/UpdatePasskey passkey_id": Kind::Owned(Resource::Passkey), id =>
            pb::UpdatePasskeyRequest { passkey_id: id, display_name: "Renamed".to_owned() };
        "AuthService/DeletePasskey passkey_id": Kind::OwnedButRefused(Resource::Passkey), id =>
            pb::DeletePasskeyRequest { passkey_id: id, second_factor_code: "123456".to_owned(), ..Default::default() };
        "ProjectService/CreateProject request_id": Kind::RequestId, id => create_project(id);
        "ProjectService/CreateProject organization_id": ORGANIZATION, id => pb::CreateProjectRequest {
            organization_id: id,
            ..create_project(String::new())
        };
        "ProjectService/ListProjects organization_id": ORGANIZATION, id =>
            pb::ListProjectsRequest { organization_id: id, ..Default::default() };
        "ProjectService/GetProject project_id": PROJECT, id =>
            pb::GetProjectRequest { project_id: id, ..Default::default() };
        "ProjectService/UpdateProject project_id": PROJECT, id => pb::UpdateProjectRequest {
            project_id: id,
            display_name: Some("Renamed".to_owned()),
            ..Default::default()
        };
        "ProjectService/UpdateProject request_id": Kind::RequestId, id => pb::UpdateProjectRequest {
            project_id: UNKNOWN.to_owned(),
            request_id: id,
            ..Default::default()
        };
        "ProjectService/DeleteProject project_id": PROJECT, id =>
            pb::DeleteProjectRequest { project_id: id, force: true, ..Default::default() };
        "ProjectService/DeleteProject request_id": Kind::RequestId, id => pb::DeleteProjectRequest {
            project_id: UNKNOWN.to_owned(),
            request_id: id,
            ..Default::default()
        };
        "ProjectService/RotateStreamKey project_id": PROJECT, id =>
            pb::RotateStreamKeyRequest { project_id: id, grace: None, ..Default::default() };
        "ProjectService/RotateStreamKey request_id": Kind::RequestId, id => pb::RotateStreamKeyRequest {
            project_id: UNKNOWN.to_owned(),
            request_id: id,
            ..Default::default()
        };
        "ProjectService/RevealStreamKey project_id": PROJECT, id =>
            pb::RevealStreamKeyRequest { project_id: id };
        "ProjectService/CreateDestination project_id": PROJECT, id =>
            create_destination(id, String::new());
        "ProjectService/CreateDestination request_id": Kind::RequestId, id =>
            create_destination(String::new(), id);
        "ProjectService/GetDestination destination_id": DESTINATION, id =>
            pb::GetDestinationRequest { destination_id: id };
        "ProjectService/ListDestinations project_id": PROJECT, id =>
            pb::ListDestinationsRequest { project_id: id, ..Default::default() };
        "ProjectService/UpdateDestination destination_id": DESTINATION, id =>
            pb::UpdateDestinationRequest {
                destination_id: id,
                disabled: Some(true),
                ..Default::default()
            };
        "ProjectService/UpdateDestination request_id": Kind::RequestId, id => pb::UpdateDestinationRequest {
            destination_id: UNKNOWN.to_owned(),
            request_id: id,
            ..Default::default()
        };
        "ProjectService/CheckDestination destination_id": DESTINATION, id =>
            pb::CheckDestinationRequest { destination_id: id };
        "ProjectService/DeleteDestination destination_id": DESTINATION, id =>
            pb::DeleteDestinationRequest { destination_id: id, ..Default::default() };
        "ProjectService/DeleteDestination request_id": Kind::RequestId, id => pb::DeleteDestinationRequest {
            destination_id: UNKNOWN.to_owned(),
            request_id: id,
            ..Default::default()
        };
        "StreamService/BeginPublish publisher.node_id": Kind::Machine, id =>
            begin(pb::Publisher { node_id: id, ..publisher() });
        "StreamService/BeginPublish publisher.boot_id": Kind::Machine, id =>
            begin(pb::Publisher { boot_id: id, ..publisher() });
        "StreamService/BeginPublish publisher.connection_id": Kind::Machine, id =>
            begin(pb::Publisher { connection_id: id, ..publisher() });
        "StreamService/HeartbeatPublish stream_id": STREAM, id => heartbeat(id, publisher());
        "StreamService/HeartbeatPublish publisher.node_id": Kind::Machine, id =>
            heartbeat(UNKNOWN.to_owned(), pb::Publisher { node_id: id, ..publisher() });
        "StreamService/HeartbeatPublish publisher.boot_id": Kind::Machine, id =>
            heartbeat(UNKNOWN.to_owned(), pb::Publisher { boot_id: id, ..publisher() });
        "StreamService/HeartbeatPublish publisher.connection_id": Kind::Machine, id =>
            heartbeat(UNKNOWN.to_owned(), pb::Publisher { connection_id: id, ..publisher() });
        "StreamService/EndPublish stream_id": STREAM, id => end(id, publisher());
        "StreamService/EndPublish publisher.node_id": Kind::Machine, id =>
            end(UNKNOWN.to_owned(), pb::Publisher { node_id: id, ..publisher() });
        "StreamService/EndPublish publisher.boot_id": Kind::Machine, id =>
            end(UNKNOWN.to_owned(), pb::Publisher { boot_id: id, ..publisher() });
        "StreamService/EndPublish publisher.connection_id": Kind::Machine, id =>
            end(UNKNOWN.to_owned(), pb::Publisher { connection_id: id, ..publisher() });
        "StreamService/SyncNode node_id": Kind::Machine, id =>
            pb::SyncNodeRequest { node_id: id, ..sync(connection()) };
        "StreamService/SyncNode boot_id": Kind::Machine, id =>
            pb::SyncNodeRequest { boot_id: id, ..sync(connection()) };
        "StreamService/SyncNode connections.connection_id": Kind::Machine, id =>
            sync(pb::NodeConnection { connection_id: id, ..connection() });
        "StreamService/SyncNode connections.stream_id": STREAM, id =>
            sync(pb::NodeConnection { stream_id: id, epoch: 1, ..connection() });
        "StreamService/GetStream stream_id": STREAM, id => pb::GetStreamRequest { stream_id: id };
        "StreamService/ListStreams project_id": PROJECT, id =>
            pb::ListStreamsRequest { project_id: id, ..Default::default() };
        "StreamService/ListStreams organization_id": ORGANIZATION, id =>
            pb::ListStreamsRequest { organization_id: id, ..Default::default() };
        "StreamService/ListRefusals project_id": PROJECT, id =>
            pb::ListRefusalsRequest { project_id: id, ..Default::default() };
        "StreamService/ListStreamSamples stream_id": STREAM, id =>
            pb::ListStreamSamplesRequest { stream_id: id, ..Default::default() };
        "StreamService/StopStream stream_id": STREAM, id => pb::StopStreamRequest {
            stream_id: id,
            hold: Some(prost_types::Duration { seconds: 60, nanos: 0 }), ..Default::default() };
        "StreamService/StopStream request_id": Kind::RequestId, id => pb::StopStreamRequest {
            stream_id: UNKNOWN.to_owned(),
            request_id: id,
            ..Default::default()
        };
        "StreamService/WatchProject project_id": PROJECT, id =>
            pb::WatchProjectRequest { project_id: id, after_revision: 0 };
        "StreamService/WatchProjects projects.project_id": PROJECT, id =>
            pb::WatchProjectsRequest {
                projects: vec![pb::WatchedProject { project_id: id, after_revision: 0 }],
                ..Default::default()
            };
        "StreamService/WatchProjects organization_id": ORGANIZATION, id =>
            pb::WatchProjectsRequest { organization_id: id, ..Default::default() };
        "StreamService/StartRelay stream_id": Kind::OwnedWith(Resource::Stream, Resource::Destination), id =>
            pb::StartRelayRequest { stream_id: id, destination_id: UNKNOWN.to_owned(), ..Default::default() };
        "StreamService/StartRelay destination_id": Kind::OwnedWith(Resource::Destination, Resource::Stream), id =>
            pb::StartRelayRequest { stream_id: UNKNOWN.to_owned(), destination_id: id, ..Default::default() };
        "StreamService/StartRelay request_id": Kind::RequestId, id => pb::StartRelayRequest {
            stream_id: UNKNOWN.to_owned(),
            destination_id: UNKNOWN.to_owned(),
            request_id: id,
        };
        "StreamService/StopRelay stream_id": Kind::OwnedWith(Resource::Stream, Resource::Destination), id =>
            pb::StopRelayRequest { stream_id: id, destination_id: UNKNOWN.to_owned(), ..Default::default() };
        "StreamService/StopRelay destination_id": Kind::OwnedWith(Resource::Destination, Resource::Stream), id =>
            pb::StopRelayRequest { stream_id: UNKNOWN.to_owned(), destination_id: id, ..Default::default() };
        "StreamService/StopRelay request_id": Kind::RequestId, id => pb::StopRelayRequest {
            stream_id: UNKNOWN.to_owned(),
            destination_id: UNKNOWN.to_owned(),
            request_id: id,
        };
        "StreamService/ListRelays stream_id": STREAM, id => pb::ListRelaysRequest { stream_id: id, ..Default::default() };
        "StreamService/ClaimRelays worker_id": Kind::Machine, id =>
            pb::ClaimRelaysRequest { worker_id: id, ..claim() };
        "StreamService/ClaimRelays node_id": Kind::Machine, id =>
            pb::ClaimRelaysRequest { node_id: id, ..claim() };
        "StreamService/ClaimRelays previous_worker_id": Kind::Machine, id =>
            pb::ClaimRelaysRequest { previous_worker_id: id, ..claim() };
        "StreamService/ReportRelays worker_id": Kind::Machine, id =>
            pb::ReportRelaysRequest { worker_id: id, reports: Vec::new(), ..Default::default() };
        "StreamService/ReportRelays reports.lease_id": Kind::Machine, id => pb::ReportRelaysRequest {
            worker_id: "w1".to_owned(),
            reports: vec![pb::RelayReport { lease_id: id, ..Default::default() }],
            ..Default::default()
        };
        "StreamService/ReportRelays destination_checks.check_id": Kind::Machine, id =>
            pb::ReportRelaysRequest {
                worker_id: "w1".to_owned(),
                destination_checks: vec![pb::DestinationCheckReport {
                    check_id: id,
                    ..Default::default()
                }],
                ..Default::default()
            };
        "OperatorService/CreateOperatorKey node_id": Kind::Machine, id =>
            pb::CreateOperatorKeyRequest { node_id: id, ..create_operator_key() };
        "OperatorService/CreateOperatorKey request_id": Kind::RequestId, id =>
            pb::CreateOperatorKeyRequest { request_id: id, ..create_operator_key() };
        "OperatorService/ListOperatorKeys node_id": Kind::Machine, id =>
            pb::ListOperatorKeysRequest { node_id: id, ..Default::default() };
        "OperatorService/RevokeOperatorKey operator_key_id": Kind::Operator, id =>
            pb::RevokeOperatorKeyRequest { operator_key_id: id, include_created: false };
        "OperatorService/GetUser user_id": Kind::Operator, id => pb::GetUserRequest { user_id: id };
        "OperatorService/SuspendUser user_id": Kind::Operator, id =>
            pb::SuspendUserRequest { user_id: id };
        "OperatorService/ResumeUser user_id": Kind::Operator, id =>
            pb::ResumeUserRequest { user_id: id };
        "OperatorService/ListWorkers node_id": Kind::Machine, id =>
            pb::ListWorkersRequest { node_id: id, ..Default::default() };
        "OperatorService/ListLiveStreams user_id": Kind::Operator, id =>
            pb::ListLiveStreamsRequest { user_id: id, ..Default::default() };
        "OperatorService/ListLiveStreams node_id": Kind::Machine, id =>
            pb::ListLiveStreamsRequest { node_id: id, ..Default::default() };
        "OperatorService/ListAuditEvents user_id": Kind::Operator, id =>
            pb::OperatorServiceListAuditEventsRequest { user_id: id, ..Default::default() };
        "OperatorService/ListAuditEvents operator_key_id": Kind::Operator, id =>
            pb::OperatorServiceListAuditEventsRequest { operator_key_id: id, ..Default::default() };
        "OperatorService/GetOrganizationQuota organization_id": Kind::Operator, id =>
            pb::GetOrganizationQuotaRequest { organization_id: id };
        "OperatorService/SetOrganizationQuota organization_id": Kind::Operator, id =>
            pb::SetOrganizationQuotaRequest { organization_id: id, quota: Some(pb::Quota::default()) };
        "WebhookService/CreateWebhook project_id": PROJECT, id => create_webhook(id, String::new());
        "WebhookService/CreateWebhook organization_id": ORGANIZATION, id =>
            pb::CreateWebhookRequest { organization_id: id, ..create_webhook(String::new(), String::new()) };
        "WebhookService/ListWebhooks organization_id": ORGANIZATION, id =>
            pb::ListWebhooksRequest { organization_id: id, ..Default::default() };
        "WebhookService/CreateWebhook request_id": Kind::RequestId, id =>
            create_webhook(String::new(), id);
        "WebhookService/GetWebhook webhook_id": WEBHOOK, id =>
            pb::GetWebhookRequest { webhook_id: id };
        "WebhookService/ListWebhooks project_id": PROJECT, id =>
            pb::ListWebhooksRequest { project_id: id, ..Default::default() };
        "WebhookService/UpdateWebhook webhook_id": WEBHOOK, id => pb::UpdateWebhookRequest {
            webhook_id: id,
            description: Some("Changed".to_owned()),
            ..Default::default()
        };
        "WebhookService/UpdateWebhook request_id": Kind::RequestId, id => pb::UpdateWebhookRequest {
            webhook_id: UNKNOWN.to_owned(),
            request_id: id,
            ..Default::default()
        };
        "WebhookService/DeleteWebhook webhook_id": WEBHOOK, id =>
            pb::DeleteWebhookRequest { webhook_id: id, ..Default::default() };
        "WebhookService/DeleteWebhook request_id": Kind::RequestId, id => pb::DeleteWebhookRequest {
            webhook_id: UNKNOWN.to_owned(),
            request_id: id,
            ..Default::default()
        };
        "WebhookService/RotateWebhookSecret webhook_id": WEBHOOK, id =>
            pb::RotateWebhookSecretRequest { webhook_id: id, ..Default::default() };
        "WebhookService/RotateWebhookSecret request_id": Kind::RequestId, id =>
            pb::RotateWebhookSecretRequest {
                webhook_id: UNKNOWN.to_owned(),
                request_id: id,
                ..Default::default()
            };
        "WebhookService/TestWebhook webhook_id": WEBHOOK, id =>
            pb::TestWebhookRequest { webhook_id: id };
        "WebhookService/ListWebhookDeliveries webhook_id": WEBHOOK, id =>
            pb::ListWebhookDeliveriesRequest { webhook_id: id, ..Default::default() };
        "WebhookService/ListWebhookDeliveries project_id": Kind::OwnedWith(Resource::Project, Resource::Webhook),
            id => pb::ListWebhookDeliveriesRequest {
                webhook_id: UNKNOWN.to_owned(),
                project_id: id,
                ..Default::default()
            };
        "WebhookService/RedeliverWebhook delivery_id": Kind::Owned(Resource::WebhookDelivery), id =>
            pb::RedeliverWebhookRequest { delivery_id: id };
        "UsageService/GetUsage organization_id": ORGANIZATION, id =>
            pb::GetUsageRequest { organization_id: id, ..Default::default() };
        "UsageService/ListUsage organization_id": ORGANIZATION, id =>
            pb::ListUsageRequest { organization_id: id, ..Default::default() };
        "UsageService/GetQuota organization_id": ORGANIZATION, id =>
            pb::GetQuotaRequest { organization_id: id };
        "UsageService/GetUsage project_id": PROJECT, id =>
            pb::GetUsageRequest { project_id: id, ..Default::default() };
        "UsageService/ListUsage project_id": PROJECT, id =>
            pb::ListUsageRequest { project_id: id, ..Default::default() };
        "UsageService/ListUsage destination_id": DESTINATION, id =>
            pb::ListUsageRequest { destination_id: id, ..Default::default() };
        "OrganizationService/CreateOrganization request_id": Kind::RequestId, id =>
            pb::CreateOrganizationRequest { display_name: "Studio".to_owned(), request_id: id };
        "OrganizationService/GetOrganization organization_id": ORGANIZATION, id =>
            pb::GetOrganizationRequest { organization_id: id };
        "OrganizationService/UpdateOrganization organization_id": ORGANIZATION, id =>
            pb::UpdateOrganizationRequest {
                organization_id: id,
                display_name: Some("Renamed".to_owned()),
                ..Default::default()
            };
        "OrganizationService/UpdateOrganization request_id": Kind::RequestId, id =>
            pb::UpdateOrganizationRequest {
                organization_id: UNKNOWN.to_owned(),
                request_id: id,
                ..Default::default()
            };
        "OrganizationService/DeleteOrganization organization_id": ORGANIZATION, id =>
            pb::DeleteOrganizationRequest { organization_id: id, force: true, ..Default::default() };
        "OrganizationService/DeleteOrganization request_id": Kind::RequestId, id =>
            pb::DeleteOrganizationRequest {
                organization_id: UNKNOWN.to_owned(),
                request_id: id,
                ..Default::default()
            };
        "OrganizationService/ListMembers organization_id": ORGANIZATION, id =>
            pb::ListMembersRequest { organization_id: id, ..Default::default() };
        "OrganizationService/UpdateMember organization_id":
            Kind::OwnedWith(Resource::Organization, Resource::Member), id => pb::UpdateMemberRequest {
                organization_id: id,
                user_id: UNKNOWN.to_owned(),
                role: pb::OrganizationRole::Viewer.into(),
            };
        "OrganizationService/UpdateMember user_id":
            Kind::OwnedWith(Resource::Member, Resource::Organization), id => pb::UpdateMemberRequest {
                organization_id: UNKNOWN.to_owned(),
                user_id: id,
                role: pb::OrganizationRole::Viewer.into(),
            };
        "OrganizationService/RemoveMember organization_id":
            Kind::OwnedWith(Resource::Organization, Resource::Member), id => pb::RemoveMemberRequest {
                organization_id: id,
                user_id: UNKNOWN.to_owned(),
            };
        "OrganizationService/RemoveMember user_id":
            Kind::OwnedWith(Resource::Member, Resource::Organization), id => pb::RemoveMemberRequest {
                organization_id: UNKNOWN.to_owned(),
                user_id: id,
            };
        // The only owner cannot leave.
        "OrganizationService/LeaveOrganization organization_id":
            Kind::OwnedButRefused(Resource::Organization), id =>
            pb::LeaveOrganizationRequest { organization_id: id };
        "OrganizationService/CreateInvitation organization_id": ORGANIZATION, id =>
            invitation(id, String::new());
        "OrganizationService/CreateInvitation request_id": Kind::RequestId, id =>
            invitation(UNKNOWN.to_owned(), id);
        "OrganizationService/ListInvitations organization_id": ORGANIZATION, id =>
            pb::ListInvitationsRequest { organization_id: id, ..Default::default() };
        "OrganizationService/ListOrganizationAuditEvents organization_id": ORGANIZATION, id =>
            pb::ListOrganizationAuditEventsRequest { organization_id: id, ..Default::default() };
        "OrganizationService/RevokeInvitation invitation_id": Kind::Owned(Resource::Invitation), id =>
            pb::RevokeInvitationRequest { invitation_id: id };
        "OrganizationService/TransferProject project_id":
            Kind::OwnedWith(Resource::Project, Resource::Organization), id => pb::TransferProjectRequest {
                project_id: id,
                organization_id: UNKNOWN.to_owned(),
            };
        "OrganizationService/TransferProject organization_id":
            Kind::OwnedWith(Resource::Organization, Resource::Project), id => pb::TransferProjectRequest {
                project_id: UNKNOWN.to_owned(),
                organization_id: id,
            };
    }
}

/// An id that no resource has.
pub const UNKNOWN: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// SignUp with a request id.
pub fn sign_up(name: &str, request_id: String) -> pb::SignUpRequest {
    pb::SignUpRequest {
        email: format!("{name}@example.com"),
        password: "correct horse battery staple".to_owned(),
        display_name: name.to_owned(),
        request_id,
    }
}

/// CreateProject with a request id.
pub fn create_project(request_id: String) -> pb::CreateProjectRequest {
    pb::CreateProjectRequest {
        display_name: "Show".to_owned(),
        request_id,
        ..Default::default()
    }
}

/// CreateDestination with a request id.
pub fn create_destination(project_id: String, request_id: String) -> pb::CreateDestinationRequest {
    pb::CreateDestinationRequest {
        project_id,
        platform: pb::Platform::Youtube.into(),
        display_name: "Main channel".to_owned(),
        stream_key: "abcd-efgh-ijkl-mnop-qrst".to_owned(),
        request_id,
        ..Default::default()
    }
}

/// CreateWebhook with a request id.
pub fn create_webhook(project_id: String, request_id: String) -> pb::CreateWebhookRequest {
    pb::CreateWebhookRequest {
        project_id,
        url: "https://hooks.invalid.example.com/".to_owned(),
        disabled: true,
        request_id,
        ..Default::default()
    }
}

/// CreateInvitation with a request id.
pub fn invitation(organization_id: String, request_id: String) -> pb::CreateInvitationRequest {
    pb::CreateInvitationRequest {
        organization_id,
        email: "invited@example.com".to_owned(),
        role: pb::OrganizationRole::Viewer.into(),
        request_id,
    }
}

/// CreateOperatorKey for a media server.
pub fn create_operator_key() -> pb::CreateOperatorKeyRequest {
    pb::CreateOperatorKeyRequest {
        display_name: "media server 1".to_owned(),
        scopes: vec!["streams:publish".to_owned(), "relays:work".to_owned()],
        ..Default::default()
    }
}

fn publisher() -> pb::Publisher {
    crate::harness::MediaServer::connection("c1")
}

fn begin(publisher: pb::Publisher) -> pb::BeginPublishRequest {
    pb::BeginPublishRequest {
        stream_key: "unknown".to_owned(),
        publisher: Some(publisher),
        media_flowing: true,
        play_url: String::new(),
    }
}

fn claim() -> pb::ClaimRelaysRequest {
    pb::ClaimRelaysRequest {
        worker_id: "w1".to_owned(),
        node_id: String::new(),
        capacity: 1,
        ..Default::default()
    }
}

fn heartbeat(stream_id: String, publisher: pb::Publisher) -> pb::HeartbeatPublishRequest {
    pb::HeartbeatPublishRequest {
        stream_id,
        epoch: 1,
        publisher: Some(publisher),
        stats: None,
    }
}

fn end(stream_id: String, publisher: pb::Publisher) -> pb::EndPublishRequest {
    pb::EndPublishRequest {
        stream_id,
        epoch: 1,
        publisher: Some(publisher),
    }
}

fn connection() -> pb::NodeConnection {
    pb::NodeConnection {
        connection_id: "c1".to_owned(),
        ..Default::default()
    }
}

fn sync(connection: pb::NodeConnection) -> pb::SyncNodeRequest {
    pb::SyncNodeRequest {
        node_id: "n1".to_owned(),
        boot_id: "b1".to_owned(),
        connections: vec![connection],
    }
}

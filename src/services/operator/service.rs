use tonic::Request;

use crate::{
    auth::{Caller, Revocations, Sealer},
    database::Database,
    domain::AuditContext,
    error::Result,
    proto::v1 as pb,
    repositories::{
        AuditLog, LiveStreams, Nodes, OperatorKeys, OrganizationAccounts, Quotas, UserAccounts,
        Workers,
    },
    services::{
        paging::PageTokens,
        rpc::{implement_service, request_origin},
    },
};

/// The service for operators.
#[derive(Debug)]
pub struct OperatorService {
    pub(super) keys: OperatorKeys,
    pub(super) users: UserAccounts,
    pub(super) nodes: Nodes,
    pub(super) workers: Workers,
    pub(super) live_streams: LiveStreams,
    pub(super) organizations: OrganizationAccounts,
    pub(super) quotas: Quotas,
    pub(super) audit_log: AuditLog,
    pub(super) revocations: Revocations,
    pub(super) sealer: Sealer,
    pub(super) page_tokens: PageTokens,
}

impl OperatorService {
    /// The service of a database. What it revokes is refused by this replica at once.
    pub fn new(database: Database, revocations: Revocations, sealer: Sealer) -> Self {
        Self {
            keys: OperatorKeys::new(database.clone()),
            users: UserAccounts::new(database.clone()),
            nodes: Nodes::new(database.clone()),
            workers: Workers::new(database.clone()),
            live_streams: LiveStreams::new(database.clone()),
            organizations: OrganizationAccounts::new(database.clone()),
            quotas: Quotas::new(database.clone()),
            audit_log: AuditLog::new(database),
            revocations,
            page_tokens: PageTokens::new(sealer.clone()),
            sealer,
        }
    }
}

/// The audit context of an operator's action. Its actor is the operator key.
pub(super) fn operator_audit<T>(
    request: &Request<T>,
    action: &'static str,
) -> Result<AuditContext> {
    let caller = Caller::of(request)?;
    caller.operator_key()?;
    Ok(caller.audit_context(action, request_origin(request)))
}

implement_service! {
    OperatorService as pb::operator_service_server::OperatorService {
        rpc create_operator_key(pb::CreateOperatorKeyRequest) -> pb::CreateOperatorKeyResponse;
        rpc list_operator_keys(pb::ListOperatorKeysRequest) -> pb::ListOperatorKeysResponse;
        rpc revoke_operator_key(pb::RevokeOperatorKeyRequest) -> pb::RevokeOperatorKeyResponse;
        rpc list_users(pb::ListUsersRequest) -> pb::ListUsersResponse;
        rpc get_user(pb::GetUserRequest) -> pb::GetUserResponse;
        rpc suspend_user(pb::SuspendUserRequest) -> pb::SuspendUserResponse;
        rpc resume_user(pb::ResumeUserRequest) -> pb::ResumeUserResponse;
        rpc list_organizations(pb::OperatorServiceListOrganizationsRequest) -> pb::OperatorServiceListOrganizationsResponse;
        rpc suspend_organization(pb::SuspendOrganizationRequest) -> pb::SuspendOrganizationResponse;
        rpc resume_organization(pb::ResumeOrganizationRequest) -> pb::ResumeOrganizationResponse;
        rpc get_organization_quota(pb::GetOrganizationQuotaRequest) -> pb::GetOrganizationQuotaResponse;
        rpc set_organization_quota(pb::SetOrganizationQuotaRequest) -> pb::SetOrganizationQuotaResponse;
        rpc list_nodes(pb::ListNodesRequest) -> pb::ListNodesResponse;
        rpc drain_node(pb::DrainNodeRequest) -> pb::DrainNodeResponse;
        rpc resume_node(pb::ResumeNodeRequest) -> pb::ResumeNodeResponse;
        rpc list_workers(pb::ListWorkersRequest) -> pb::ListWorkersResponse;
        rpc list_live_streams(pb::ListLiveStreamsRequest) -> pb::ListLiveStreamsResponse;
        rpc list_audit_events(pb::OperatorServiceListAuditEventsRequest) -> pb::OperatorServiceListAuditEventsResponse;
    }
}

//! The RPCs of organizations.

use sluice::proto::v1 as pb;
use uuid::Uuid;

use super::recorder::{
    Outcome::{Fails, Succeeds},
    Recorder,
};
use crate::harness::TestDatabase;

impl Recorder {
    /// Calls the RPCs of organizations, the last one of which deletes. The project ends where it
    /// was.
    pub async fn organization_rpcs(
        &mut self,
        database: &TestDatabase,
        token: &str,
        project_id: &str,
    ) {
        let request = pb::CreateOrganizationRequest {
            display_name: "Studio".to_owned(),
            request_id: Uuid::now_v7().to_string(),
        };
        let rpc = "OrganizationService/CreateOrganization";
        let made: pb::CreateOrganizationResponse =
            self.call(Succeeds, rpc, token, request.clone()).await;
        let organization_id = made.organization.unwrap().id;
        let id = || organization_id.clone();
        let wrong = pb::CreateOrganizationRequest {
            request_id: self.new_secret("request id of an organization"),
            ..request
        };
        self.call::<()>(Fails, rpc, token, wrong).await;
        let get = pb::GetOrganizationRequest {
            organization_id: id(),
        };
        self.call::<()>(Succeeds, "OrganizationService/GetOrganization", token, get)
            .await;
        let rpc = "OrganizationService/ListOrganizations";
        let list = pb::ListOrganizationsRequest::default();
        let listed: pb::ListOrganizationsResponse = self.call(Succeeds, rpc, token, list).await;
        let personal = listed.organizations.into_iter().find(|one| one.personal);
        let update = pb::UpdateOrganizationRequest {
            organization_id: id(),
            display_name: Some("Studio B".to_owned()),
            ..Default::default()
        };
        let rpc = "OrganizationService/UpdateOrganization";
        self.call::<()>(Succeeds, rpc, token, update).await;
        self.member_rpcs(token, &organization_id).await;
        self.key_rpcs(token, &organization_id).await;
        self.invitation_rpcs(database, token, &organization_id)
            .await;
        for to in [id(), personal.unwrap().id] {
            let request = pb::TransferProjectRequest {
                project_id: project_id.to_owned(),
                organization_id: to,
            };
            let rpc = "OrganizationService/TransferProject";
            self.call::<()>(Succeeds, rpc, token, request).await;
        }
        let delete = pb::DeleteOrganizationRequest {
            organization_id: id(),
            ..Default::default()
        };
        let rpc = "OrganizationService/DeleteOrganization";
        self.call::<()>(Succeeds, rpc, token, delete).await;
    }

    /// Calls the RPCs for the keys and the audit events of an organization.
    async fn key_rpcs(&mut self, token: &str, organization_id: &str) {
        let request = pb::CreateApiKeyRequest {
            display_name: "A program of the studio".to_owned(),
            scopes: vec!["projects:read".to_owned()],
            organization_id: organization_id.to_owned(),
            ..Default::default()
        };
        let rpc = "AuthService/CreateApiKey";
        let made: pb::CreateApiKeyResponse = self.call(Succeeds, rpc, token, request).await;
        self.secret("API key of an organization", &made.secret);
        let list = pb::ListApiKeysRequest {
            organization_id: organization_id.to_owned(),
            ..Default::default()
        };
        self.call::<()>(Succeeds, "AuthService/ListApiKeys", token, list)
            .await;
        let adopt = pb::AdoptApiKeyRequest {
            api_key_id: made.api_key.unwrap().id,
        };
        self.call::<()>(Succeeds, "AuthService/AdoptApiKey", token, adopt)
            .await;
        let list = pb::ListOrganizationAuditEventsRequest {
            organization_id: organization_id.to_owned(),
            ..Default::default()
        };
        let rpc = "OrganizationService/ListOrganizationAuditEvents";
        self.call::<()>(Succeeds, rpc, token, list).await;
    }

    /// Calls the RPCs of members. The only owner stays.
    async fn member_rpcs(&mut self, token: &str, organization_id: &str) {
        let id = || organization_id.to_owned();
        let list = pb::ListMembersRequest {
            organization_id: id(),
            ..Default::default()
        };
        let rpc = "OrganizationService/ListMembers";
        let listed: pb::ListMembersResponse = self.call(Succeeds, rpc, token, list).await;
        let owner = listed.members[0].user_id.clone();
        let update = pb::UpdateMemberRequest {
            organization_id: id(),
            user_id: owner.clone(),
            role: pb::OrganizationRole::Owner.into(),
        };
        self.call::<()>(Succeeds, "OrganizationService/UpdateMember", token, update)
            .await;
        let remove = pb::RemoveMemberRequest {
            organization_id: id(),
            user_id: owner,
        };
        self.call::<()>(Fails, "OrganizationService/RemoveMember", token, remove)
            .await;
        let leave = pb::LeaveOrganizationRequest {
            organization_id: id(),
        };
        self.call::<()>(Fails, "OrganizationService/LeaveOrganization", token, leave)
            .await;
    }

    async fn invitation_rpcs(
        &mut self,
        database: &TestDatabase,
        token: &str,
        organization_id: &str,
    ) {
        for email in ["ada@example.com", "bob@example.com"] {
            let request = pb::CreateInvitationRequest {
                organization_id: organization_id.to_owned(),
                email: email.to_owned(),
                role: pb::OrganizationRole::Viewer.into(),
                request_id: String::new(),
            };
            let rpc = "OrganizationService/CreateInvitation";
            self.call::<()>(Succeeds, rpc, token, request).await;
        }
        let rpc = "OrganizationService/AcceptInvitation";
        let unknown = pb::AcceptInvitationRequest {
            token: self.new_secret("unknown token of an invitation"),
        };
        self.call::<()>(Fails, rpc, token, unknown).await;
        let mail = database.mail("ada@example.com", "nvitation", 1).await;
        let request = pb::AcceptInvitationRequest {
            token: self.secret("token of an invitation", &mail.token()),
        };
        self.call::<()>(Succeeds, rpc, token, request).await;
        let waiting = database.mail("bob@example.com", "nvitation", 1).await;
        self.secret("token of an invitation that waits", &waiting.token());
        let list = pb::ListInvitationsRequest {
            organization_id: organization_id.to_owned(),
            ..Default::default()
        };
        let rpc = "OrganizationService/ListInvitations";
        let listed: pb::ListInvitationsResponse = self.call(Succeeds, rpc, token, list).await;
        let revoke = pb::RevokeInvitationRequest {
            invitation_id: listed.invitations[0].id.clone(),
        };
        self.call::<()>(
            Succeeds,
            "OrganizationService/RevokeInvitation",
            token,
            revoke,
        )
        .await;
    }
}

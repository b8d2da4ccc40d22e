//! The RPCs of operators.

use sluice::proto::v1 as pb;

use super::recorder::{
    Outcome::{Fails, Succeeds},
    Recorder,
};
use crate::contract::id_fields::create_operator_key;

impl Recorder {
    /// Calls all RPCs of operators, with a key that has all scopes.
    pub async fn operator_rpcs(&mut self, token: &str) {
        let rpc = "OperatorService/CreateOperatorKey";
        let request = create_operator_key();
        let made: pb::CreateOperatorKeyResponse = self.call(Succeeds, rpc, token, request).await;
        let secret = self.secret("operator key", &made.secret);
        let operator_key_id = made.operator_key.unwrap().id;
        let wrong = pb::CreateOperatorKeyRequest {
            scopes: vec![self.new_secret("secret instead of an operator's scope")],
            ..create_operator_key()
        };
        self.call::<()>(Fails, rpc, token, wrong).await;
        self.exchange(secret.clone()).await;

        let rpc = "OperatorService/ListOperatorKeys";
        let request = pb::ListOperatorKeysRequest::default();
        self.call::<()>(Succeeds, rpc, token, request).await;
        let rpc = "OperatorService/RevokeOperatorKey";
        let revoke = |operator_key_id| pb::RevokeOperatorKeyRequest {
            operator_key_id,
            include_created: true,
        };
        self.call::<()>(Succeeds, rpc, token, revoke(operator_key_id))
            .await;
        let wrong = self.new_secret("secret instead of an operator key's id");
        self.call::<()>(Fails, rpc, token, revoke(wrong)).await;
        let request = pb::ExchangeApiKeyRequest { secret };
        self.call::<()>(Fails, "AuthService/ExchangeApiKey", "", request)
            .await;

        self.user_rpcs(token).await;
        let request = pb::ListNodesRequest::default();
        self.call::<()>(Succeeds, "OperatorService/ListNodes", token, request)
            .await;
        let node = self.new_secret("secret instead of the id of a node that drains");
        let request = pb::DrainNodeRequest { node_id: node };
        self.call::<()>(Fails, "OperatorService/DrainNode", token, request)
            .await;
        let node = self.new_secret("secret instead of the id of a node that is resumed");
        let request = pb::ResumeNodeRequest { node_id: node };
        self.call::<()>(Fails, "OperatorService/ResumeNode", token, request)
            .await;
        let request = pb::ListWorkersRequest::default();
        self.call::<()>(Succeeds, "OperatorService/ListWorkers", token, request)
            .await;
        let request = pb::ListLiveStreamsRequest::default();
        self.call::<()>(Succeeds, "OperatorService/ListLiveStreams", token, request)
            .await;
        let rpc = "OperatorService/ListAuditEvents";
        let request = pb::OperatorServiceListAuditEventsRequest::default();
        let audit: pb::OperatorServiceListAuditEventsResponse =
            self.call(Succeeds, rpc, token, request).await;
        assert_ne!(audit.audit_events, []);
        self.refusals.extend(format!("{audit:?}").into_bytes());
        let wrong = pb::OperatorServiceListAuditEventsRequest {
            page_token: self.new_secret("secret instead of an operator's page token"),
            ..Default::default()
        };
        self.call::<()>(Fails, rpc, token, wrong).await;
    }

    /// Suspends and resumes another user than the one whose tokens the recorder uses.
    async fn user_rpcs(&mut self, token: &str) {
        let request = pb::SignUpRequest {
            email: "grace@example.com".to_owned(),
            password: self.new_secret("password of a suspended user"),
            display_name: "Grace".to_owned(),
            request_id: String::new(),
        };
        let rpc = "AuthService/SignUp";
        let made: pb::SignUpResponse = self.call(Succeeds, rpc, "", request).await;
        self.tokens(made.tokens);
        let id = made.user.unwrap().id;

        let request = pb::ListUsersRequest::default();
        self.call::<()>(Succeeds, "OperatorService/ListUsers", token, request)
            .await;
        let wrong = pb::ListUsersRequest {
            email: self.new_secret("secret instead of an address"),
            ..Default::default()
        };
        self.call::<()>(Fails, "OperatorService/ListUsers", token, wrong)
            .await;
        let request = pb::GetUserRequest {
            user_id: id.clone(),
        };
        self.call::<()>(Succeeds, "OperatorService/GetUser", token, request)
            .await;
        let request = pb::SetOrganizationQuotaRequest {
            organization_id: id.clone(),
            quota: Some(pb::Quota::default()),
        };
        let rpc = "OperatorService/SetOrganizationQuota";
        self.call::<()>(Succeeds, rpc, token, request).await;
        let wrong = pb::SetOrganizationQuotaRequest {
            organization_id: self.new_secret("secret instead of an organization's id"),
            quota: Some(pb::Quota::default()),
        };
        self.call::<()>(Fails, rpc, token, wrong).await;
        let request = pb::GetOrganizationQuotaRequest {
            organization_id: id.clone(),
        };
        let rpc = "OperatorService/GetOrganizationQuota";
        self.call::<()>(Succeeds, rpc, token, request).await;
        let rpc = "OperatorService/ListOrganizations";
        let list = pb::OperatorServiceListOrganizationsRequest::default();
        self.call::<()>(Succeeds, rpc, token, list).await;
        // A personal organization is not suspended.
        let request = pb::SuspendOrganizationRequest {
            organization_id: id.clone(),
        };
        let rpc = "OperatorService/SuspendOrganization";
        self.call::<()>(Fails, rpc, token, request).await;
        let request = pb::ResumeOrganizationRequest {
            organization_id: self.new_secret("secret instead of a suspended organization"),
        };
        let rpc = "OperatorService/ResumeOrganization";
        self.call::<()>(Fails, rpc, token, request).await;
        let request = pb::SuspendUserRequest {
            user_id: id.clone(),
        };
        self.call::<()>(Succeeds, "OperatorService/SuspendUser", token, request)
            .await;
        let request = pb::ResumeUserRequest { user_id: id };
        self.call::<()>(Succeeds, "OperatorService/ResumeUser", token, request)
            .await;
        let wrong = pb::ResumeUserRequest {
            user_id: self.new_secret("secret instead of a user id"),
        };
        self.call::<()>(Fails, "OperatorService/ResumeUser", token, wrong)
            .await;
    }
}

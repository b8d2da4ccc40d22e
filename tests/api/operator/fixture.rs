use sluice::{domain::Scope, proto::v1 as pb};
use tonic::{Response, Status};

use crate::harness::{Client, Engine, TestServer, exchange};

/// A server with an operator.
pub struct Fixture {
    pub server: TestServer,
    /// The id of the operator's key.
    pub key_id: String,
    /// The secret of that key.
    pub secret: String,
    pub operator: Client,
}

impl Fixture {
    pub async fn start(engine: Engine) -> Self {
        Self::start_with(engine, &[]).await
    }

    /// With command-line flags.
    pub async fn start_with(engine: Engine, flags: &[&str]) -> Self {
        let server = TestServer::start_with(engine, flags).await;
        let scopes = [Scope::OperatorRead, Scope::OperatorWrite];
        let (key_id, secret) = server.operator_key(&scopes, None, None).await;
        let token = exchange(&server.channel, &secret).await;
        let operator = Client::with_token(&server.channel, &token);
        Self {
            server,
            key_id,
            secret,
            operator,
        }
    }

    /// Creates an operator key; returns its secret too.
    pub async fn create(&self, request: pb::CreateOperatorKeyRequest) -> (pb::OperatorKey, String) {
        create(&self.operator, request).await.unwrap()
    }

    pub async fn revoke(
        &self,
        key_id: &str,
        include_created: bool,
    ) -> pb::RevokeOperatorKeyResponse {
        let request = pb::RevokeOperatorKeyRequest {
            operator_key_id: key_id.to_owned(),
            include_created,
        };
        let mut operator = self.operator.operator.clone();
        let answer = operator.revoke_operator_key(request).await;
        answer.unwrap().into_inner()
    }

    /// The operator keys that a request matches.
    pub async fn keys(&self, request: pb::ListOperatorKeysRequest) -> Vec<pb::OperatorKey> {
        let mut operator = self.operator.operator.clone();
        let answer = operator.list_operator_keys(request).await;
        answer.unwrap().into_inner().operator_keys
    }

    pub async fn suspend(
        &self,
        user_id: &str,
    ) -> Result<Response<pb::SuspendUserResponse>, Status> {
        let request = pb::SuspendUserRequest {
            user_id: user_id.to_owned(),
        };
        self.operator.operator.clone().suspend_user(request).await
    }

    pub async fn resume(&self, user_id: &str) -> Result<Response<pb::ResumeUserResponse>, Status> {
        let request = pb::ResumeUserRequest {
            user_id: user_id.to_owned(),
        };
        self.operator.operator.clone().resume_user(request).await
    }

    /// The audit events that a request matches.
    pub async fn events(
        &self,
        request: pb::OperatorServiceListAuditEventsRequest,
    ) -> Vec<pb::OperatorAuditEvent> {
        let mut operator = self.operator.operator.clone();
        let answer = operator.list_audit_events(request).await;
        answer.unwrap().into_inner().audit_events
    }

    /// The live streams that a request matches.
    pub async fn live_streams(&self, request: pb::ListLiveStreamsRequest) -> Vec<pb::LiveStream> {
        let mut operator = self.operator.operator.clone();
        let answer = operator.list_live_streams(request).await;
        answer.unwrap().into_inner().live_streams
    }
}

/// Creates an operator key with a client; returns its secret too.
pub async fn create(
    client: &Client,
    request: pb::CreateOperatorKeyRequest,
) -> Result<(pb::OperatorKey, String), Status> {
    let answer = client.operator.clone().create_operator_key(request).await?;
    let answer = answer.into_inner();
    Ok((answer.operator_key.unwrap(), answer.secret))
}

/// A request for a key with these scopes.
pub fn key_request(scopes: &[Scope]) -> pb::CreateOperatorKeyRequest {
    pb::CreateOperatorKeyRequest {
        display_name: "media server 1".to_owned(),
        scopes: scopes.iter().map(|one| one.as_str().to_owned()).collect(),
        ..Default::default()
    }
}

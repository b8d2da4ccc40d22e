use std::sync::atomic::{AtomicU32, Ordering};

use sluice::{
    auth::ApiKeySecret,
    database::{Database, DatabaseOptions},
    domain::{ApiKeyId, AuditContext, Name, NodeId, RequestOrigin, Scope, Scopes, Time, now},
    proto::v1::{
        self as pb, auth_service_client::AuthServiceClient,
        operator_service_client::OperatorServiceClient,
        organization_service_client::OrganizationServiceClient,
        project_service_client::ProjectServiceClient, stream_service_client::StreamServiceClient,
        usage_service_client::UsageServiceClient, webhook_service_client::WebhookServiceClient,
    },
    repositories::{NewOperatorKey, NewSecret, OperatorKeys},
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

use super::{TestServer, server::config};

static USER_COUNT: AtomicU32 = AtomicU32::new(0);

/// An interceptor that adds an access token, if there is one, to each call.
#[derive(Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// Clients of the six services, with or without an access token.
#[derive(Clone)]
pub struct Client {
    pub auth: AuthServiceClient<InterceptedService<Channel, Bearer>>,
    pub project: ProjectServiceClient<InterceptedService<Channel, Bearer>>,
    pub stream: StreamServiceClient<InterceptedService<Channel, Bearer>>,
    pub operator: OperatorServiceClient<InterceptedService<Channel, Bearer>>,
    pub webhook: WebhookServiceClient<InterceptedService<Channel, Bearer>>,
    pub usage: UsageServiceClient<InterceptedService<Channel, Bearer>>,
    pub organization: OrganizationServiceClient<InterceptedService<Channel, Bearer>>,
}

impl Client {
    /// A client without a token.
    pub fn anonymous(channel: &Channel) -> Self {
        Self::new(channel, None)
    }

    /// A client with an access token.
    pub fn with_token(channel: &Channel, token: &str) -> Self {
        Self::new(channel, Some(token))
    }

    fn new(channel: &Channel, token: Option<&str>) -> Self {
        let bearer = Bearer(token.map(|token| format!("Bearer {token}").parse().unwrap()));
        Self {
            auth: AuthServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            project: ProjectServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            stream: StreamServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            operator: OperatorServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            webhook: WebhookServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            usage: UsageServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            organization: OrganizationServiceClient::with_interceptor(channel.clone(), bearer),
        }
    }
}

/// A signed-in user.
pub struct User {
    pub user: pb::User,
    pub tokens: pb::Tokens,
    pub email: String,
    pub password: &'static str,
    pub client: Client,
}

/// A media server: a client with the scope `streams:publish`.
pub struct MediaServer {
    pub client: Client,
}

impl TestServer {
    /// A client without a token.
    pub fn anonymous(&self) -> Client {
        Client::anonymous(&self.channel)
    }

    /// Signs up a new user.
    pub async fn user(&self) -> User {
        User::sign_up(&self.channel).await
    }

    /// A client with an operator key of these scopes.
    pub async fn operator(&self, scopes: &[Scope]) -> Client {
        let token = self.operator_token(scopes).await;
        Client::with_token(&self.channel, &token)
    }

    /// An access token of an operator key with these scopes.
    pub async fn operator_token(&self, scopes: &[Scope]) -> String {
        self.operator_token_until(scopes, None).await
    }

    /// An access token of an operator key that expires.
    pub async fn operator_token_until(
        &self,
        scopes: &[Scope],
        expire_time: Option<Time>,
    ) -> String {
        let (_, secret) = self.operator_key(scopes, None, expire_time).await;
        exchange(&self.channel, &secret).await
    }

    /// A client with an operator key of these scopes that is bound to a node.
    pub async fn operator_of_node(&self, node_id: &str, scopes: &[Scope]) -> Client {
        let (_, secret) = self.operator_key(scopes, Some(node_id), None).await;
        let token = exchange(&self.channel, &secret).await;
        Client::with_token(&self.channel, &token)
    }

    /// Creates an operator key at the database, as `sluice admin create-api-key` does; returns its
    /// id and its secret.
    pub async fn operator_key(
        &self,
        scopes: &[Scope],
        node_id: Option<&str>,
        expire_time: Option<Time>,
    ) -> (String, String) {
        let options: DatabaseOptions = config(&self.database, &[]).database();
        let database = Database::open(&options);
        let id = ApiKeyId::generate();
        let secret = ApiKeySecret::generate(id);
        let key = NewOperatorKey {
            id,
            display_name: Name::parse("operator").unwrap(),
            scopes: scopes.iter().copied().collect::<Scopes>(),
            node_id: node_id.map(|node_id| NodeId::parse(node_id).unwrap()),
            expire_time,
            secret: NewSecret {
                hash: secret.hash(),
                repeatable: None,
            },
        };
        let keys = OperatorKeys::new(database.clone());
        let audit = AuditContext::for_user("CreateOperatorKey", None, RequestOrigin::default());
        keys.create(&key, &audit, now()).await.unwrap();
        database.close().await;
        (id.to_string(), secret.expose().to_owned())
    }

    /// A media server.
    pub async fn media_server(&self) -> MediaServer {
        MediaServer {
            client: self.operator(&[Scope::StreamsPublish]).await,
        }
    }
}

/// Exchanges an API key or operator key for an access token.
pub async fn exchange(channel: &Channel, secret: &str) -> String {
    let request = pb::ExchangeApiKeyRequest {
        secret: secret.to_owned(),
    };
    let mut auth = Client::anonymous(channel).auth;
    let response = auth.exchange_api_key(request).await.unwrap();
    response.into_inner().access_token
}

impl User {
    /// Signs up a new user over a channel.
    pub async fn sign_up(channel: &Channel) -> Self {
        let number = USER_COUNT.fetch_add(1, Ordering::Relaxed);
        let email = format!("user{number}@example.com");
        let password = "correct horse battery staple";
        let request = pb::SignUpRequest {
            email: email.clone(),
            password: password.to_owned(),
            display_name: format!("User {number}"),
            request_id: String::new(),
        };
        let response = Client::anonymous(channel)
            .auth
            .sign_up(request)
            .await
            .unwrap()
            .into_inner();
        let tokens = response.tokens.unwrap();
        let client = Client::with_token(channel, &tokens.access_token);
        Self {
            user: response.user.unwrap(),
            tokens,
            email,
            password,
            client,
        }
    }

    /// Creates a project without a reconnect window; returns its stream key too.
    pub async fn project(&self) -> (pb::Project, String) {
        self.project_with(pb::CreateProjectRequest {
            display_name: "Show".to_owned(),
            reconnect_window: Some(prost_types::Duration::default()),
            ..Default::default()
        })
        .await
    }

    /// Creates a project; returns its stream key too.
    pub async fn project_with(&self, request: pb::CreateProjectRequest) -> (pb::Project, String) {
        let response = self
            .client
            .project
            .clone()
            .create_project(request)
            .await
            .unwrap();
        let response = response.into_inner();
        (response.project.unwrap(), response.stream_key)
    }

    /// The current state of a stream.
    pub async fn stream(&self, stream_id: &str) -> pb::Stream {
        let request = pb::GetStreamRequest {
            stream_id: stream_id.to_owned(),
        };
        let response = self
            .client
            .stream
            .clone()
            .get_stream(request)
            .await
            .unwrap();
        response.into_inner().stream.unwrap()
    }
}

impl MediaServer {
    /// A publisher connection of node `n1`, boot `b1`.
    pub fn connection(id: &str) -> pb::Publisher {
        pb::Publisher {
            node_id: "n1".to_owned(),
            boot_id: "b1".to_owned(),
            connection_id: id.to_owned(),
            peer_address: "203.0.113.5".to_owned(),
            protocol: pb::IngestProtocol::Rtmp.into(),
        }
    }

    /// Calls BeginPublish.
    pub async fn begin(
        &self,
        stream_key: &str,
        connection: &str,
    ) -> Result<tonic::Response<pb::BeginPublishResponse>, Status> {
        let request = pb::BeginPublishRequest {
            stream_key: stream_key.to_owned(),
            publisher: Some(Self::connection(connection)),
            media_flowing: false,
            play_url: String::new(),
        };
        self.client.stream.clone().begin_publish(request).await
    }

    /// Calls HeartbeatPublish without statistics.
    pub async fn heartbeat(
        &self,
        stream: &pb::Stream,
        connection: &str,
    ) -> pb::HeartbeatPublishResponse {
        let request = pb::HeartbeatPublishRequest {
            stream_id: stream.id.clone(),
            epoch: stream.epoch,
            publisher: Some(Self::connection(connection)),
            stats: None,
        };
        self.client
            .stream
            .clone()
            .heartbeat_publish(request)
            .await
            .unwrap()
            .into_inner()
    }

    /// Calls EndPublish; returns the stream.
    pub async fn end(&self, stream: &pb::Stream, connection: &str) -> pb::Stream {
        let request = pb::EndPublishRequest {
            stream_id: stream.id.clone(),
            epoch: stream.epoch,
            publisher: Some(Self::connection(connection)),
        };
        let response = self
            .client
            .stream
            .clone()
            .end_publish(request)
            .await
            .unwrap();
        response.into_inner().stream.unwrap()
    }

    /// Begins a stream and makes it live with a heartbeat.
    pub async fn live(&self, stream_key: &str, connection: &str) -> pb::Stream {
        let begun = self
            .begin(stream_key, connection)
            .await
            .unwrap()
            .into_inner();
        let live = self
            .heartbeat(&begun.stream.unwrap(), connection)
            .await
            .stream
            .unwrap();
        assert_eq!(live.state(), pb::StreamState::Live);
        live
    }
}

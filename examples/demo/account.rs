use anyhow::Context;
use sluice::proto::v1::{
    self as pb, auth_service_client::AuthServiceClient,
    project_service_client::ProjectServiceClient,
};
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};

use crate::media::Destination;

/// A user with a project, signed in at the control plane.
pub struct Account {
    channel: Channel,
    bearer: MetadataValue<Ascii>,
    pub project_id: String,
    pub stream_key: String,
}

impl Account {
    /// Signs up and creates a project.
    pub async fn new(channel: Channel) -> anyhow::Result<Self> {
        let request = pb::SignUpRequest {
            email: "ada@example.com".to_owned(),
            password: "correct horse battery staple".to_owned(),
            display_name: "Ada".to_owned(),
            request_id: String::new(),
        };
        let mut auth = AuthServiceClient::new(channel.clone());
        let tokens = auth.sign_up(request).await?.into_inner().tokens;
        let token = tokens.context("no tokens")?.access_token;
        let mut account = Self {
            channel,
            bearer: format!("Bearer {token}").parse()?,
            project_id: String::new(),
            stream_key: String::new(),
        };

        let request = pb::CreateProjectRequest {
            display_name: "Show".to_owned(),
            // The stream ends with its publisher.
            reconnect_window: Some(prost_types::Duration::default()),
            ..Default::default()
        };
        let request = account.signed(request);
        let made = account.projects().create_project(request).await?;
        let made = made.into_inner();
        account.project_id = made.project.context("no project")?.id;
        account.stream_key = made.stream_key;
        Ok(account)
    }

    /// Creates a destination for a platform. Returns its id.
    pub async fn destination(&self, name: &str, platform: &Destination) -> anyhow::Result<String> {
        let request = pb::CreateDestinationRequest {
            project_id: self.project_id.clone(),
            platform: pb::Platform::Custom.into(),
            display_name: name.to_owned(),
            url: platform.url(),
            stream_key: format!("key-of-{name}"),
            ..Default::default()
        };
        let request = self.signed(request);
        let made = self.projects().create_destination(request).await?;
        let made = made.into_inner().destination;
        Ok(made.context("no destination")?.id)
    }

    /// A request with the user's access token.
    pub fn signed<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        metadata.insert("authorization", self.bearer.clone());
        request
    }

    /// The connection to the control plane.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    fn projects(&self) -> ProjectServiceClient<Channel> {
        ProjectServiceClient::new(self.channel())
    }
}

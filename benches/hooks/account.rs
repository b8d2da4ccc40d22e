use std::sync::Mutex;

use anyhow::Context;
use sluice::proto::v1::{
    self as pb, auth_service_client::AuthServiceClient,
    project_service_client::ProjectServiceClient, stream_service_client::StreamServiceClient,
};
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};

/// A user with projects.
pub struct Account {
    channel: Channel,
    bearer: MetadataValue<Ascii>,
    /// The projects that have destinations: their ids and stream keys.
    sending: Mutex<Vec<(String, String)>>,
}

impl Account {
    /// Signs up.
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
        Ok(Self {
            channel,
            bearer: format!("Bearer {token}").parse()?,
            sending: Mutex::default(),
        })
    }

    /// Creates a project with this number of destinations at a URL. Returns its stream key.
    pub async fn project(&self, url: &str, destinations: usize) -> anyhow::Result<String> {
        let mut projects = ProjectServiceClient::new(self.channel.clone());
        let request = pb::CreateProjectRequest {
            display_name: "Show".to_owned(),
            reconnect_window: Some(prost_types::Duration::default()),
            ..Default::default()
        };
        let made = projects.create_project(self.signed(request)).await?;
        let made = made.into_inner();
        let project_id = made.project.context("no project")?.id;
        for number in 0..destinations {
            let request = pb::CreateDestinationRequest {
                project_id: project_id.clone(),
                platform: pb::Platform::Custom.into(),
                display_name: format!("Platform {number}"),
                url: url.to_owned(),
                stream_key: format!("{project_id}-{number}"),
                ..Default::default()
            };
            projects.create_destination(self.signed(request)).await?;
        }
        if destinations > 0 {
            let mut sending = self.sending.lock().expect("no thread panicked");
            sending.push((project_id, made.stream_key.clone()));
        }
        Ok(made.stream_key)
    }

    /// The stream keys of the projects that have destinations.
    pub fn keys(&self) -> Vec<String> {
        let sending = self.sending.lock().expect("no thread panicked");
        sending.iter().map(|(_, key)| key.clone()).collect()
    }

    /// The number of relays that send.
    pub async fn broadcasting(&self) -> anyhow::Result<usize> {
        let mut streams = StreamServiceClient::new(self.channel.clone());
        let sending = self.sending.lock().expect("no thread panicked").clone();
        let mut count = 0;
        for (project_id, _) in sending {
            let request = pb::ListStreamsRequest {
                project_id,
                state: Some(pb::StreamState::Live.into()),
                ..Default::default()
            };
            let live = streams.list_streams(self.signed(request)).await?;
            for stream in live.into_inner().streams {
                let request = pb::ListRelaysRequest {
                    stream_id: stream.id,
                    ..Default::default()
                };
                let relays = streams.list_relays(self.signed(request)).await?;
                let relays = relays.into_inner().relays;
                let sends = |relay: &&pb::Relay| relay.state() == pb::RelayState::Broadcasting;
                count += relays.iter().filter(sends).count();
            }
        }
        Ok(count)
    }

    fn signed<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        metadata.insert("authorization", self.bearer.clone());
        request
    }
}

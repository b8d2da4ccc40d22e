use std::time::Duration;

use sluice::proto::v1::{self as pb, watch_project_response::Event};
use tonic::transport::Channel;

use crate::harness::Client;

/// A user with a project, who uses only the public API.
pub struct Owner {
    pub client: Client,
    pub project: pb::Project,
    pub key: String,
}

impl Owner {
    /// Signs up, and creates a project with a reconnect window.
    pub async fn new(channel: &Channel, window: Duration) -> Self {
        let request = pb::SignUpRequest {
            email: "owner@example.com".to_owned(),
            password: "correct horse battery staple".to_owned(),
            display_name: "Owner".to_owned(),
            request_id: String::new(),
        };
        let mut anonymous = Client::anonymous(channel);
        let answer = anonymous.auth.sign_up(request).await.unwrap();
        let token = answer.into_inner().tokens.unwrap().access_token;
        let client = Client::with_token(channel, &token);

        let request = pb::CreateProjectRequest {
            display_name: "Show".to_owned(),
            reconnect_window: Some(window.try_into().unwrap()),
            ..Default::default()
        };
        let answer = client.project.clone().create_project(request).await;
        let answer = answer.unwrap().into_inner();
        Self {
            client,
            project: answer.project.unwrap(),
            key: answer.stream_key,
        }
    }

    /// Creates a destination at a URL.
    pub async fn destination(&self, url: &str, key: &str) -> pb::Destination {
        self.destination_of(pb::Platform::Custom, url, key).await
    }

    /// Creates a destination of a platform at a URL.
    pub async fn destination_of(
        &self,
        platform: pb::Platform,
        url: &str,
        key: &str,
    ) -> pb::Destination {
        let request = pb::CreateDestinationRequest {
            project_id: self.project.id.clone(),
            platform: platform.into(),
            display_name: "Somewhere".to_owned(),
            url: url.to_owned(),
            stream_key: key.to_owned(),
            ..Default::default()
        };
        let answer = self
            .client
            .project
            .clone()
            .create_destination(request)
            .await;
        answer.unwrap().into_inner().destination.unwrap()
    }

    /// Says that a destination accepts a second connection.
    pub async fn allow_second_connection(&self, destination: &pb::Destination) {
        let request = pb::UpdateDestinationRequest {
            destination_id: destination.id.clone(),
            allows_second_connection: Some(true),
            ..Default::default()
        };
        let mut projects = self.client.project.clone();
        projects.update_destination(request).await.unwrap();
    }

    /// Delays what a destination gets.
    pub async fn set_delay(&self, destination: &pb::Destination, delay: Duration) {
        let request = pb::UpdateDestinationRequest {
            destination_id: destination.id.clone(),
            delay: Some(delay.try_into().unwrap()),
            ..Default::default()
        };
        let mut projects = self.client.project.clone();
        projects.update_destination(request).await.unwrap();
    }

    /// Changes the project.
    pub async fn update_project(&self, request: pb::UpdateProjectRequest) {
        let mut projects = self.client.project.clone();
        projects.update_project(request).await.unwrap();
    }

    /// All streams of the project, newest first.
    pub async fn streams(&self) -> Vec<pb::Stream> {
        let request = pb::ListStreamsRequest {
            project_id: self.project.id.clone(),
            ..Default::default()
        };
        let answer = self.client.stream.clone().list_streams(request).await;
        answer.unwrap().into_inner().streams
    }

    /// The newest stream, if there is one.
    pub async fn stream(&self) -> Option<pb::Stream> {
        self.streams().await.into_iter().next()
    }

    /// The relay of the newest stream to a destination, if there is one.
    pub async fn relay(&self, destination: &pb::Destination) -> Option<pb::Relay> {
        let request = pb::ListRelaysRequest {
            stream_id: self.stream().await?.id,
            ..Default::default()
        };
        let answer = self.client.stream.clone().list_relays(request).await;
        let relays = answer.unwrap().into_inner().relays;
        let mut relays = relays.into_iter();
        relays.find(|relay| relay.destination_id == destination.id)
    }

    /// The states of the relays to a destination up to now, oldest first.
    pub async fn relay_states(&self, destination: &pb::Destination) -> Vec<pb::RelayState> {
        let request = pb::WatchProjectRequest {
            project_id: self.project.id.clone(),
            after_revision: self.project.revision,
        };
        let answer = self.client.stream.clone().watch_project(request).await;
        let mut changes = answer.unwrap().into_inner();
        let mut states = Vec::new();
        loop {
            match changes.message().await.unwrap().unwrap().event {
                Some(Event::Synced(_)) => return states,
                Some(Event::RelayChanged(relay)) if relay.destination_id == destination.id => {
                    states.push(relay.state());
                }
                _ => {}
            }
        }
    }

    /// Stops the newest stream with a hold.
    pub async fn stop_stream(&self, hold: Duration) {
        let request = pb::StopStreamRequest {
            stream_id: self.stream().await.unwrap().id,
            hold: Some(hold.try_into().unwrap()),
            ..Default::default()
        };
        self.client
            .stream
            .clone()
            .stop_stream(request)
            .await
            .unwrap();
    }

    /// Starts the relay of the newest stream to a destination.
    pub async fn start_relay(&self, destination: &pb::Destination) {
        let request = pb::StartRelayRequest {
            stream_id: self.stream().await.unwrap().id,
            destination_id: destination.id.clone(),
            ..Default::default()
        };
        self.client
            .stream
            .clone()
            .start_relay(request)
            .await
            .unwrap();
    }

    /// Stops the relay of the newest stream to a destination.
    pub async fn stop_relay(&self, destination: &pb::Destination) {
        let request = pb::StopRelayRequest {
            stream_id: self.stream().await.unwrap().id,
            destination_id: destination.id.clone(),
            ..Default::default()
        };
        self.client
            .stream
            .clone()
            .stop_relay(request)
            .await
            .unwrap();
    }
}

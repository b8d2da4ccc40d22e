use std::time::Duration;

use anyhow::{Context, ensure};
use sluice::proto::v1::{
    self as pb, auth_service_client::AuthServiceClient,
    project_service_client::ProjectServiceClient, stream_service_client::StreamServiceClient,
};
use tokio::time::{Instant, sleep};
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};

/// How often a state is looked at: the error of a measured time.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The longest wait for a state.
const WAIT_TIMEOUT: Duration = Duration::from_secs(90);

/// A user with a project, who measures by what the API says.
pub struct Owner {
    channel: Channel,
    bearer: MetadataValue<Ascii>,
    project_id: String,
    /// The stream key.
    pub key: String,
}

impl Owner {
    /// Signs up, and creates a project with a reconnect window of a minute.
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
        let bearer = format!("Bearer {token}").parse()?;
        let request = pb::CreateProjectRequest {
            display_name: "Show".to_owned(),
            reconnect_window: Some(Duration::from_secs(60).try_into()?),
            ..Default::default()
        };
        let mut projects = ProjectServiceClient::new(channel.clone());
        let made = projects.create_project(signed(&bearer, request)).await?;
        let made = made.into_inner();
        Ok(Self {
            channel,
            bearer,
            project_id: made.project.context("no project")?.id,
            key: made.stream_key,
        })
    }

    /// Creates a destination at a URL; returns its id.
    pub async fn destination(&self, url: &str, key: &str) -> anyhow::Result<String> {
        let request = pb::CreateDestinationRequest {
            project_id: self.project_id.clone(),
            platform: pb::Platform::Custom.into(),
            display_name: key.to_owned(),
            url: url.to_owned(),
            stream_key: key.to_owned(),
            ..Default::default()
        };
        let mut projects = ProjectServiceClient::new(self.channel.clone());
        let made = projects.create_destination(self.signed(request)).await?;
        let made = made.into_inner().destination;
        Ok(made.context("no destination")?.id)
    }

    /// Deletes a destination.
    pub async fn delete_destination(&self, id: &str) -> anyhow::Result<()> {
        let request = pb::DeleteDestinationRequest {
            destination_id: id.to_owned(),
            ..Default::default()
        };
        let mut projects = ProjectServiceClient::new(self.channel.clone());
        projects.delete_destination(self.signed(request)).await?;
        Ok(())
    }

    /// The newest stream, once it is live at this epoch.
    pub async fn live(&self, epoch: i64) -> anyhow::Result<pb::Stream> {
        let is_live =
            |stream: &pb::Stream| stream.state() == pb::StreamState::Live && stream.epoch == epoch;
        wait_for("the stream is live", async || {
            Ok(self.stream().await?.filter(is_live))
        })
        .await
    }

    /// Waits until this number of relays of a stream are in a state.
    pub async fn relays_are(
        &self,
        stream: &pb::Stream,
        state: pb::RelayState,
        count: usize,
    ) -> anyhow::Result<Vec<pb::Relay>> {
        self.relays_match(stream, |relay| relay.state() == state, count)
            .await
    }

    /// Waits until this number of relays of a stream match a condition.
    pub async fn relays_match(
        &self,
        stream: &pb::Stream,
        matches: impl Fn(&pb::Relay) -> bool,
        count: usize,
    ) -> anyhow::Result<Vec<pb::Relay>> {
        wait_for("the relays match", async || {
            let mut relays = self.relays(stream).await?;
            relays.retain(&matches);
            Ok((relays.len() == count).then_some(relays))
        })
        .await
    }

    /// The relays of a stream.
    pub async fn relays(&self, stream: &pb::Stream) -> anyhow::Result<Vec<pb::Relay>> {
        let request = pb::ListRelaysRequest {
            stream_id: stream.id.clone(),
            page_size: 200,
            ..Default::default()
        };
        let mut streams = StreamServiceClient::new(self.channel.clone());
        let listed = streams.list_relays(self.signed(request)).await?;
        Ok(listed.into_inner().relays)
    }

    /// Waits until the newest stream has ended.
    pub async fn ended(&self) -> anyhow::Result<()> {
        let is_ended = |stream: pb::Stream| stream.state() == pb::StreamState::Ended;
        wait_for("the stream has ended", async || {
            Ok(self.stream().await?.is_some_and(is_ended).then_some(()))
        })
        .await
    }

    pub async fn stop_stream(&self, stream: &pb::Stream) -> anyhow::Result<()> {
        let request = pb::StopStreamRequest {
            stream_id: stream.id.clone(),
            ..Default::default()
        };
        let mut streams = StreamServiceClient::new(self.channel.clone());
        streams.stop_stream(self.signed(request)).await?;
        Ok(())
    }

    pub async fn stop_relay(&self, stream: &pb::Stream, destination: &str) -> anyhow::Result<()> {
        let request = pb::StopRelayRequest {
            stream_id: stream.id.clone(),
            destination_id: destination.to_owned(),
            ..Default::default()
        };
        let mut streams = StreamServiceClient::new(self.channel.clone());
        streams.stop_relay(self.signed(request)).await?;
        Ok(())
    }

    async fn stream(&self) -> anyhow::Result<Option<pb::Stream>> {
        let request = pb::ListStreamsRequest {
            project_id: self.project_id.clone(),
            page_size: 1,
            ..Default::default()
        };
        let mut streams = StreamServiceClient::new(self.channel.clone());
        let listed = streams.list_streams(self.signed(request)).await?;
        Ok(listed.into_inner().streams.into_iter().next())
    }

    fn signed<T>(&self, message: T) -> Request<T> {
        signed(&self.bearer, message)
    }
}

fn signed<T>(bearer: &MetadataValue<Ascii>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("authorization", bearer.clone());
    request
}

/// Waits for something that is looked at often.
pub async fn wait_for<T>(
    what: &str,
    mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + WAIT_TIMEOUT;
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        ensure!(Instant::now() < deadline, "never happened: {what}");
        sleep(POLL_INTERVAL).await;
    }
}

use sluice::proto::v1 as pb;

use crate::harness::{Client, Engine, MediaServer, TestServer, User, eventually};

/// A time in the past, as a literal for both engines.
const PAST: &str = "'2020-01-01T00:00:00+00:00'";

/// A server with an owner, a project and a media server.
pub struct Fixture {
    pub server: TestServer,
    pub owner: User,
    pub node: MediaServer,
    pub project_id: String,
    pub key: String,
}

impl Fixture {
    /// With a project without reconnect window.
    pub async fn start(engine: Engine) -> Self {
        Self::start_with(engine, &[]).await
    }

    /// The same, with command-line flags.
    pub async fn start_with(engine: Engine, flags: &[&str]) -> Self {
        Self::with_project(engine, flags, pb::CreateProjectRequest::default()).await
    }

    /// With a project with a reconnect window of one minute.
    pub async fn with_window(engine: Engine, flags: &[&str]) -> Self {
        let request = pb::CreateProjectRequest {
            reconnect_window: Some(seconds(60)),
            ..Default::default()
        };
        Self::with_project(engine, flags, request).await
    }

    /// With a project with a reconnect window in seconds.
    pub async fn with_window_of(engine: Engine, window_seconds: i64) -> Self {
        let request = pb::CreateProjectRequest {
            reconnect_window: Some(seconds(window_seconds)),
            ..Default::default()
        };
        Self::with_project(engine, &[], request).await
    }

    /// With a project with the policy TAKEOVER and a reconnect window in seconds.
    pub async fn with_takeover(engine: Engine, window_seconds: i64) -> Self {
        let request = pb::CreateProjectRequest {
            reconnect_window: Some(seconds(window_seconds)),
            publish_conflict_policy: pb::PublishConflictPolicy::Takeover.into(),
            ..Default::default()
        };
        Self::with_project(engine, &[], request).await
    }

    /// With a project as requested. Sets its name, and no reconnect window by default.
    pub async fn with_project(
        engine: Engine,
        flags: &[&str],
        request: pb::CreateProjectRequest,
    ) -> Self {
        let server = TestServer::start_with(engine, flags).await;
        let owner = server.user().await;
        let node = server.media_server().await;
        let request = pb::CreateProjectRequest {
            display_name: "Show".to_owned(),
            reconnect_window: Some(request.reconnect_window.unwrap_or_default()),
            ..request
        };
        let (project, key) = owner.project_with(request).await;
        Self {
            server,
            owner,
            node,
            project_id: project.id,
            key,
        }
    }

    /// Restarts the server on the same data.
    pub async fn restart(self) -> Self {
        let server = self.server.restart().await;
        let owner = User {
            client: Client::with_token(&server.channel, &self.owner.tokens.access_token),
            ..self.owner
        };
        let node = server.media_server().await;
        Self {
            server,
            owner,
            node,
            ..self
        }
    }

    /// A client with an API key of the owner that has these scopes and projects.
    pub async fn api_key_client(&self, scopes: &[&str], project_ids: &[&str]) -> Client {
        let request = pb::CreateApiKeyRequest {
            display_name: "program".to_owned(),
            scopes: scopes.iter().map(ToString::to_string).collect(),
            project_ids: project_ids.iter().map(ToString::to_string).collect(),
            expire_time: None,
            ..Default::default()
        };
        let mut auth = self.owner.client.auth.clone();
        let key = auth.create_api_key(request).await.unwrap().into_inner();
        let request = pb::ExchangeApiKeyRequest { secret: key.secret };
        let answer = auth.exchange_api_key(request).await.unwrap().into_inner();
        Client::with_token(&self.server.channel, &answer.access_token)
    }

    /// GetProject.
    pub async fn project(&self) -> pb::Project {
        let request = pb::GetProjectRequest {
            project_id: self.project_id.clone(),
            ..Default::default()
        };
        let answer = self.owner.client.project.clone().get_project(request).await;
        answer.unwrap().into_inner().project.unwrap()
    }

    /// BeginPublish without media.
    pub async fn begin_stream(&self, connection: &str) -> pb::Stream {
        let answer = self.node.begin(&self.key, connection).await.unwrap();
        answer.into_inner().stream.unwrap()
    }

    /// BeginPublish with media: the stream is live at once.
    pub async fn begin_live_stream(&self, connection: &str) -> pb::Stream {
        let publisher = MediaServer::connection(connection);
        let stream = self.begin_live_from(publisher).await;
        assert_eq!(stream.state(), pb::StreamState::Live);
        stream
    }

    /// HeartbeatPublish of any publisher, with statistics.
    pub async fn heartbeat_from(
        &self,
        stream: &pb::Stream,
        publisher: pb::Publisher,
        stats: Option<pb::StreamStats>,
    ) -> pb::HeartbeatPublishResponse {
        let request = pb::HeartbeatPublishRequest {
            stream_id: stream.id.clone(),
            epoch: stream.epoch,
            publisher: Some(publisher),
            stats,
        };
        let mut client = self.node.client.stream.clone();
        client
            .heartbeat_publish(request)
            .await
            .unwrap()
            .into_inner()
    }

    /// EndPublish of any publisher.
    pub async fn end_from(&self, stream: &pb::Stream, publisher: pb::Publisher) -> pb::Stream {
        let request = pb::EndPublishRequest {
            stream_id: stream.id.clone(),
            epoch: stream.epoch,
            publisher: Some(publisher),
        };
        let answer = self.node.client.stream.clone().end_publish(request).await;
        answer.unwrap().into_inner().stream.unwrap()
    }

    /// StopStream by the owner.
    pub async fn stop(&self, stream: &pb::Stream, hold_seconds: i64) -> pb::Stream {
        let request = pb::StopStreamRequest {
            stream_id: stream.id.clone(),
            hold: Some(seconds(hold_seconds)),
            ..Default::default()
        };
        let answer = self.owner.client.stream.clone().stop_stream(request).await;
        answer.unwrap().into_inner().stream.unwrap()
    }

    /// Disables the project, or enables it again.
    pub async fn set_disabled(&self, disabled: bool) {
        let request = pb::UpdateProjectRequest {
            project_id: self.project_id.clone(),
            disabled: Some(disabled),
            ..Default::default()
        };
        let mut client = self.owner.client.project.clone();
        client.update_project(request).await.unwrap();
    }

    /// Deletes the project with its stream.
    pub async fn delete(&self) {
        let request = pb::DeleteProjectRequest {
            project_id: self.project_id.clone(),
            force: true,
            ..Default::default()
        };
        let mut client = self.owner.client.project.clone();
        client.delete_project(request).await.unwrap();
    }

    /// RotateStreamKey; returns the new key.
    pub async fn rotate(&self, grace_seconds: i64) -> String {
        let request = pb::RotateStreamKeyRequest {
            project_id: self.project_id.clone(),
            grace: Some(seconds(grace_seconds)),
            ..Default::default()
        };
        let mut client = self.owner.client.project.clone();
        let answer = client.rotate_stream_key(request).await;
        answer.unwrap().into_inner().stream_key
    }

    /// Sets a time column of all streams that have not ended to the past.
    pub async fn backdate(&self, column: &str) {
        let statement = format!("update streams set {column} = {PAST} where end_time is null");
        self.server.database.execute(&statement).await;
    }

    /// Lets the hold of the project expire.
    pub async fn release_hold(&self) {
        let statement = format!("update projects set publish_held_until = {PAST}");
        self.server.database.execute(&statement).await;
    }

    /// Number of streams that have not ended.
    pub async fn count_unended(&self) -> i64 {
        let query = "select count(*) from streams where end_time is null";
        self.server.database.number(query).await
    }

    /// Waits until a stream has a state.
    pub async fn wait_for_state(&self, stream: &pb::Stream, state: pb::StreamState) -> pb::Stream {
        eventually("the stream has the state", async || {
            let stream = self.owner.stream(&stream.id).await;
            (stream.state() == state).then_some(stream)
        })
        .await
    }
}

/// The action and the stop reason of a heartbeat response.
pub fn instruction(answer: &pb::HeartbeatPublishResponse) -> (pb::PublishAction, pb::EndReason) {
    (answer.action(), answer.stop_reason())
}

/// The instruction to continue.
pub const CONTINUE: (pb::PublishAction, pb::EndReason) =
    (pb::PublishAction::Continue, pb::EndReason::Unspecified);

/// The instruction to stop.
pub fn stop(reason: pb::EndReason) -> (pb::PublishAction, pb::EndReason) {
    (pb::PublishAction::Stop, reason)
}

/// The state and end reason of a stream.
pub fn state(stream: &pb::Stream) -> (pb::StreamState, pb::EndReason) {
    (stream.state(), stream.end_reason())
}

/// Statistics with a byte count.
pub fn stats_with_bytes(bytes_received: i64) -> Option<pb::StreamStats> {
    Some(pb::StreamStats {
        bytes_received,
        ..Default::default()
    })
}

/// A protobuf duration.
pub fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

/// A timestamp that can be compared.
pub fn timestamp(time: Option<prost_types::Timestamp>) -> (i64, i32) {
    let time = time.unwrap();
    (time.seconds, time.nanos)
}

use sluice::proto::v1 as pb;

use crate::harness::{Engine, MediaServer, TestServer, User, eventually};

/// A moment long ago, as both engines read it.
const LONG_AGO: &str = "'2020-01-01T00:00:00+00:00'";

/// A server with one owner, one project of his, and a media server.
pub struct Scene {
    pub server: TestServer,
    pub owner: User,
    pub node: MediaServer,
    pub project_id: String,
    pub key: String,
}

impl Scene {
    /// Of a project without reconnect window.
    pub async fn start(engine: Engine) -> Self {
        Self::start_with(engine, &[]).await
    }

    /// The same, with settings as flags.
    pub async fn start_with(engine: Engine, flags: &[&str]) -> Self {
        Self::of(engine, flags, pb::CreateProjectRequest::default()).await
    }

    /// Of a project that waits a minute for a publisher to come back.
    pub async fn with_window(engine: Engine, flags: &[&str]) -> Self {
        let request = pb::CreateProjectRequest {
            reconnect_window: Some(seconds(60)),
            ..Default::default()
        };
        Self::of(engine, flags, request).await
    }

    /// Of a project as asked for; its name and a missing window (none) are filled in.
    pub async fn of(engine: Engine, flags: &[&str], request: pb::CreateProjectRequest) -> Self {
        let server = TestServer::start_with(engine, flags).await;
        let owner = server.user().await;
        let node = server.media_server().await;
        let request = pb::CreateProjectRequest {
            name: "Show".to_owned(),
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

    /// The same data under a server that has been restarted.
    pub async fn restart(self) -> Self {
        let server = self.server.restart().await;
        let owner = User {
            client: crate::harness::Client::with_token(
                &server.channel,
                &self.owner.tokens.access_token,
            ),
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

    /// The project as it is now.
    pub async fn project(&self) -> pb::Project {
        let request = pb::GetProjectRequest {
            project_id: self.project_id.clone(),
        };
        let answer = self.owner.client.project.clone().get_project(request).await;
        answer.unwrap().into_inner().project.unwrap()
    }

    /// A stream that a connection begins.
    pub async fn begun(&self, connection: &str) -> pb::Stream {
        let answer = self.node.begin(&self.key, connection).await.unwrap();
        answer.into_inner().stream.unwrap()
    }

    /// A stream that a connection begins with media, hence live from its first moment.
    pub async fn begun_live(&self, connection: &str) -> pb::Stream {
        let request = pb::BeginPublishRequest {
            stream_key: self.key.clone(),
            publisher: Some(MediaServer::connection(connection)),
            media_flowing: true,
            play_url: String::new(),
        };
        let answer = self.node.client.stream.clone().begin_publish(request).await;
        let stream = answer.unwrap().into_inner().stream.unwrap();
        assert_eq!(stream.status(), pb::StreamStatus::Live);
        stream
    }

    /// A heartbeat of any connection, with what it measured.
    pub async fn heartbeat_of(
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

    /// The end of any connection.
    pub async fn end_of(&self, stream: &pb::Stream, publisher: pb::Publisher) -> pb::Stream {
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
        };
        let mut client = self.owner.client.project.clone();
        client.delete_project(request).await.unwrap();
    }

    /// RotateStreamKey: the new key.
    pub async fn rotate(&self, grace_seconds: i64) -> String {
        let request = pb::RotateStreamKeyRequest {
            project_id: self.project_id.clone(),
            grace: Some(seconds(grace_seconds)),
        };
        let mut client = self.owner.client.project.clone();
        let answer = client.rotate_stream_key(request).await;
        answer.unwrap().into_inner().stream_key
    }

    /// Moves a time of all streams that have not ended into the past.
    pub async fn long_ago(&self, column: &str) {
        let statement = format!("update streams set {column} = {LONG_AGO} where end_time is null");
        self.server.database.execute(&statement).await;
    }

    /// Lets the project's hold run out.
    pub async fn release_hold(&self) {
        let statement = format!("update projects set publish_held_until = {LONG_AGO}");
        self.server.database.execute(&statement).await;
    }

    /// How many streams have not ended.
    pub async fn unended(&self) -> i64 {
        let query = "select count(*) from streams where end_time is null";
        self.server.database.number(query).await
    }

    /// A stream once it has a status.
    pub async fn eventually(&self, stream: &pb::Stream, status: pb::StreamStatus) -> pb::Stream {
        eventually("the stream has the status", async || {
            let stream = self.owner.stream(&stream.id).await;
            (stream.status() == status).then_some(stream)
        })
        .await
    }
}

/// What a heartbeat told its connection to do, and why.
pub fn told(answer: &pb::HeartbeatPublishResponse) -> (pb::PublishAction, pb::EndReason) {
    (answer.action(), answer.stop_reason())
}

/// What a connection is told that may go on.
pub const CONTINUE: (pb::PublishAction, pb::EndReason) =
    (pb::PublishAction::Continue, pb::EndReason::Unspecified);

/// What a connection is told that must not.
pub fn stop(reason: pb::EndReason) -> (pb::PublishAction, pb::EndReason) {
    (pb::PublishAction::Stop, reason)
}

/// Where a stream is and why.
pub fn state(stream: &pb::Stream) -> (pb::StreamStatus, pb::EndReason) {
    (stream.status(), stream.end_reason())
}

/// A measurement of so many bytes.
pub fn bytes(bytes_received: i64) -> Option<pb::StreamStats> {
    Some(pb::StreamStats {
        bytes_received,
        ..Default::default()
    })
}

/// A span of time.
pub fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

/// A time that can be compared.
pub fn at(time: Option<prost_types::Timestamp>) -> (i64, i32) {
    let time = time.unwrap();
    (time.seconds, time.nanos)
}

use sluice::{domain::Scope, proto::v1 as pb};
use tonic::{Response, Status};

pub use super::worker::{Worker, breaks, broadcasts, fails, runs};
use crate::harness::{Client, Engine, MediaServer, TestServer, User, eventually};

/// A moment long ago, as both engines read it.
const LONG_AGO: &str = "'2020-01-01T00:00:00+00:00'";

/// A server with one owner, one project of his, a media server, and workers.
pub struct Scene {
    pub server: TestServer,
    pub owner: User,
    pub node: MediaServer,
    pub workers: Client,
    pub project: pb::Project,
    pub key: String,
}

impl Scene {
    /// Of a project without reconnect window.
    pub async fn start(engine: Engine) -> Self {
        Self::start_with(engine, &[], 0).await
    }

    /// Of a project that waits a minute for a publisher to come back.
    pub async fn with_window(engine: Engine) -> Self {
        Self::start_with(engine, &[], 60).await
    }

    /// With settings as flags, and a reconnect window in seconds.
    pub async fn start_with(engine: Engine, flags: &[&str], window: i64) -> Self {
        Self::over(TestServer::start_with(engine, flags).await, window).await
    }

    /// On a server that runs.
    pub async fn over(server: TestServer, window: i64) -> Self {
        let owner = server.user().await;
        let node = server.media_server().await;
        let workers = server.operator(&[Scope::RelaysWork]).await;
        let request = pb::CreateProjectRequest {
            name: "Show".to_owned(),
            reconnect_window: Some(prost_types::Duration {
                seconds: window,
                nanos: 0,
            }),
            ..Default::default()
        };
        let (project, key) = owner.project_with(request).await;
        Self {
            server,
            owner,
            node,
            workers,
            project,
            key,
        }
    }

    /// A destination of a name, with the key `key-of-NAME`.
    pub async fn destination(&self, name: &str) -> pb::Destination {
        self.destination_with(destination_of(&self.project, name))
            .await
    }

    pub async fn destination_with(&self, request: pb::CreateDestinationRequest) -> pb::Destination {
        let mut projects = self.owner.client.project.clone();
        let answer = projects.create_destination(request).await.unwrap();
        answer.into_inner().destination.unwrap()
    }

    pub async fn update_destination(&self, request: pb::UpdateDestinationRequest) {
        let mut projects = self.owner.client.project.clone();
        projects.update_destination(request).await.unwrap();
    }

    pub async fn delete_destination(&self, destination: &pb::Destination) {
        let request = pb::DeleteDestinationRequest {
            destination_id: destination.id.clone(),
        };
        let mut projects = self.owner.client.project.clone();
        projects.delete_destination(request).await.unwrap();
    }

    /// A live stream of a connection.
    pub async fn live(&self, connection: &str) -> pb::Stream {
        self.node.live(&self.key, connection).await
    }

    pub async fn stop_stream(&self, stream: &pb::Stream) {
        let request = pb::StopStreamRequest {
            stream_id: stream.id.clone(),
            hold: None,
        };
        let mut streams = self.owner.client.stream.clone();
        streams.stop_stream(request).await.unwrap();
    }

    pub async fn start_relay(
        &self,
        stream: &pb::Stream,
        destination: &pb::Destination,
    ) -> Result<Response<pb::StartRelayResponse>, Status> {
        let request = pb::StartRelayRequest {
            stream_id: stream.id.clone(),
            destination_id: destination.id.clone(),
        };
        self.owner.client.stream.clone().start_relay(request).await
    }

    pub async fn stop_relay(
        &self,
        stream: &pb::Stream,
        destination: &pb::Destination,
    ) -> Result<Response<pb::StopRelayResponse>, Status> {
        let request = pb::StopRelayRequest {
            stream_id: stream.id.clone(),
            destination_id: destination.id.clone(),
        };
        self.owner.client.stream.clone().stop_relay(request).await
    }

    /// The relay after a StartRelay that is accepted.
    pub async fn started(&self, stream: &pb::Stream, to: &pb::Destination) -> pb::Relay {
        let answer = self.start_relay(stream, to).await.unwrap();
        answer.into_inner().relay.unwrap()
    }

    /// The relay after a StopRelay that is accepted.
    pub async fn stopped(&self, stream: &pb::Stream, to: &pb::Destination) -> pb::Relay {
        let answer = self.stop_relay(stream, to).await.unwrap();
        answer.into_inner().relay.unwrap()
    }

    /// The relays of a stream.
    pub async fn relays(&self, stream: &pb::Stream) -> Vec<pb::Relay> {
        let request = pb::ListRelaysRequest {
            stream_id: stream.id.clone(),
        };
        let mut streams = self.owner.client.stream.clone();
        let answer = streams.list_relays(request).await.unwrap();
        answer.into_inner().relays
    }

    /// The only relay of a stream.
    pub async fn relay(&self, stream: &pb::Stream) -> pb::Relay {
        let mut relays = self.relays(stream).await;
        assert_eq!(relays.len(), 1, "{relays:?}");
        relays.remove(0)
    }

    /// The only relay of a stream once it is in a state.
    pub async fn eventually(&self, stream: &pb::Stream, state: pb::RelayState) -> pb::Relay {
        eventually("the relay is in the state", async || {
            let relay = self.relay(stream).await;
            (relay.state() == state).then_some(relay)
        })
        .await
    }

    /// A worker that takes as much as it may.
    pub async fn worker(&self, id: &str) -> Worker {
        self.worker_with(id, "", 1000).await
    }

    pub async fn worker_with(&self, id: &str, node_id: &str, capacity: i32) -> Worker {
        Worker::claim(&self.workers, id, node_id, capacity).await
    }

    /// A live stream to one destination, which a worker has.
    pub async fn claimed(&self) -> (pb::Stream, pb::Destination, Worker, pb::RelayAssignment) {
        let destination = self.destination("a").await;
        let stream = self.live("c1").await;
        let mut worker = self.worker("w1").await;
        let assignment = worker.assigned(1).await.remove(0);
        (stream, destination, worker, assignment)
    }

    /// Shows that a worker is given nothing: not even together with a relay that
    /// is new, and that it is given.
    pub async fn assert_nothing_for(&self, worker: &mut Worker, stream: &pb::Stream) {
        let fresh = self.destination("fresh").await;
        self.started(stream, &fresh).await;
        let assigned = worker.assigned(1).await;
        assert_eq!(assigned[0].relay.as_ref().unwrap().destination_id, fresh.id);
        self.delete_destination(&fresh).await;
        assert_eq!(worker.revoked().await, [assigned[0].lease_id.clone()]);
    }

    /// The project's revision.
    pub async fn revision(&self) -> i64 {
        let request = pb::GetProjectRequest {
            project_id: self.project.id.clone(),
        };
        let answer = self.owner.client.project.clone().get_project(request).await;
        answer.unwrap().into_inner().project.unwrap().revision
    }

    /// Moves a time of all relays into the past.
    pub async fn long_ago(&self, column: &str) {
        let statement = format!("update relays set {column} = {LONG_AGO}");
        self.server.database.execute(&statement).await;
    }

    /// Whether there is an event for each revision of every project.
    pub async fn assert_events(&self) {
        let query = "select cast(sum(revision) - (select count(*) from events) as bigint)
                     from projects";
        let missing = self.server.database.number(query).await;
        assert_eq!(missing, 0, "events are missing");
    }
}

/// CreateDestination of a project, for a server of one's own.
pub fn destination_of(project: &pb::Project, name: &str) -> pb::CreateDestinationRequest {
    pb::CreateDestinationRequest {
        project_id: project.id.clone(),
        platform: pb::Platform::Custom.into(),
        name: name.to_owned(),
        url: "rtmp://live.example.com/app".to_owned(),
        stream_key: format!("key-of-{name}"),
        ..Default::default()
    }
}

/// What is wanted and what is observed.
pub fn state(relay: &pb::Relay) -> (pb::RelayDesiredState, pb::RelayState) {
    (relay.desired(), relay.state())
}

pub const STARTED: pb::RelayDesiredState = pb::RelayDesiredState::Started;
pub const STOPPED: pb::RelayDesiredState = pb::RelayDesiredState::Stopped;

/// A time that can be compared.
pub fn at(time: Option<prost_types::Timestamp>) -> (i64, i32) {
    let time = time.unwrap();
    (time.seconds, time.nanos)
}

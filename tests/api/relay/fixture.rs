use sluice::{domain::Scope, proto::v1 as pb};
use tonic::{Response, Status};

pub use super::worker::{
    Worker, broadcasting_report, failure_report, retryable_failure, state_report,
};
use crate::harness::{Client, Engine, MediaServer, TestServer, User, eventually};

/// A time in the past, as a literal for both engines.
pub const PAST: &str = "'2020-01-01T00:00:00+00:00'";

/// A server with an owner, a project, a media server and workers.
pub struct Fixture {
    pub server: TestServer,
    pub owner: User,
    pub node: MediaServer,
    pub workers: Client,
    pub project: pb::Project,
    pub key: String,
}

impl Fixture {
    /// With a project without reconnect window.
    pub async fn start(engine: Engine) -> Self {
        Self::start_with(engine, &[], 0).await
    }

    /// With a project with a reconnect window of one minute.
    pub async fn with_window(engine: Engine) -> Self {
        Self::start_with(engine, &[], 60).await
    }

    /// With command-line flags, and a reconnect window in seconds.
    pub async fn start_with(engine: Engine, flags: &[&str], window: i64) -> Self {
        Self::over(TestServer::start_with(engine, flags).await, window).await
    }

    /// On a running server.
    pub async fn over(server: TestServer, window: i64) -> Self {
        let owner = server.user().await;
        let node = server.media_server().await;
        let workers = server.operator(&[Scope::RelaysWork]).await;
        let request = pb::CreateProjectRequest {
            display_name: "Show".to_owned(),
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

    /// Creates a destination with the key `key-of-NAME`.
    pub async fn destination(&self, name: &str) -> pb::Destination {
        self.create_destination(destination_request(&self.project, name))
            .await
    }

    pub async fn create_destination(
        &self,
        request: pb::CreateDestinationRequest,
    ) -> pb::Destination {
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
            ..Default::default()
        };
        let mut projects = self.owner.client.project.clone();
        projects.delete_destination(request).await.unwrap();
    }

    /// Begins a stream and makes it live.
    pub async fn live(&self, connection: &str) -> pb::Stream {
        self.node.live(&self.key, connection).await
    }

    pub async fn stop_stream(&self, stream: &pb::Stream) {
        let request = pb::StopStreamRequest {
            stream_id: stream.id.clone(),
            hold: None,
            ..Default::default()
        };
        let mut streams = self.owner.client.stream.clone();
        streams.stop_stream(request).await.unwrap();
    }

    pub async fn try_start_relay(
        &self,
        stream: &pb::Stream,
        destination: &pb::Destination,
    ) -> Result<Response<pb::StartRelayResponse>, Status> {
        let request = pb::StartRelayRequest {
            stream_id: stream.id.clone(),
            destination_id: destination.id.clone(),
            ..Default::default()
        };
        self.owner.client.stream.clone().start_relay(request).await
    }

    pub async fn try_stop_relay(
        &self,
        stream: &pb::Stream,
        destination: &pb::Destination,
    ) -> Result<Response<pb::StopRelayResponse>, Status> {
        let request = pb::StopRelayRequest {
            stream_id: stream.id.clone(),
            destination_id: destination.id.clone(),
            ..Default::default()
        };
        self.owner.client.stream.clone().stop_relay(request).await
    }

    /// StartRelay, which must be accepted.
    pub async fn start_relay(&self, stream: &pb::Stream, to: &pb::Destination) -> pb::Relay {
        let answer = self.try_start_relay(stream, to).await.unwrap();
        answer.into_inner().relay.unwrap()
    }

    /// StopRelay, which must be accepted.
    pub async fn stop_relay(&self, stream: &pb::Stream, to: &pb::Destination) -> pb::Relay {
        let answer = self.try_stop_relay(stream, to).await.unwrap();
        answer.into_inner().relay.unwrap()
    }

    /// The relays of a stream.
    pub async fn relays(&self, stream: &pb::Stream) -> Vec<pb::Relay> {
        let request = pb::ListRelaysRequest {
            stream_id: stream.id.clone(),
            ..Default::default()
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

    /// Waits until the only relay of a stream has a state.
    pub async fn wait_for_state(&self, stream: &pb::Stream, state: pb::RelayState) -> pb::Relay {
        eventually("the relay is in the state", async || {
            let relay = self.relay(stream).await;
            (relay.state() == state).then_some(relay)
        })
        .await
    }

    /// A worker with the maximum capacity.
    pub async fn worker(&self, id: &str) -> Worker {
        self.worker_with(id, "", 1000).await
    }

    pub async fn worker_with(&self, id: &str, node_id: &str, capacity: i32) -> Worker {
        Worker::claim(&self.workers, id, node_id, capacity).await
    }

    /// A live stream with one relay, which a worker has claimed.
    pub async fn claimed_relay(
        &self,
    ) -> (pb::Stream, pb::Destination, Worker, pb::RelayAssignment) {
        let destination = self.destination("a").await;
        let stream = self.live("c1").await;
        let mut worker = self.worker("w1").await;
        let assignment = worker.next_assignments(1).await.remove(0);
        (stream, destination, worker, assignment)
    }

    /// Checks that a worker is assigned nothing except a new relay, which proves that it waited.
    pub async fn assert_not_assigned(&self, worker: &mut Worker, stream: &pb::Stream) {
        let fresh = self.destination("fresh").await;
        self.start_relay(stream, &fresh).await;
        let assigned = worker.next_assignments(1).await;
        assert_eq!(assigned[0].relay.as_ref().unwrap().destination_id, fresh.id);
        self.delete_destination(&fresh).await;
        assert_eq!(
            worker.next_revocations().await,
            [assigned[0].lease_id.clone()]
        );
    }

    /// The project's revision.
    pub async fn revision(&self) -> i64 {
        let request = pb::GetProjectRequest {
            project_id: self.project.id.clone(),
            ..Default::default()
        };
        let answer = self.owner.client.project.clone().get_project(request).await;
        answer.unwrap().into_inner().project.unwrap().revision
    }

    /// Sets a time column of all relays to the past. The leases of workers end too.
    pub async fn backdate(&self, column: &str) {
        let mut statement = format!("update relays set {column} = {PAST}");
        if column == "lease_expire_time" {
            statement += &format!("; update workers set {column} = {PAST}");
        }
        self.server.database.execute(&statement).await;
    }

    /// Checks that each revision of every project has an event.
    pub async fn assert_no_missing_events(&self) {
        let query = "select cast(sum(revision) - (select count(*) from events) as bigint)
                     from projects";
        let missing = self.server.database.number(query).await;
        assert_eq!(missing, 0, "events are missing");
    }
}

/// A CreateDestination request for the platform CUSTOM.
pub fn destination_request(project: &pb::Project, name: &str) -> pb::CreateDestinationRequest {
    pb::CreateDestinationRequest {
        project_id: project.id.clone(),
        platform: pb::Platform::Custom.into(),
        display_name: name.to_owned(),
        url: "rtmp://live.example.com/app".to_owned(),
        stream_key: format!("key-of-{name}"),
        ..Default::default()
    }
}

/// The desired and the actual state.
pub fn state(relay: &pb::Relay) -> (pb::RelayDesiredState, pb::RelayState) {
    (relay.desired_state(), relay.state())
}

pub const STARTED: pb::RelayDesiredState = pb::RelayDesiredState::Started;
pub const STOPPED: pb::RelayDesiredState = pb::RelayDesiredState::Stopped;

/// A timestamp that can be compared.
pub fn timestamp(time: Option<prost_types::Timestamp>) -> (i64, i32) {
    let time = time.unwrap();
    (time.seconds, time.nanos)
}

use std::sync::atomic::{AtomicU32, Ordering};

use sluice::proto::v1::{
    CreateProjectRequest, ListStreamsRequest, PublishConflictPolicy, StopStreamRequest, Stream,
    StreamState,
};

use super::{
    hook_edge::{HookEdge, SECRET},
    stub_api::StubApi,
};
use crate::harness::{Engine::Sqlite, TestServer, User, eventually};

static COUNT: AtomicU32 = AtomicU32::new(1);

/// A control plane, an edge, a stub of a media server and a project. The test sends the hooks.
pub struct HookFixture {
    _server: TestServer,
    pub edge: HookEdge,
    pub api: StubApi,
    pub owner: User,
    pub project_id: String,
    pub key: String,
}

impl HookFixture {
    /// With a media server of a kind; `prepare` sets the responses of its API.
    pub async fn start(
        kind: &str,
        policy: PublishConflictPolicy,
        prepare: impl FnOnce(&StubApi),
    ) -> Self {
        let server = TestServer::start(Sqlite).await;
        let owner = server.user().await;
        let (project, key) = owner
            .project_with(CreateProjectRequest {
                display_name: "Show".to_owned(),
                reconnect_window: Some(prost_types::Duration::default()),
                publish_conflict_policy: policy.into(),
                ..Default::default()
            })
            .await;
        let api = StubApi::start().await;
        prepare(&api);
        let edge = HookEdge::start(&server, kind, &api).await;
        Self {
            _server: server,
            edge,
            api,
            owner,
            project_id: project.id,
            key,
        }
    }

    /// The project's newest stream.
    pub async fn stream(&self) -> Option<Stream> {
        let request = ListStreamsRequest {
            project_id: self.project_id.clone(),
            ..Default::default()
        };
        let mut streams = self.owner.client.stream.clone();
        let answer = streams.list_streams(request).await.unwrap().into_inner();
        answer.streams.into_iter().next()
    }

    /// Waits until the newest stream is of a connection and has a state.
    pub async fn wait_for_state(&self, state: StreamState, connection: &str) -> Stream {
        eventually("the stream has the state", async || {
            let stream = self.stream().await?;
            let publisher = stream.publisher.as_ref()?;
            let is_it = stream.state() == state && publisher.connection_id == connection;
            is_it.then_some(stream)
        })
        .await
    }

    /// StopStream.
    pub async fn stop(&self, stream: &Stream) {
        let request = StopStreamRequest {
            stream_id: stream.id.clone(),
            hold: None,
            ..Default::default()
        };
        let mut streams = self.owner.client.stream.clone();
        streams.stop_stream(request).await.unwrap();
    }

    /// Checks that the edge has logged neither the stream key nor the secret.
    pub fn assert_no_secret_in_log(&self) {
        let log = self.edge.log();
        assert!(!log.contains(&self.key), "the key is in the log: {log}");
        assert!(!log.contains(SECRET), "the secret is in the log: {log}");
    }
}

/// A unique connection id.
pub fn new_connection_id() -> String {
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("0d5a1b8e-97d5-4a0e-a0a1-{number:012x}")
}

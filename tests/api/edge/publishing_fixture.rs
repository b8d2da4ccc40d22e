use std::fs::{self, File};

use sluice::proto::v1 as pb;
use tempfile::TempDir;
use tokio::process::Child;

use super::stub_nginx::StubNginx;
use crate::harness::{
    Engine::Sqlite, HttpResponse, Process, Proxy, TestServer, User, eventually, http,
};

const SECRET: &str = "0123456789abcdef";

/// A control plane behind a proxy that can be cut, an edge, a stub of nginx-rtmp, and a project
/// without reconnect window. The test sends the hooks.
pub struct PublishingFixture {
    _server: TestServer,
    pub owner: User,
    pub key: String,
    pub nginx: StubNginx,
    pub proxy: Proxy,
    project_id: String,
    api_key: String,
    grace: &'static str,
    folder: TempDir,
    edge: Child,
}

impl PublishingFixture {
    pub async fn start(grace: &'static str) -> Self {
        let server = TestServer::start(Sqlite).await;
        let owner = server.user().await;
        let (project, key) = owner.project().await;
        let nginx = StubNginx::start().await;
        let proxy = Proxy::to(server.address).await;
        let api_key = Process::create_operator_key(&server.database).await;
        let folder = TempDir::new().unwrap();
        let edge = start_edge(&nginx, &proxy, &api_key, grace, &folder);
        Self {
            _server: server,
            owner,
            key,
            nginx,
            proxy,
            project_id: project.id,
            api_key,
            grace,
            folder,
            edge,
        }
    }

    /// Kills the edge and starts another one.
    pub async fn replace_edge(&mut self) {
        self.edge.kill().await.unwrap();
        fs::remove_file(self.folder.path().join("log")).unwrap();
        let Self { nginx, proxy, .. } = self;
        self.edge = start_edge(nginx, proxy, &self.api_key, self.grace, &self.folder);
    }

    /// The log of the edge so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    async fn address(&self) -> String {
        eventually("the edge says where it listens", async || {
            self.log().lines().find_map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).ok()?;
                let address = line["address"].as_str()?.to_owned();
                (line["message"] == "serving hooks").then_some(address)
            })
        })
        .await
    }

    async fn hook(&self, path: &str, client: u32, call: &str) -> HttpResponse {
        let body = format!(
            "app=live&flashver=x&swfurl=&tcurl=rtmp://127.0.0.1/live&pageurl=\
             &addr=203.0.113.5&clientid={client}&{call}&name={}",
            self.key
        );
        let path = format!("/hooks/nginx-rtmp/{SECRET}/{path}");
        http(&self.address().await, "POST", &path, &body).await
    }

    /// on_publish; returns the stream name from the redirect if it is accepted.
    pub async fn publish(&self, client: u32) -> Option<String> {
        let answer = self.hook("publish", client, "call=publish").await;
        let mut lines = answer.head.lines();
        let name = lines.find_map(|line| line.strip_prefix("location: "));
        assert_eq!(name.is_some(), answer.status == 302, "{answer:?}");
        name.map(ToOwned::to_owned)
    }

    /// on_update; returns whether the publisher may continue.
    pub async fn update(&self, client: u32) -> bool {
        let call = "call=update_publish&time=2&timestamp=1956";
        let answer = self.hook("update", client, call).await;
        (200..300).contains(&answer.status)
    }

    /// on_publish_done.
    pub async fn publish_done(&self, client: u32) {
        self.hook("publish_done", client, "call=publish_done").await;
    }

    /// Publishes with media; returns the live stream.
    pub async fn go_live(&self, client: u32) -> pb::Stream {
        let name = self.publish(client).await.expect("it is accepted");
        self.nginx.set_publisher(client, &name, 1000);
        self.wait_for_state(pb::StreamState::Live).await
    }

    /// The project's newest stream.
    pub async fn stream(&self) -> Option<pb::Stream> {
        let request = pb::ListStreamsRequest {
            project_id: self.project_id.clone(),
            ..Default::default()
        };
        let mut client = self.owner.client.stream.clone();
        let streams = client.list_streams(request).await.unwrap().into_inner();
        streams.streams.into_iter().next()
    }

    /// Waits until the newest stream has a state.
    pub async fn wait_for_state(&self, state: pb::StreamState) -> pb::Stream {
        eventually("the stream has the state", async || {
            let stream = self.stream().await?;
            (stream.state() == state).then_some(stream)
        })
        .await
    }

    /// The time of the last report of a stream.
    pub async fn last_report(&self, stream: &pb::Stream) -> (i64, i32) {
        let time = self.owner.stream(&stream.id).await.last_seen_time.unwrap();
        (time.seconds, time.nanos)
    }

    /// Waits for a report of a stream after `before`.
    pub async fn wait_for_report_after(&self, stream: &pb::Stream, before: (i64, i32)) {
        eventually("the stream is reported", async || {
            let now = self.owner.stream(&stream.id).await;
            assert_eq!(now.state(), pb::StreamState::Live);
            (self.last_report(stream).await > before).then_some(())
        })
        .await;
    }

    /// Waits for the next report of a stream.
    pub async fn wait_for_next_report(&self, stream: &pb::Stream) {
        let before = self.last_report(stream).await;
        self.wait_for_report_after(stream, before).await;
    }
}

fn start_edge(
    nginx: &StubNginx,
    proxy: &Proxy,
    api_key: &str,
    grace: &str,
    folder: &TempDir,
) -> Child {
    let own = [
        ("SLUICE_CONTROL_PLANE", format!("http://{}", proxy.address)),
        ("SLUICE_API_KEY", api_key.to_owned()),
        ("SLUICE_NODE_ID", "n1".to_owned()),
        ("SLUICE_MEDIA_SERVER_API", nginx.address.clone()),
        ("SLUICE_HOOKS_SECRET", SECRET.to_owned()),
        ("SLUICE_HOOKS_LISTEN", "127.0.0.1:0".to_owned()),
        ("SLUICE_OUTAGE_GRACE", grace.to_owned()),
        ("SLUICE_RELAY_CAPACITY", "0".to_owned()),
        (
            "SLUICE_EDGE_DIR",
            folder.path().join("edge").display().to_string(),
        ),
        ("SLUICE_LOG_FORMAT", "json".to_owned()),
    ];
    let log = File::create(folder.path().join("log")).unwrap();
    let mut command = Process::command(&["edge"], &[]);
    command.envs(own).stderr(log).spawn().unwrap()
}

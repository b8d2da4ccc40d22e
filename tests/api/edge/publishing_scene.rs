use std::fs::{self, File};

use sluice::proto::v1 as pb;
use tempfile::TempDir;
use tokio::process::Child;

use super::nginx_stub::NginxStub;
use crate::harness::{Answer, Engine::Sqlite, Process, Proxy, TestServer, User, eventually, http};

const SECRET: &str = "0123456789abcdef";

/// A control plane that can be taken away, an edge, an nginx-rtmp whose hooks the test
/// sends, and a project without reconnect window.
pub struct PublishingScene {
    _server: TestServer,
    pub owner: User,
    pub key: String,
    pub nginx: NginxStub,
    pub proxy: Proxy,
    project_id: String,
    api_key: String,
    grace: &'static str,
    folder: TempDir,
    edge: Child,
}

impl PublishingScene {
    pub async fn start(grace: &'static str) -> Self {
        let server = TestServer::start(Sqlite).await;
        let owner = server.user().await;
        let (project, key) = owner.project().await;
        let nginx = NginxStub::start().await;
        let proxy = Proxy::to(server.address).await;
        let api_key = Process::operators_key(&server.database).await;
        let folder = TempDir::new().unwrap();
        let edge = launch(&nginx, &proxy, &api_key, grace, &folder);
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

    /// Kills the edge, and starts another in its place.
    pub async fn replace_edge(&mut self) {
        self.edge.kill().await.unwrap();
        fs::remove_file(self.folder.path().join("log")).unwrap();
        let Self { nginx, proxy, .. } = self;
        self.edge = launch(nginx, proxy, &self.api_key, self.grace, &self.folder);
    }

    /// What the edge has logged so far.
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

    async fn hook(&self, path: &str, client: u32, call: &str) -> Answer {
        let body = format!(
            "app=live&flashver=x&swfurl=&tcurl=rtmp://127.0.0.1/live&pageurl=\
             &addr=203.0.113.5&clientid={client}&{call}&name={}",
            self.key
        );
        let path = format!("/hooks/nginx-rtmp/{SECRET}/{path}");
        http(&self.address().await, "POST", &path, &body).await
    }

    /// on_publish: the name that nginx is to give the stream, if it may go on.
    pub async fn publish(&self, client: u32) -> Option<String> {
        let answer = self.hook("publish", client, "call=publish").await;
        let mut lines = answer.head.lines();
        let name = lines.find_map(|line| line.strip_prefix("location: "));
        assert_eq!(name.is_some(), answer.status == 302, "{answer:?}");
        name.map(ToOwned::to_owned)
    }

    /// on_update: whether it may go on.
    pub async fn update(&self, client: u32) -> bool {
        let call = "call=update_publish&time=2&timestamp=1956";
        let answer = self.hook("update", client, call).await;
        (200..300).contains(&answer.status)
    }

    /// on_publish_done.
    pub async fn done(&self, client: u32) {
        self.hook("publish_done", client, "call=publish_done").await;
    }

    /// A connection whose media flows, and its stream.
    pub async fn live(&self, client: u32) -> pb::Stream {
        let name = self.publish(client).await.expect("it is accepted");
        self.nginx.has(client, &name, 1000);
        self.becomes(pb::StreamStatus::Live).await
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

    /// Waits until the newest stream has a status.
    pub async fn becomes(&self, status: pb::StreamStatus) -> pb::Stream {
        eventually("the stream has that status", async || {
            let stream = self.stream().await?;
            (stream.status() == status).then_some(stream)
        })
        .await
    }

    /// When the control plane last got a report of a stream.
    pub async fn last_report(&self, stream: &pb::Stream) -> (i64, i32) {
        let time = self.owner.stream(&stream.id).await.last_seen_time.unwrap();
        (time.seconds, time.nanos)
    }

    /// Waits until the control plane gets a report of a stream that is later than `before`.
    pub async fn reported_after(&self, stream: &pb::Stream, before: (i64, i32)) {
        eventually("the stream is reported", async || {
            let now = self.owner.stream(&stream.id).await;
            assert_eq!(now.status(), pb::StreamStatus::Live);
            (self.last_report(stream).await > before).then_some(())
        })
        .await;
    }

    /// Waits until the control plane gets another report of a stream.
    pub async fn heard_of(&self, stream: &pb::Stream) {
        let before = self.last_report(stream).await;
        self.reported_after(stream, before).await;
    }
}

fn launch(nginx: &NginxStub, proxy: &Proxy, api_key: &str, grace: &str, folder: &TempDir) -> Child {
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

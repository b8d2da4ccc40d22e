use std::net::SocketAddr;

use sluice::proto::v1 as pb;

use super::{relay_edge::RelayEdge, stub_ffmpeg::StubFfmpeg};
use crate::{
    harness::{Client, MediaServer, Process, Sqlite, eventually},
    relay::scene::{Scene, destination_of},
};

/// A control plane with one owner, and an operator's key for edges.
pub struct RelayScene {
    pub scene: Scene,
    pub ffmpeg: StubFfmpeg,
    pub api_key: String,
}

impl RelayScene {
    /// With leases of 3 seconds, so that the end of one is seen.
    pub async fn start() -> Self {
        let flags = [
            "--allow-private-destinations=true",
            "--heartbeat-timeout=10min",
            "--relay-lease=3s",
        ];
        let scene = Scene::start_with(Sqlite, &flags, 0).await;
        let create = ["create-api-key", "--name", "edge"];
        let scopes = ["--scope", "streams:publish", "--scope", "relays:work"];
        let arguments = [&create[..], &scopes[..]].concat();
        let said = Process::said(Process::admin(&scene.server.database, &arguments, &[])).await;
        assert_eq!(said.code, Some(0), "{}", said.errors);
        Self {
            scene,
            ffmpeg: StubFfmpeg::new(),
            api_key: said.output.trim().to_owned(),
        }
    }

    /// The same control plane after its end and a new start, at another address.
    pub async fn restarted(self) -> Self {
        let mut scene = self.scene;
        scene.server = scene.server.restart().await;
        let token = &scene.owner.tokens.access_token;
        scene.owner.client = Client::with_token(&scene.server.channel, token);
        Self { scene, ..self }
    }

    /// When the only relay was claimed, in milliseconds.
    pub async fn claim_time(&self) -> i64 {
        let query = "select cast(julianday(claim_time) * 86400000 as integer) from relays";
        self.scene.server.database.number(query).await
    }

    /// Waits until the lease of the only relay has been renewed for more than so many seconds.
    pub async fn renewed_for(&self, seconds: u32) {
        let query = format!(
            "select count(*) from relays
             where julianday(lease_expire_time) - julianday(claim_time) > {seconds} / 86400.0"
        );
        eventually("the lease is renewed", async || {
            let renewed = self.scene.server.database.number(&query).await;
            (renewed == 1).then_some(())
        })
        .await;
    }

    /// An edge that calls the control plane directly.
    pub fn edge(&self, settings: &[(&str, &str)]) -> RelayEdge {
        self.edge_at(self.scene.server.address, settings)
    }

    /// An edge that calls the control plane there.
    pub fn edge_at(&self, control_plane: SocketAddr, settings: &[(&str, &str)]) -> RelayEdge {
        RelayEdge::start(control_plane, &self.api_key, &self.ffmpeg, settings)
    }

    /// A destination on this machine, with the key `key-of-NAME`.
    pub async fn destination(&self, name: &str) -> pb::Destination {
        let request = pb::CreateDestinationRequest {
            url: "rtmp://127.0.0.1:1/app".to_owned(),
            ..destination_of(&self.scene.project, name)
        };
        self.scene.destination_with(request).await
    }

    /// A live stream at node `n1`.
    pub async fn live(&self) -> pb::Stream {
        let request = pb::BeginPublishRequest {
            stream_key: self.scene.key.clone(),
            publisher: Some(MediaServer::connection("c1")),
            media_flowing: true,
            play_url: "rtmp://127.0.0.1:1/live/public-name".to_owned(),
        };
        let mut node = self.scene.node.client.stream.clone();
        let begun = node.begin_publish(request).await.unwrap().into_inner();
        begun.stream.unwrap()
    }

    /// A live stream to one destination, and the number of the process that an edge runs
    /// for it.
    pub async fn running(&self) -> (pb::Stream, pb::Destination, u32) {
        let destination = self.destination("a").await;
        let stream = self.live().await;
        let number = self.ffmpeg.started(1).await;
        (stream, destination, number)
    }

    /// The only relay of a stream once it is in a state.
    pub async fn eventually(&self, stream: &pb::Stream, state: pb::RelayState) -> pb::Relay {
        self.scene.eventually(stream, state).await
    }
}

use std::net::SocketAddr;

use sluice::proto::v1 as pb;

use super::{relay_edge::RelayEdge, stub_ffmpeg::StubFfmpeg};
use crate::{
    harness::{Client, MediaServer, Process, Sqlite, eventually},
    relay::fixture::{Fixture, destination_request},
};

/// A control plane with an owner, a stub for ffmpeg, and an API key for edges.
pub struct RelayFixture {
    pub control_plane: Fixture,
    pub ffmpeg: StubFfmpeg,
    pub api_key: String,
}

impl RelayFixture {
    /// With leases of 3 seconds, so that they expire during a test.
    pub async fn start() -> Self {
        Self::start_with_lease("3s").await
    }

    /// With leases of this duration.
    pub async fn start_with_lease(lease: &str) -> Self {
        let lease = format!("--relay-lease={lease}");
        let flags = [
            "--allow-private-destinations=true",
            "--heartbeat-timeout=10min",
            &lease,
        ];
        let control_plane = Fixture::start_with(Sqlite, &flags, 0).await;
        let create = ["create-api-key", "--name", "edge"];
        let scopes = ["--scope", "streams:publish", "--scope", "relays:work"];
        let arguments = [&create[..], &scopes[..]].concat();
        let output = Process::run(Process::admin(
            &control_plane.server.database,
            &arguments,
            &[],
        ))
        .await;
        assert_eq!(output.exit_code, Some(0), "{}", output.stderr);
        Self {
            control_plane,
            ffmpeg: StubFfmpeg::new(),
            api_key: output.stdout.trim().to_owned(),
        }
    }

    /// Restarts the control plane, at another address.
    pub async fn restart_control_plane(self) -> Self {
        let mut control_plane = self.control_plane;
        control_plane.server = control_plane.server.restart().await;
        let token = &control_plane.owner.tokens.access_token;
        control_plane.owner.client = Client::with_token(&control_plane.server.channel, token);
        Self {
            control_plane,
            ..self
        }
    }

    /// The claim time of the only relay, in milliseconds.
    pub async fn claim_time(&self) -> i64 {
        let query = "select cast(julianday(claim_time) * 86400000 as integer) from relays";
        self.control_plane.server.database.number(query).await
    }

    /// Waits until the lease of the only relay has been renewed for more than `seconds`.
    pub async fn wait_for_renewal(&self, seconds: u32) {
        let query = format!(
            "select count(*)
             from relays r
             join workers w on w.worker_id = r.worker_id
             where julianday(w.lease_expire_time) - julianday(r.claim_time)
                   > {seconds} / 86400.0"
        );
        eventually("the lease is renewed", async || {
            let renewed = self.control_plane.server.database.number(&query).await;
            (renewed == 1).then_some(())
        })
        .await;
    }

    /// An edge that calls the control plane directly.
    pub fn edge(&self, settings: &[(&str, &str)]) -> RelayEdge {
        self.edge_at(self.control_plane.server.address, settings)
    }

    /// An edge that calls the control plane at an address.
    pub fn edge_at(&self, control_plane: SocketAddr, settings: &[(&str, &str)]) -> RelayEdge {
        RelayEdge::start(control_plane, &self.api_key, &self.ffmpeg, settings)
    }

    /// Creates an SRT destination on this machine, with the key `key-of-NAME`. An ffmpeg sends
    /// to it.
    pub async fn destination(&self, name: &str) -> pb::Destination {
        let request = pb::CreateDestinationRequest {
            url: "srt://127.0.0.1:1".to_owned(),
            ..destination_request(&self.control_plane.project, name)
        };
        self.control_plane.create_destination(request).await
    }

    /// Begins a live stream at node `n1`.
    pub async fn begin_live_stream(&self) -> pb::Stream {
        let request = pb::BeginPublishRequest {
            stream_key: self.control_plane.key.clone(),
            publisher: Some(MediaServer::connection("c1")),
            media_flowing: true,
            play_url: "rtmp://127.0.0.1:1/live/public-name".to_owned(),
        };
        let mut node = self.control_plane.node.client.stream.clone();
        let begun = node.begin_publish(request).await.unwrap().into_inner();
        begun.stream.unwrap()
    }

    /// A live stream with one relay, and the id of the process that the edge runs for it.
    pub async fn running_relay(&self) -> (pb::Stream, pb::Destination, u32) {
        let destination = self.destination("a").await;
        let stream = self.begin_live_stream().await;
        let pid = self.ffmpeg.wait_for_start(1).await;
        (stream, destination, pid)
    }

    /// Waits until the only relay of a stream has a state.
    pub async fn wait_for_state(&self, stream: &pb::Stream, state: pb::RelayState) -> pb::Relay {
        self.control_plane.wait_for_state(stream, state).await
    }
}

use std::time::Duration;

use sluice::proto::v1 as pb;
use tokio::time::interval;
use tonic::transport::Channel;

use crate::harness::{Client, MediaServer, Process, SkewedClock, TestServer, User};

/// Seconds by which a clock is wrong.
pub const HOUR: i64 = 3600;

/// A server process with a clock of its own, on the database of a server of the test.
pub struct SkewedReplica {
    pub process: Process,
    pub clock: SkewedClock,
    pub channel: Channel,
}

impl SkewedReplica {
    /// Starts it with a clock that is this far ahead; waits until it answers calls.
    pub async fn start(server: &TestServer, seconds_ahead: i64, settings: &[(&str, &str)]) -> Self {
        let clock = SkewedClock::ahead_by(seconds_ahead);
        let process = Process::serve_with_clock(&server.database, &clock, settings);
        let channel = process.answering_channel().await;
        Self {
            process,
            clock,
            channel,
        }
    }

    /// The body of `/readyz`, if the replica is not ready.
    pub async fn not_ready(&self) -> Option<String> {
        let ready = self.process.operations("GET", "/readyz", "").await;
        (ready.status == 503).then_some(ready.body)
    }
}

/// Publishers, each of which reports to one replica.
pub struct Publishers {
    owner: User,
    streams: Vec<(MediaServer, pb::Stream)>,
}

impl Publishers {
    /// Makes one stream live at each replica, with this token of a media server.
    pub async fn begin(server: &TestServer, token: &str, replicas: &[&Channel]) -> Self {
        let owner = server.user().await;
        let mut streams = Vec::new();
        for (number, replica) in replicas.iter().enumerate() {
            let (_, key) = owner.project().await;
            let media_server = MediaServer {
                client: Client::with_token(replica, token),
            };
            let live = media_server.live(&key, &number.to_string()).await;
            streams.push((media_server, live));
        }
        Self { owner, streams }
    }

    /// Reports every 200 ms while they may continue; asserts that no stream changes.
    pub async fn report_for(&self, duration: Duration) {
        let mut ticks = interval(Duration::from_millis(200));
        for _ in 0..duration.as_millis() / 200 {
            ticks.tick().await;
            for (number, (media_server, stream)) in self.streams.iter().enumerate() {
                let answer = media_server.heartbeat(stream, &number.to_string()).await;
                assert_eq!(answer.action(), pb::PublishAction::Continue, "{number}");
                let status = self.owner.stream(&stream.id).await.status();
                assert_eq!(status, pb::StreamStatus::Live, "{number}");
            }
        }
    }
}

use std::time::Duration;

use sluice::proto::v1 as pb;
use tokio::{process::Command, time::interval};
use tonic::transport::Channel;

use crate::{
    harness::{
        Client, MediaServer, Process, SkewedClock, TestDatabase, TestServer, User, eventually,
    },
    operations::scrape::Scrape,
};

/// Seconds by which a clock is wrong.
pub const HOUR: i64 = 3600;

/// The body of `/readyz` of a replica whose clock is wrong.
const SKEWED: &str =
    "the clock of this machine differs by more than 2 seconds from the database's\n";

/// A server process with a clock of its own.
pub struct SkewedReplica {
    pub process: Process,
    pub clock: SkewedClock,
    pub channel: Channel,
}

impl SkewedReplica {
    /// Starts it with a clock that is this far ahead; waits until it answers calls.
    pub async fn start(
        database: &TestDatabase,
        seconds_ahead: i64,
        settings: &[(&str, &str)],
    ) -> Self {
        let command = Process::command(&["serve"], &[]);
        Self::start_by(command, database, seconds_ahead, settings).await
    }

    /// The same, with a server that this command starts.
    pub async fn start_by(
        mut command: Command,
        database: &TestDatabase,
        seconds_ahead: i64,
        settings: &[(&str, &str)],
    ) -> Self {
        let clock = SkewedClock::ahead_by(seconds_ahead);
        clock.apply_to(&mut command);
        let process = Process::spawn(command, database, settings);
        let channel = process.answering_channel().await;
        Self {
            process,
            clock,
            channel,
        }
    }

    /// Waits until it is not ready because its clock differs from the database's.
    pub async fn wait_until_skewed(&self) {
        // Before that it is not ready because it starts.
        eventually("it says that its clock is wrong", async || {
            let body = self.not_ready().await?;
            (body == SKEWED).then_some(())
        })
        .await;
    }

    /// How often a job has run.
    pub async fn runs(&self, job: &str) -> f64 {
        let scrape = Scrape::of(&self.process).await;
        let label = format!("name=\"{job}\"");
        scrape.value("sluice_job_runs_total", &[&label]).unwrap()
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
                let status = self.owner.stream(&stream.id).await.state();
                assert_eq!(status, pb::StreamState::Live, "{number}");
            }
        }
    }
}

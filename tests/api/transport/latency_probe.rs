use std::time::{Duration, Instant};

use sluice::proto::v1 as pb;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::harness::Client;

/// Measures the latency of calls, alone and while others load the server.
pub struct LatencyProbe {
    client: Client,
    baseline: Duration,
}

/// Below this, other processes on the machine may be what slows a call.
const NOISE: Duration = Duration::from_millis(100);

impl LatencyProbe {
    /// Measures the baseline over a channel, without other load.
    pub async fn start(channel: &Channel) -> Self {
        let client = Client::anonymous(channel);
        let mut latencies = Vec::new();
        for _ in 0..200 {
            latencies.push(call(&client).await);
        }
        Self {
            client,
            baseline: p99(latencies),
        }
    }

    /// Measures the latency while `load` runs; asserts that its 99th percentile is at most
    /// twice the baseline.
    pub async fn during<T>(&self, load: impl Future<Output = T>) -> T {
        let stop = CancellationToken::new();
        let (client, stopped) = (self.client.clone(), stop.clone());
        let calling: JoinHandle<Vec<Duration>> = tokio::spawn(async move {
            let mut latencies = Vec::new();
            while !stopped.is_cancelled() || latencies.len() < 300 {
                latencies.push(call(&client).await);
            }
            latencies
        });
        let outcome = load.await;
        stop.cancel();
        let latencies = calling.await.unwrap();
        let (calls, busy) = (latencies.len(), p99(latencies));
        eprintln!(
            "p99 {:?} alone, {busy:?} of {calls} calls under load",
            self.baseline
        );
        assert!(
            busy < 2 * self.baseline.max(NOISE),
            "{busy:?} {:?}",
            self.baseline
        );
        outcome
    }
}

async fn call(client: &Client) -> Duration {
    let begun = Instant::now();
    let answer = client.auth.clone().get_jwks(pb::GetJwksRequest {}).await;
    answer.unwrap();
    begun.elapsed()
}

fn p99(mut latencies: Vec<Duration>) -> Duration {
    latencies.sort_unstable();
    latencies[latencies.len() * 99 / 100]
}

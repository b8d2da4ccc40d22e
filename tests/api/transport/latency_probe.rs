use std::time::{Duration, Instant};

use sluice::proto::v1 as pb;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::harness::Client;

/// Somebody whose calls go on, whatever others do.
pub struct Bystander {
    client: Client,
    quiet: Duration,
}

/// Below this nobody could say what made a call slow, on a machine that does much else.
const FLOOR: Duration = Duration::from_millis(100);

impl Bystander {
    /// Calls over a connection, first in peace.
    pub async fn of(channel: &Channel) -> Self {
        let client = Client::anonymous(channel);
        let mut waits = Vec::new();
        for _ in 0..200 {
            waits.push(wait(&client).await);
        }
        Self {
            client,
            quiet: p99(waits),
        }
    }

    /// Calls as long as others do what they do; those calls are as quick as before, but
    /// for a factor of two.
    pub async fn during<T>(&self, others: impl Future<Output = T>) -> T {
        let stop = CancellationToken::new();
        let (client, stopped) = (self.client.clone(), stop.clone());
        let calling: JoinHandle<Vec<Duration>> = tokio::spawn(async move {
            let mut waits = Vec::new();
            while !stopped.is_cancelled() || waits.len() < 300 {
                waits.push(wait(&client).await);
            }
            waits
        });
        let done = others.await;
        stop.cancel();
        let waits = calling.await.unwrap();
        let (calls, busy) = (waits.len(), p99(waits));
        eprintln!(
            "p99 {:?} in peace, {busy:?} of {calls} calls meanwhile",
            self.quiet
        );
        assert!(
            busy < 2 * self.quiet.max(FLOOR),
            "{busy:?} {:?}",
            self.quiet
        );
        done
    }
}

async fn wait(client: &Client) -> Duration {
    let begun = Instant::now();
    let answer = client.auth.clone().get_jwks(pb::GetJwksRequest {}).await;
    answer.unwrap();
    begun.elapsed()
}

fn p99(mut waits: Vec<Duration>) -> Duration {
    waits.sort_unstable();
    waits[waits.len() * 99 / 100]
}

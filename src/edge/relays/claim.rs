use std::{ops::ControlFlow, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, mpsc},
    time::timeout,
};
use tonic::{Code, Status, Streaming};

use crate::{
    edge::ControlPlane,
    proto::v1::{ClaimRelaysRequest, ClaimRelaysResponse},
    random::random_fraction,
};

/// How long the control plane may be silent: signs of life come every 10 seconds.
const SILENCE: Duration = Duration::from_secs(30);

const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// A claim of relays that is opened again however it ends.
#[derive(Debug)]
pub(super) struct Claiming {
    /// The control plane.
    pub(super) control: ControlPlane,
    /// What is asked for.
    pub(super) request: ClaimRelaysRequest,
    /// Where what comes is passed on.
    pub(super) told: mpsc::Sender<ClaimRelaysResponse>,
    /// Says that the control plane is there again: that there is no need to wait.
    pub(super) is_back: Arc<Notify>,
}

impl Claiming {
    /// Claims until this is dropped, or nobody listens.
    pub(super) async fn run(self) {
        let mut failures = 0;
        loop {
            let mut has_spoken = false;
            let ended = self.listen(&mut has_spoken).await;
            let status = match ended {
                ControlFlow::Break(()) => return,
                ControlFlow::Continue(status) => status,
            };
            if has_spoken {
                failures = 0;
            }
            if has_spoken && status.code() == Code::Unauthenticated {
                // The token was good once and has expired.
                continue;
            }
            let wait = wait(failures, random_fraction());
            failures += 1;
            tracing::warn!(
                code = ?status.code(),
                reason = status.message(),
                wait_seconds = wait.as_secs_f64(),
                "cannot claim relays, trying again"
            );
            let _ = timeout(wait, self.is_back.notified()).await;
        }
    }

    /// Passes on what comes, until that ends or nobody listens.
    async fn listen(&self, has_spoken: &mut bool) -> ControlFlow<(), Status> {
        let mut answer = match timeout(SILENCE, self.open()).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(status)) => return ControlFlow::Continue(status),
            Err(_) => return ControlFlow::Continue(silent()),
        };
        loop {
            let message = match timeout(SILENCE, answer.message()).await {
                Ok(Ok(Some(message))) => message,
                Ok(Ok(None)) => {
                    return ControlFlow::Continue(Status::unavailable("the claim has ended"));
                }
                Ok(Err(status)) => return ControlFlow::Continue(status),
                Err(_) => return ControlFlow::Continue(silent()),
            };
            *has_spoken = true;
            if self.told.send(message).await.is_err() {
                return ControlFlow::Break(());
            }
        }
    }

    async fn open(&self) -> Result<Streaming<ClaimRelaysResponse>, Status> {
        self.control
            .call(
                None,
                self.request.clone(),
                |mut client, request| async move { client.claim_relays(request).await },
            )
            .await
    }
}

fn silent() -> Status {
    Status::unavailable("the control plane is silent")
}

/// How long to wait after so many failures in a row before this one: half a second, then
/// twice as long each time, up to 10 s; of that at least half, by a chance from 0 to 1.
fn wait(failures: u32, chance: f64) -> Duration {
    let wait = FIRST_WAIT
        .saturating_mul(2_u32.saturating_pow(failures))
        .min(LONGEST_WAIT);
    wait.mul_f64(0.5 + chance / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_waits_double_up_to_ten_seconds() {
        let waits = [0, 1, 4, 5, 60, u32::MAX].map(|failures| wait(failures, 1.0).as_millis());
        assert_eq!(waits, [500, 1000, 8000, 10_000, 10_000, 10_000]);
        assert_eq!(wait(0, 0.0).as_millis(), 250);
    }
}

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, mpsc},
    time::timeout,
};
use tonic::{Code, Status, Streaming};

use crate::{
    backoff::Backoff,
    edge::control::ControlPlane,
    proto::v1::{ClaimRelaysRequest, ClaimRelaysResponse},
};

/// The longest silence of the control plane: it sends a message at least every 10 seconds.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);

/// The delays between claims that fail.
const RETRY_BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));

/// The ClaimRelays stream of a worker, which is opened again whenever it ends.
#[derive(Debug)]
pub(super) struct RelayClaim {
    /// The control plane.
    pub(super) control: ControlPlane,
    /// The request.
    pub(super) request: ClaimRelaysRequest,
    /// The receiver of all messages.
    pub(super) messages: mpsc::Sender<ClaimRelaysResponse>,
    /// Notified when the control plane is reachable again, which ends a delay.
    pub(super) is_back: Arc<Notify>,
}

impl RelayClaim {
    /// Claims until this is dropped or the receiver is gone.
    pub(super) async fn run(self) {
        let mut failures = 0;
        loop {
            let mut has_received = false;
            let status = match self.forward(&mut has_received).await {
                ControlFlow::Break(()) => return,
                ControlFlow::Continue(status) => status,
            };
            if has_received {
                failures = 0;
            }
            if has_received && status.code() == Code::Unauthenticated {
                // The token was valid and has expired.
                continue;
            }
            failures += 1;
            let delay = RETRY_BACKOFF.delay(failures);
            tracing::warn!(
                code = ?status.code(),
                reason = status.message(),
                wait_seconds = delay.as_secs_f64(),
                "cannot claim relays, trying again"
            );
            let _ = timeout(delay, self.is_back.notified()).await;
        }
    }

    /// Forwards messages until the stream ends or the receiver is gone.
    async fn forward(&self, has_received: &mut bool) -> ControlFlow<(), Status> {
        let mut stream = match timeout(SILENCE_TIMEOUT, self.open()).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(status)) => return ControlFlow::Continue(status),
            Err(_) => return ControlFlow::Continue(silent()),
        };
        loop {
            let message = match timeout(SILENCE_TIMEOUT, stream.message()).await {
                Ok(Ok(Some(message))) => message,
                Ok(Ok(None)) => {
                    return ControlFlow::Continue(Status::unavailable("the claim has ended"));
                }
                Ok(Err(status)) => return ControlFlow::Continue(status),
                Err(_) => return ControlFlow::Continue(silent()),
            };
            *has_received = true;
            if self.messages.send(message).await.is_err() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_ten_seconds() {
        let delays = [1, 2, 5, 6, 61, u32::MAX].map(|failures| RETRY_BACKOFF.ceiling(failures));
        let millis = delays.map(|delay| delay.as_millis());
        assert_eq!(millis, [500, 1000, 8000, 10_000, 10_000, 10_000]);
    }
}

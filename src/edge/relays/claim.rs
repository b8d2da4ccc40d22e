use std::{path::Path, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, mpsc},
    time::timeout,
};
use tonic::{Code, Status};
use uuid::Uuid;

use crate::{
    backoff::Backoff,
    edge::{control_plane::ControlPlane, state_file::StateFile},
    proto::v1::{
        ClaimRelaysRequest, ClaimRelaysResponse, stream_service_client::StreamServiceClient,
    },
};

/// The longest silence of the control plane: it sends a message at least every 10 seconds.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);

const RETRY_BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));

/// Stores the id of this run of the worker. Returns that of the run before, of the same node;
/// empty if there is none. The control plane ends the leases of that one, which was perhaps
/// killed, so that its relays do not wait for their expiry.
pub(super) fn replace_worker_id(state_dir: &Path, node_id: &str, worker_id: &str) -> String {
    let replace = || {
        let file = StateFile::open(state_dir, "worker")?;
        let previous = file.read()?;
        file.write(&format!("{node_id}\n{worker_id}"))?;
        anyhow::Ok(match previous.split_once('\n') {
            Some((node, id)) if node == node_id && Uuid::parse_str(id).is_ok() => id.to_owned(),
            _ => String::new(),
        })
    };
    replace().unwrap_or_else(|error| {
        let error = format!("{error:#}");
        tracing::warn!(error, "cannot store the id of this worker");
        String::new()
    })
}

/// Claims relays, again whenever the stream ends, until this is dropped or the receiver of
/// the messages is gone. `is_back` is notified when the control plane is reachable again,
/// which ends a delay.
pub(super) async fn claim_relays(
    control: ControlPlane,
    request: ClaimRelaysRequest,
    messages: mpsc::Sender<ClaimRelaysResponse>,
    is_back: Arc<Notify>,
) {
    let mut failures = 0;
    loop {
        let mut has_received = false;
        let claimed = forward(&control, request.clone(), &messages, &mut has_received).await;
        let Err(status) = claimed else {
            return;
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
        let (code, reason) = (status.code(), status.message());
        let wait_seconds = delay.as_secs_f64();
        // Each failure of an outage is one of a series: the first is enough.
        match failures {
            1 => tracing::warn!(
                ?code,
                reason,
                wait_seconds,
                "cannot claim relays, trying again"
            ),
            _ => tracing::debug!(?code, reason, wait_seconds, "cannot claim relays"),
        }
        let _ = timeout(delay, is_back.notified()).await;
    }
}

/// Forwards the messages of one stream until the receiver is gone; an error if the stream
/// ends before.
async fn forward(
    control: &ControlPlane,
    request: ClaimRelaysRequest,
    messages: &mpsc::Sender<ClaimRelaysResponse>,
    has_received: &mut bool,
) -> Result<(), Status> {
    let claim = StreamServiceClient::claim_relays;
    let mut stream = unless_silent(control.call(None, request, claim)).await?;
    loop {
        let message = unless_silent(stream.message()).await?;
        let message = message.ok_or_else(|| Status::unavailable("the claim has ended"))?;
        *has_received = true;
        if messages.send(message).await.is_err() {
            return Ok(());
        }
    }
}

async fn unless_silent<T>(answer: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let silent = |_| Err(Status::unavailable("the control plane is silent"));
    let answer = timeout(SILENCE_TIMEOUT, answer).await;
    answer.unwrap_or_else(silent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_previous_run_is_one_of_the_same_node() {
        let folder = tempfile::tempdir().unwrap();
        let ids = [(); 4].map(|()| Uuid::now_v7().to_string());
        let replace = |node_id, id| replace_worker_id(folder.path(), node_id, id);
        assert_eq!(replace("n1", &ids[0]), "");
        assert_eq!(replace("n1", &ids[1]), ids[0]);
        assert_eq!(replace("n2", &ids[2]), "");

        std::fs::write(folder.path().join("worker"), "n2\nno id").unwrap();
        assert_eq!(replace("n2", &ids[3]), "");
    }

    #[test]
    fn delays_double_up_to_ten_seconds() {
        let delays = [1, 2, 5, 6, 61, u32::MAX].map(|failures| RETRY_BACKOFF.ceiling(failures));
        let millis = delays.map(|delay| delay.as_millis());
        assert_eq!(millis, [500, 1000, 8000, 10_000, 10_000, 10_000]);
    }
}

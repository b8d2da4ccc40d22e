use std::time::Duration;

use tokio::time::sleep;

use super::{error_class::Verdict, publishers::Publishing, registry::Ended};
use crate::{
    proto::v1::{EndPublishRequest, stream_service_client::StreamServiceClient},
    random::random_fraction,
};

/// How long a call may take.
const CALL: Duration = Duration::from_secs(5);

/// The longest wait between tries.
const PAUSE: Duration = Duration::from_secs(5);

impl Publishing {
    /// Tells the control plane of publishes that have ended, until it has heard it.
    pub(super) fn tell_ends(&self, ended: impl IntoIterator<Item = Ended>) {
        for ended in ended {
            let publishing = self.clone();
            publishing.inner.ending.send_modify(|number| *number += 1);
            tokio::spawn(async move {
                publishing.tell_end(&ended).await;
                publishing.inner.ending.send_modify(|number| *number -= 1);
            });
        }
    }

    async fn tell_end(&self, ended: &Ended) {
        for attempt in 0.. {
            if self.registry().is_moot(ended) || self.end_publish(ended).await {
                return;
            }
            sleep(pause(attempt)).await;
        }
    }

    /// Whether the control plane has heard it: also one that knows nothing of it.
    async fn end_publish(&self, ended: &Ended) -> bool {
        let request = EndPublishRequest {
            stream_id: ended.grant.stream_id.clone(),
            epoch: ended.grant.epoch,
            publisher: Some(self.publisher(&ended.grant.boot_id, &ended.id)),
        };
        let end = |mut client: StreamServiceClient<_>, request| async move {
            client.end_publish(request).await
        };
        match self.inner.control.call(Some(CALL), request, end).await {
            Ok(_) => true,
            Err(status) => matches!(Verdict::of(&status), Verdict::No(_)),
        }
    }
}

/// How long to wait after so many failures: with every one longer, up to 5 seconds, and
/// not as long as others.
pub(super) fn pause(failures: u32) -> Duration {
    let pause = Duration::from_millis(250) * 2_u32.pow(failures.min(5));
    pause.min(PAUSE).mul_f64(0.5 + random_fraction() / 2.0)
}

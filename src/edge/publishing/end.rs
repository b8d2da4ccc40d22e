use tokio::time::sleep;

use super::{
    error_class::ErrorClass,
    publishers::{Publishers, RETRY_BACKOFF},
    registry::EndedPublish,
};
use crate::{
    edge::control::CALL_TIMEOUT,
    proto::v1::{EndPublishRequest, stream_service_client::StreamServiceClient},
};

impl Publishers {
    /// Tells the control plane in the background of publishes that have ended, until it
    /// answers.
    pub(super) fn send_ends(&self, ended: impl IntoIterator<Item = EndedPublish>) {
        for ended in ended {
            let publishers = self.clone();
            let pending_ends = &self.inner.pending_ends;
            pending_ends.send_modify(|count| *count += 1);
            tokio::spawn(async move {
                publishers.send_end(&ended).await;
                let pending_ends = &publishers.inner.pending_ends;
                pending_ends.send_modify(|count| *count -= 1);
            });
        }
    }

    async fn send_end(&self, ended: &EndedPublish) {
        for failures in 1.. {
            if self.registry().is_end_obsolete(ended) || self.end_publish(ended).await {
                return;
            }
            sleep(RETRY_BACKOFF.delay(failures)).await;
        }
    }

    /// Whether the control plane has decided; a refusal means that there is no such publish.
    async fn end_publish(&self, ended: &EndedPublish) -> bool {
        let request = EndPublishRequest {
            stream_id: ended.publish.stream_id.clone(),
            epoch: ended.publish.epoch,
            publisher: Some(self.publisher(&ended.publish.boot_id, &ended.id)),
        };
        let end = |mut client: StreamServiceClient<_>, request| async move {
            client.end_publish(request).await
        };
        let control = &self.inner.control;
        match control.call(Some(CALL_TIMEOUT), request, end).await {
            Ok(_) => true,
            Err(status) => matches!(ErrorClass::of(&status), ErrorClass::Refused(_)),
        }
    }
}

use std::time::Instant;

use super::publishers::Publishers;
use crate::{
    edge::{control::CALL_TIMEOUT, publisher::ConnectionId},
    proto::v1::{
        HeartbeatPublishRequest, PublishAction, stream_service_client::StreamServiceClient,
    },
};

impl Publishers {
    /// Sends the state of one connection to the control plane in the background, ahead of
    /// the next report. At most one heartbeat of a connection is queued.
    pub(super) fn send_heartbeat(&self, id: &ConnectionId) {
        if !self.registry().queue_heartbeat(id) {
            return;
        }
        let (publishers, id) = (self.clone(), id.clone());
        tokio::spawn(async move {
            if let Ok(_permit) = publishers.inner.heartbeat_permits.acquire().await {
                publishers.heartbeat_publish(&id).await;
            }
            publishers.registry().heartbeat_done(&id);
        });
    }

    async fn heartbeat_publish(&self, id: &ConnectionId) {
        let Some(publish) = self.registry().accepted_publish(id) else {
            return;
        };
        let request = HeartbeatPublishRequest {
            publisher: Some(self.publisher(&publish.boot_id, id)),
            stream_id: publish.stream_id,
            epoch: publish.epoch,
            stats: self.registry().recent_stats(id, Instant::now()),
        };
        let heartbeat = |mut client: StreamServiceClient<_>, request| async move {
            client.heartbeat_publish(request).await
        };
        let control = &self.inner.control;
        let Ok(answer) = control.call(Some(CALL_TIMEOUT), request, heartbeat).await else {
            return;
        };
        self.control_plane_answered();
        if answer.action() == PublishAction::Stop {
            self.registry().kick(id, answer.stop_reason());
            self.inner.disconnect_now.notify_one();
        }
    }
}

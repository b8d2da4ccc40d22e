use tonic::{Request, Response};

use super::{
    messages::{BeginPublish, action_and_reason, read_end_publish, read_heartbeat_publish},
    service::StreamService,
    sync_messages::sync_response,
};
use crate::{
    auth::Caller,
    domain::{NodeReport, now},
    error::Result,
    proto::v1 as pb,
    repositories::PublishAttempt,
    services::fields::duration,
};

/// The RPCs for media servers.
impl StreamService {
    pub(super) async fn begin_publish(
        &self,
        request: Request<pb::BeginPublishRequest>,
    ) -> Result<Response<pb::BeginPublishResponse>> {
        let caller = Caller::of(&request)?;
        let BeginPublish {
            stream_key,
            publisher,
            media_flowing,
            play_url,
        } = request.into_inner().try_into()?;
        caller.require_node(&publisher.node_id)?;

        let play_url = play_url.map(|url| url.seal(&self.sealer));
        let stream = self
            .publishing
            .begin(
                PublishAttempt {
                    key_hash: &stream_key.hash(),
                    publisher: &publisher,
                    media_flowing,
                    play_url: play_url.as_ref(),
                    already_connected: false,
                },
                &now,
            )
            .await?;

        Ok(Response::new(pb::BeginPublishResponse {
            stream: Some(stream.into()),
            heartbeat_interval: Some(duration(self.intervals.heartbeat)),
        }))
    }

    pub(super) async fn heartbeat_publish(
        &self,
        request: Request<pb::HeartbeatPublishRequest>,
    ) -> Result<Response<pb::HeartbeatPublishResponse>> {
        let caller = Caller::of(&request)?;
        let ((id, epoch, publisher), stats) = read_heartbeat_publish(request.into_inner())?;
        caller.require_node(&publisher.node_id)?;

        let (stream, action) = self
            .publishing
            .bound_to(caller.bound_node())
            .heartbeat(id, epoch, &publisher, stats.as_ref(), now())
            .await?;

        let (action, stop_reason) = action_and_reason(action);
        Ok(Response::new(pb::HeartbeatPublishResponse {
            stream: Some(stream.into()),
            action: action.into(),
            stop_reason: stop_reason.into(),
        }))
    }

    pub(super) async fn end_publish(
        &self,
        request: Request<pb::EndPublishRequest>,
    ) -> Result<Response<pb::EndPublishResponse>> {
        let caller = Caller::of(&request)?;
        let (id, epoch, publisher) = read_end_publish(request.into_inner())?;
        caller.require_node(&publisher.node_id)?;

        let publishing = self.publishing.bound_to(caller.bound_node());
        let stream = publishing.end(id, epoch, &publisher, now()).await?;

        let stream = Some(stream.into());
        Ok(Response::new(pb::EndPublishResponse { stream }))
    }

    pub(super) async fn sync_node(
        &self,
        request: Request<pb::SyncNodeRequest>,
    ) -> Result<Response<pb::SyncNodeResponse>> {
        let caller = Caller::of(&request)?;
        let report: NodeReport = request.into_inner().try_into()?;
        caller.require_node(&report.node_id)?;

        let reconciler = self.node_reconciler.bound_to(caller.bound_node());
        let outcome = reconciler.sync(&report, &now).await?;

        Ok(Response::new(sync_response(
            outcome,
            self.intervals.heartbeat,
        )))
    }
}

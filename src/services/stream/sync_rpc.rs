use std::time::Duration;

use tonic::{Request, Response};

use super::{node_sync::NodeSync, sync_messages::answer};
use crate::{
    auth::Caller,
    domain::{NodeReport, now},
    error::Result,
    proto::v1 as pb,
};

/// The RPC with which a media server reports all of its connections.
#[derive(Debug)]
pub(super) struct SyncRpc {
    pub nodes: NodeSync,
    pub heartbeat_interval: Duration,
}

impl SyncRpc {
    pub async fn sync_node(
        &self,
        request: Request<pb::SyncNodeRequest>,
    ) -> Result<Response<pb::SyncNodeResponse>> {
        Caller::of(&request)?;
        let report: NodeReport = request.into_inner().try_into()?;

        let outcome = self.nodes.sync(&report, &now).await?;

        Ok(Response::new(answer(outcome, self.heartbeat_interval)))
    }
}

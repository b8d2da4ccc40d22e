use tonic::{Request, Response};

use super::{
    messages::read_node_id,
    service::{OperatorService, operator_audit},
};
use crate::{domain::now, error::Result, proto::v1 as pb};

/// The RPCs that move relays between workers.
impl OperatorService {
    pub(super) async fn drain_node(
        &self,
        request: Request<pb::DrainNodeRequest>,
    ) -> Result<Response<pb::DrainNodeResponse>> {
        let audit = operator_audit(&request, "DrainNode")?;
        let node_id = read_node_id(&request.get_ref().node_id)?;

        self.nodes.drain(&node_id, &audit, now()).await?;
        let node = self.nodes.get(&node_id).await?;

        let node = Some(node.into());
        Ok(Response::new(pb::DrainNodeResponse { node }))
    }

    pub(super) async fn resume_node(
        &self,
        request: Request<pb::ResumeNodeRequest>,
    ) -> Result<Response<pb::ResumeNodeResponse>> {
        let audit = operator_audit(&request, "ResumeNode")?;
        let node_id = read_node_id(&request.get_ref().node_id)?;

        self.nodes.resume(&node_id, &audit, now()).await?;
        let node = self.nodes.get(&node_id).await?;

        let node = Some(node.into());
        Ok(Response::new(pb::ResumeNodeResponse { node }))
    }
}

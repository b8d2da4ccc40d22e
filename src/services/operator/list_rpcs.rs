use tonic::{Request, Response};

use super::{
    messages::{
        read_list_audit_events, read_list_live_streams, read_list_nodes, read_list_workers,
    },
    service::OperatorService,
};
use crate::{auth::Caller, domain::now, error::Result, proto::v1 as pb};

/// The RPCs that list what all tenants use, and the audit events.
impl OperatorService {
    pub(super) async fn list_nodes(
        &self,
        request: Request<pb::ListNodesRequest>,
    ) -> Result<Response<pb::ListNodesResponse>> {
        let caller = Caller::of(&request)?.operator_key()?;
        let (reported_after, list) =
            read_list_nodes(request.into_inner(), caller, &self.page_tokens)?;

        let nodes = self.nodes.list(reported_after, list.page).await?;

        let (nodes, next_page_token) = self.page_tokens.page(&list, nodes, |node| node.id);
        Ok(Response::new(pb::ListNodesResponse {
            nodes,
            next_page_token,
        }))
    }

    pub(super) async fn list_workers(
        &self,
        request: Request<pb::ListWorkersRequest>,
    ) -> Result<Response<pb::ListWorkersResponse>> {
        let caller = Caller::of(&request)?.operator_key()?;
        let (node_id, list) = read_list_workers(request.into_inner(), caller, &self.page_tokens)?;

        let workers = self
            .workers
            .list(node_id.as_ref(), list.page, now())
            .await?;

        let (workers, next_page_token) = self.page_tokens.page(&list, workers, |row| row.id);
        Ok(Response::new(pb::ListWorkersResponse {
            workers,
            next_page_token,
        }))
    }

    pub(super) async fn list_live_streams(
        &self,
        request: Request<pb::ListLiveStreamsRequest>,
    ) -> Result<Response<pb::ListLiveStreamsResponse>> {
        let caller = Caller::of(&request)?.operator_key()?;
        let (owner, node_id, list) =
            read_list_live_streams(request.into_inner(), caller, &self.page_tokens)?;

        let streams = self
            .live_streams
            .list(owner, node_id.as_ref(), list.page)
            .await?;

        let (live_streams, next_page_token) = self
            .page_tokens
            .page(&list, streams, |live| live.stream.id.uuid());
        Ok(Response::new(pb::ListLiveStreamsResponse {
            live_streams,
            next_page_token,
        }))
    }

    pub(super) async fn list_audit_events(
        &self,
        request: Request<pb::OperatorServiceListAuditEventsRequest>,
    ) -> Result<Response<pb::OperatorServiceListAuditEventsResponse>> {
        let caller = Caller::of(&request)?.operator_key()?;
        let (filter, list) =
            read_list_audit_events(request.into_inner(), caller, &self.page_tokens)?;

        let events = self.audit_log.list_all(&filter, list.page).await?;

        let (audit_events, next_page_token) = self
            .page_tokens
            .page(&list, events, |entry| entry.event.id.uuid());
        Ok(Response::new(pb::OperatorServiceListAuditEventsResponse {
            audit_events,
            next_page_token,
        }))
    }
}

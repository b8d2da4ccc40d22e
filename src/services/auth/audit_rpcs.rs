use tonic::{Request, Response};

use crate::{
    auth::Caller, error::Result, proto::v1 as pb, repositories::AuditLog,
    services::paging::PageTokens,
};

/// The RPC for the audit log.
#[derive(Debug)]
pub(super) struct AuditRpcs {
    pub audit_log: AuditLog,
    pub page_tokens: PageTokens,
}

impl AuditRpcs {
    pub async fn list_audit_events(
        &self,
        request: Request<pb::ListAuditEventsRequest>,
    ) -> Result<Response<pb::ListAuditEventsResponse>> {
        let (user, _) = Caller::of(&request)?.session()?;
        let pb::ListAuditEventsRequest {
            page_size,
            page_token,
        } = request.into_inner();
        let list = format!("audit_events/{user}");
        let list = self.page_tokens.read_single(list, page_size, &page_token)?;

        let mut events = self.audit_log.list(user, list.page).await?;

        let next_page_token = self
            .page_tokens
            .truncate(&list, &mut events, |event| event.id.uuid());
        let events = events.into_iter().map(pb::AuditEvent::from).collect();
        Ok(Response::new(pb::ListAuditEventsResponse {
            events,
            next_page_token,
        }))
    }
}

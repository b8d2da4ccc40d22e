use super::{
    error::ClientError,
    names::project_id,
    output::Table,
    pages::Limit,
    session::Session,
    text::{label, or_dash, time},
};
use crate::proto::v1 as pb;

/// Prints why publishers of a project were refused, newest first.
pub(super) async fn print(
    session: &Session,
    project: &str,
    limit: &Limit,
) -> Result<(), ClientError> {
    let project_id = project_id(session, project).await?;
    let refusals = limit.list(async |page_size, page_token| {
        let page = page(session, project_id.clone(), page_size, page_token).await?;
        Ok((page.refusals, page.next_page_token))
    });
    let answer = pb::ListRefusalsResponse {
        refusals: refusals.await?,
        next_page_token: String::new(),
    };
    session.output().print(&answer, |answer| {
        let rows = answer.refusals.iter().map(|refusal| {
            [
                time(refusal.create_time),
                reason(refusal),
                or_dash(&refusal.node_id),
                or_dash(&refusal.peer_prefix),
            ]
        });
        Table::new(["TIME", "REASON", "NODE", "PUBLISHER"], rows)
    })
}

/// Reads a page of the refusals of a project, newest first.
pub(super) async fn page(
    session: &Session,
    project_id: String,
    page_size: i32,
    page_token: String,
) -> Result<pb::ListRefusalsResponse, ClientError> {
    let request = pb::ListRefusalsRequest {
        project_id,
        page_size,
        page_token,
        ..Default::default()
    };
    let page = session.call(request, async |mut api, request| {
        api.stream.list_refusals(request).await
    });
    page.await
}

/// Why a publisher was refused.
pub(super) fn reason(refusal: &pb::Refusal) -> String {
    label(refusal.reason().as_str_name(), "ERROR_REASON_")
}

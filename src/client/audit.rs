use super::{
    error::ClientError,
    output::Table,
    pages::Limit,
    session::Session,
    text::{or_dash, time},
};
use crate::proto::v1 as pb;

/// Prints the audit log of the signed-in user, or of the chosen organization, newest first.
pub(super) async fn print(session: &Session, limit: &Limit) -> Result<(), ClientError> {
    match &*session.organization() {
        "" => print_own(session, limit).await,
        id => print_of_organization(session, id, limit).await,
    }
}

async fn print_of_organization(
    session: &Session,
    id: &str,
    limit: &Limit,
) -> Result<(), ClientError> {
    let events = limit.list(async |page_size, page_token| {
        let request = pb::ListOrganizationAuditEventsRequest {
            organization_id: id.to_owned(),
            page_size,
            page_token,
            ..Default::default()
        };
        let page = session.call(request, async |mut api, request| {
            api.organization
                .list_organization_audit_events(request)
                .await
        });
        let page = page.await?;
        Ok((page.audit_events, page.next_page_token))
    });
    let answer = pb::ListOrganizationAuditEventsResponse {
        audit_events: events.await?,
        next_page_token: String::new(),
    };
    session.output().print(&answer, |answer| {
        let rows = answer.audit_events.iter().map(|entry| {
            let event = entry.event.clone().unwrap_or_default();
            [
                time(event.create_time),
                event.action.clone(),
                entry.user_id.clone(),
                or_dash(&event.resource_id),
                caller(&event),
                or_dash(&event.peer_address),
            ]
        });
        let header = ["TIME", "ACTION", "USER", "RESOURCE", "CALLER", "ADDRESS"];
        Table::new(header, rows)
    })
}

async fn print_own(session: &Session, limit: &Limit) -> Result<(), ClientError> {
    let events = limit.list(async |page_size, page_token| {
        let request = pb::ListAuditEventsRequest {
            page_size,
            page_token,
            ..Default::default()
        };
        let page = session.call(request, async |mut api, request| {
            api.auth.list_audit_events(request).await
        });
        let page = page.await?;
        Ok((page.audit_events, page.next_page_token))
    });
    let answer = pb::ListAuditEventsResponse {
        audit_events: events.await?,
        next_page_token: String::new(),
    };
    session.output().print(&answer, |answer| {
        let rows = answer.audit_events.iter().map(|event| {
            [
                time(event.create_time),
                event.action.clone(),
                event.result.clone(),
                or_dash(&event.resource_id),
                caller(event),
                or_dash(&event.peer_address),
            ]
        });
        let header = ["TIME", "ACTION", "RESULT", "RESOURCE", "CALLER", "ADDRESS"];
        Table::new(header, rows)
    })
}

/// The API key or session that an event came from.
fn caller(event: &pb::AuditEvent) -> String {
    match (&*event.api_key_id, &*event.session_id) {
        ("", "") => "-".to_owned(),
        ("", session) => format!("session {session}"),
        (key, _) => format!("key {key}"),
    }
}

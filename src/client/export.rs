//! `sluice export`: all data of an account, read through the API like any other client does. So it
//! has nothing that the API does not show, and no secret.

use std::time::Duration;

use prost::Name;
use tokio::time::sleep;

use super::{
    error::ClientError,
    output::{json, print_line},
    session::Session,
};
use crate::proto::v1 as pb;

/// The largest page that the API returns.
const PAGE_SIZE: i32 = 200;

/// The pause after each page: half of the rate limit of a user is left to others by default.
const PAUSE: Duration = Duration::from_millis(10);

/// Prints the entries of a list RPC, page by page; returns the values of a field of them.
macro_rules! export_list {
    ($session:expr, $kind:literal, $service:ident.$method:ident($request:expr), $rows:ident,
     |$row:ident| $id:expr) => {{
        let (mut page_token, mut ids) = (String::new(), Vec::new());
        loop {
            let mut request = $request;
            request.page_size = PAGE_SIZE;
            request.page_token = page_token;
            let page = $session.call(request, async |mut api, request| {
                api.$service.$method(request).await
            });
            let page = page.await?;
            for $row in &page.$rows {
                print_record($kind, $row)?;
                ids.push($id);
            }
            page_token = page.next_page_token;
            sleep(PAUSE).await;
            if page_token.is_empty() {
                break ids;
            }
        }
    }};
}

/// Prints all data of the signed-in user: a line of JSON for each record.
pub(super) async fn print(session: &Session) -> Result<(), ClientError> {
    let me = session.call(pb::GetMeRequest {}, async |mut api, request| {
        api.auth.get_me(request).await
    });
    let me = me.await?;
    print_record("user", &me.user.unwrap_or_default())?;
    if let Some(change) = &me.email_change {
        print_record("emailChange", change)?;
    }
    let request = pb::ListSessionsRequest::default;
    export_list!(
        session,
        "session",
        auth.list_sessions(request()),
        sessions,
        |_row| ()
    );
    let request = pb::ListApiKeysRequest::default;
    export_list!(
        session,
        "apiKey",
        auth.list_api_keys(request()),
        api_keys,
        |_row| ()
    );
    let request = pb::ListSecondFactorsRequest::default;
    export_list!(
        session,
        "secondFactor",
        auth.list_second_factors(request()),
        second_factors,
        |_row| ()
    );
    print_projects(session).await?;
    print_streams(session).await?;
    print_webhooks(session).await?;
    let request = pb::ListUsageRequest::default;
    export_list!(
        session,
        "usageRecord",
        usage.list_usage(request()),
        records,
        |_row| ()
    );
    let request = pb::ListAuditEventsRequest::default;
    export_list!(
        session,
        "auditEvent",
        auth.list_audit_events(request()),
        audit_events,
        |_row| ()
    );
    Ok(())
}

/// Prints the projects, with their destinations and refused publishers.
async fn print_projects(session: &Session) -> Result<(), ClientError> {
    let request = pb::ListProjectsRequest::default;
    let ids = export_list!(
        session,
        "project",
        project.list_projects(request()),
        projects,
        |row| row.id.clone()
    );
    for id in ids {
        let request = || pb::ListDestinationsRequest {
            project_id: id.clone(),
            ..Default::default()
        };
        export_list!(
            session,
            "destination",
            project.list_destinations(request()),
            destinations,
            |_row| ()
        );
        let request = || pb::ListRefusalsRequest {
            project_id: id.clone(),
            ..Default::default()
        };
        export_list!(
            session,
            "refusal",
            stream.list_refusals(request()),
            refusals,
            |_row| ()
        );
    }
    Ok(())
}

/// Prints the streams, with their relays.
async fn print_streams(session: &Session) -> Result<(), ClientError> {
    let request = pb::ListStreamsRequest::default;
    let ids = export_list!(
        session,
        "stream",
        stream.list_streams(request()),
        streams,
        |row| row.id.clone()
    );
    for stream_id in ids {
        let request = || pb::ListRelaysRequest {
            stream_id: stream_id.clone(),
            ..Default::default()
        };
        export_list!(
            session,
            "relay",
            stream.list_relays(request()),
            relays,
            |_row| ()
        );
    }
    Ok(())
}

/// Prints the webhooks, with their deliveries.
async fn print_webhooks(session: &Session) -> Result<(), ClientError> {
    let request = pb::ListWebhooksRequest::default;
    let ids = export_list!(
        session,
        "webhook",
        webhook.list_webhooks(request()),
        webhooks,
        |row| row.id.clone()
    );
    for webhook_id in ids {
        let request = || pb::ListWebhookDeliveriesRequest {
            webhook_id: webhook_id.clone(),
            ..Default::default()
        };
        export_list!(
            session,
            "webhookDelivery",
            webhook.list_webhook_deliveries(request()),
            deliveries,
            |_row| ()
        );
    }
    Ok(())
}

/// Prints a record with its kind.
fn print_record<M: Name>(kind: &str, record: &M) -> Result<(), ClientError> {
    print_line(&format!(
        "{{\"kind\":\"{kind}\",\"record\":{}}}",
        json(record, false)?
    ))
}

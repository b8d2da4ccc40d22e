//! The tables that commands for operators print.

use crate::{
    client::{Table, label, or_dash, time},
    proto::v1 as pb,
};

/// Operator keys.
pub(super) fn keys(keys: &[pb::OperatorKey]) -> Table {
    let header = [
        "ID",
        "NAME",
        "STATE",
        "SCOPES",
        "NODE",
        "CREATED",
        "EXPIRES",
        "LAST USED",
        "CREATOR",
    ];
    let rows = keys.iter().map(|key| {
        [
            key.id.clone(),
            key.display_name.clone(),
            label(key.state().as_str_name(), "OPERATOR_KEY_STATE_"),
            key.scopes.join(","),
            or_dash(&key.node_id),
            time(key.create_time),
            time(key.expire_time),
            time(key.last_used_time),
            or_dash(&key.creator_key_id),
        ]
    });
    Table::new(header, rows)
}

/// Accounts of users.
pub(super) fn users(users: &[pb::UserAccount]) -> Table {
    let header = [
        "ID",
        "EMAIL",
        "NAME",
        "STATE",
        "CREATED",
        "SUSPENDED",
        "PROJECTS",
        "LIVE",
    ];
    let rows = users.iter().map(|account| {
        let user = account.user.clone().unwrap_or_default();
        [
            user.id,
            user.email,
            user.display_name,
            label(account.state().as_str_name(), "USER_STATE_"),
            time(user.create_time),
            time(account.suspend_time),
            account.project_count.to_string(),
            account.live_stream_count.to_string(),
        ]
    });
    Table::new(header, rows)
}

/// Organizations.
pub(super) fn organizations(organizations: &[pb::OrganizationAccount]) -> Table {
    let header = [
        "ID",
        "NAME",
        "STATE",
        "CREATED",
        "SUSPENDED",
        "MEMBERS",
        "PROJECTS",
        "LIVE",
    ];
    let rows = organizations.iter().map(|account| {
        [
            account.id.clone(),
            account.display_name.clone(),
            label(account.state().as_str_name(), "ORGANIZATION_STATE_"),
            time(account.create_time),
            time(account.suspend_time),
            account.member_count.to_string(),
            account.project_count.to_string(),
            account.live_stream_count.to_string(),
        ]
    });
    Table::new(header, rows)
}

/// Media servers.
pub(super) fn nodes(nodes: &[pb::Node]) -> Table {
    let rows = nodes.iter().map(|node| {
        [
            node.node_id.clone(),
            or_dash(&node.boot_id),
            time(node.boot_time),
            time(node.last_report_time),
            node.live_stream_count.to_string(),
            time(node.drain_time),
        ]
    });
    let header = [
        "NODE",
        "BOOT",
        "BOOTED",
        "LAST REPORT",
        "LIVE",
        "DRAINS SINCE",
    ];
    Table::new(header, rows)
}

/// Relay workers.
pub(super) fn workers(workers: &[pb::Worker]) -> Table {
    let header = [
        "WORKER",
        "NODE",
        "RELAYS",
        "CAPACITY",
        "CREATED",
        "LAST CLAIM",
        "KEY",
    ];
    let rows = workers.iter().map(|worker| {
        [
            worker.worker_id.clone(),
            or_dash(&worker.node_id),
            worker.relay_count.to_string(),
            worker.capacity.to_string(),
            time(worker.create_time),
            time(worker.last_claim_time),
            or_dash(&worker.operator_key_id),
        ]
    });
    Table::new(header, rows)
}

/// Streams that have not ended.
pub(super) fn live_streams(streams: &[pb::LiveStream]) -> Table {
    let header = [
        "STREAM",
        "ORGANIZATION",
        "PROJECT",
        "NODE",
        "CREATED",
        "LAST SEEN",
        "RELAYS",
    ];
    let rows = streams.iter().map(|live| {
        let stream = live.stream.clone().unwrap_or_default();
        [
            stream.id,
            live.organization_id.clone(),
            live.project_display_name.clone(),
            or_dash(&stream.publisher.unwrap_or_default().node_id),
            time(stream.create_time),
            time(stream.last_seen_time),
            live.relay_count.to_string(),
        ]
    });
    Table::new(header, rows)
}

/// Audit events of all users and operator keys.
pub(super) fn audit_events(events: &[pb::OperatorAuditEvent]) -> Table {
    let header = [
        "TIME",
        "ACTION",
        "RESULT",
        "USER",
        "RESOURCE",
        "OPERATOR KEY",
        "ADDRESS",
    ];
    let rows = events.iter().map(|audited| {
        let event = audited.event.clone().unwrap_or_default();
        let key = match audited.operator_key_display_name.as_str() {
            "" => "-".to_owned(),
            name => format!("{name} ({})", event.api_key_id),
        };
        [
            time(event.create_time),
            event.action,
            event.result,
            or_dash(&audited.user_id),
            or_dash(&event.resource_id),
            key,
            or_dash(&event.peer_address),
        ]
    });
    Table::new(header, rows)
}

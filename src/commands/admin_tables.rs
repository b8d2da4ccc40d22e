//! The tables that commands for operators print.

use prost_types::Timestamp;

use crate::proto::v1 as pb;

/// A message as a row of a table.
pub(super) trait TableRow {
    /// The headings of the columns.
    const HEADINGS: &'static [&'static str];

    /// The cells, one for each heading.
    fn cells(&self) -> Vec<String>;
}

/// Prints rows in columns under their headings. An empty cell is a hyphen.
pub(super) fn print_table<R: TableRow>(rows: &[R]) {
    let headings = R::HEADINGS.iter().map(ToString::to_string).collect();
    let mut table: Vec<Vec<String>> = vec![headings];
    table.extend(rows.iter().map(TableRow::cells));
    for cell in table.iter_mut().flatten().filter(|cell| cell.is_empty()) {
        "-".clone_into(cell);
    }

    let width = |column: usize| {
        let cells = table.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..R::HEADINGS.len()).map(width).collect();
    for row in &table {
        let cells = row.iter().zip(&widths);
        let line: String = cells
            .map(|(cell, width)| format!("{cell:width$}  "))
            .collect();
        println!("{}", line.trim_end());
    }
}

fn time(time: Option<&Timestamp>) -> String {
    time.map(ToString::to_string).unwrap_or_default()
}

/// The name of an enum value without the prefix of its type.
fn state(name: &str, prefix: &str) -> String {
    name.trim_start_matches(prefix).to_owned()
}

impl TableRow for pb::OperatorKey {
    const HEADINGS: &'static [&'static str] = &[
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

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.display_name.clone(),
            state(self.state().as_str_name(), "OPERATOR_KEY_STATE_"),
            self.scopes.join(","),
            self.node_id.clone(),
            time(self.create_time.as_ref()),
            time(self.expire_time.as_ref()),
            time(self.last_used_time.as_ref()),
            self.creator_key_id.clone(),
        ]
    }
}

impl TableRow for pb::UserAccount {
    const HEADINGS: &'static [&'static str] = &[
        "ID",
        "EMAIL",
        "NAME",
        "STATE",
        "CREATED",
        "SUSPENDED",
        "PROJECTS",
        "LIVE",
    ];

    fn cells(&self) -> Vec<String> {
        let user = self.user.clone().unwrap_or_default();
        vec![
            user.id,
            user.email,
            user.display_name,
            state(self.state().as_str_name(), "USER_STATE_"),
            time(user.create_time.as_ref()),
            time(self.suspend_time.as_ref()),
            self.project_count.to_string(),
            self.live_stream_count.to_string(),
        ]
    }
}

impl TableRow for pb::Node {
    const HEADINGS: &'static [&'static str] = &["NODE", "BOOT", "BOOTED", "LAST REPORT", "LIVE"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.node_id.clone(),
            self.boot_id.clone(),
            time(self.boot_time.as_ref()),
            time(self.last_report_time.as_ref()),
            self.live_stream_count.to_string(),
        ]
    }
}

impl TableRow for pb::Worker {
    const HEADINGS: &'static [&'static str] = &[
        "WORKER",
        "NODE",
        "RELAYS",
        "CAPACITY",
        "CREATED",
        "LAST CLAIM",
        "KEY",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.worker_id.clone(),
            self.node_id.clone(),
            self.relay_count.to_string(),
            self.capacity.to_string(),
            time(self.create_time.as_ref()),
            time(self.last_claim_time.as_ref()),
            self.operator_key_id.clone(),
        ]
    }
}

impl TableRow for pb::LiveStream {
    const HEADINGS: &'static [&'static str] = &[
        "STREAM",
        "USER",
        "PROJECT",
        "NODE",
        "CREATED",
        "LAST SEEN",
        "RELAYS",
    ];

    fn cells(&self) -> Vec<String> {
        let stream = self.stream.clone().unwrap_or_default();
        vec![
            stream.id,
            self.user_id.clone(),
            self.project_display_name.clone(),
            stream.publisher.unwrap_or_default().node_id,
            time(stream.create_time.as_ref()),
            time(stream.last_seen_time.as_ref()),
            self.relay_count.to_string(),
        ]
    }
}

impl TableRow for pb::OperatorAuditEvent {
    const HEADINGS: &'static [&'static str] = &[
        "TIME",
        "ACTION",
        "RESULT",
        "USER",
        "RESOURCE",
        "OPERATOR KEY",
        "ADDRESS",
    ];

    fn cells(&self) -> Vec<String> {
        let event = self.event.clone().unwrap_or_default();
        let key = match self.operator_key_display_name.as_str() {
            "" => String::new(),
            name => format!("{name} ({})", event.api_key_id),
        };
        vec![
            time(event.create_time.as_ref()),
            event.action,
            event.result,
            self.user_id.clone(),
            event.resource_id,
            key,
            event.peer_address,
        ]
    }
}

//! Projects with everything that belongs to them, in one statement.
//!
//! A dashboard shows a project with its destinations, its live stream and its relays. As one
//! statement they are of one moment, and cost one round trip. What belongs to a project is
//! aggregated to JSON with the names of stored events, so that the domain types read it.

use sqlx::FromRow;

use super::{
    projects::Projects,
    rows::{owned_page, project_columns, projects_with_streams},
};
use crate::{
    database::Engine,
    domain::{ListFilter, LiveStream, Page, Project, ProjectId, ProjectSnapshot, Stream, Tenant},
    error::{Error, Result},
    repositories::{
        relays::progress::RelayProgress,
        sql::{json_ids, owned_by},
    },
};

/// The functions that build a JSON object, and an array of the values of a group.
macro_rules! json_object {
    (postgres) => {
        "json_build_object"
    };
    (sqlite) => {
        "json_object"
    };
}
macro_rules! json_array {
    (postgres) => {
        "json_agg"
    };
    (sqlite) => {
        "json_group_array"
    };
}

/// A value in JSON: an id, a truth value, a number with a fraction, an object that may be null, or
/// a column of JSON.
/// SQLite has no type for ids and truth values, writes 15 digits of a number by default, and
/// forgets in a `case` that a text is JSON.
macro_rules! json_value {
    (postgres json $($value:expr),+) => {
        concat!("cast(", $($value),+, " as json)")
    };
    (postgres $kind:ident $($value:expr),+) => {
        concat!($($value),+)
    };
    (sqlite id $($value:expr),+) => {
        concat!("lower(hex(", $($value),+, "))")
    };
    (sqlite boolean $($value:expr),+) => {
        concat!("json(iif(", $($value),+, ", 'true', 'false'))")
    };
    (sqlite float $($value:expr),+) => {
        concat!("json(printf('%!.17g', ", $($value),+, "))")
    };
    (sqlite object $($value:expr),+) => {
        concat!("json(", $($value),+, ")")
    };
    (sqlite json $($value:expr),+) => {
        concat!("json(", $($value),+, ")")
    };
}

/// Pairs of a name and a column of the same name, each after a prefix.
macro_rules! json_columns {
    ($prefix:literal: $first:ident $(, $other:ident)* $(,)?) => {
        concat!(
            "'", stringify!($first), "', ", $prefix, stringify!($first)
            $(, ", '", stringify!($other), "', ", $prefix, stringify!($other))*
        )
    };
}

/// A [`Destination`](crate::domain::Destination) `d` in JSON.
macro_rules! destination_json {
    ($engine:tt) => {
        concat!(
            json_object!($engine),
            "('id', ",
            json_value!($engine id "d.id"),
            ", 'project_id', ",
            json_value!($engine id "d.project_id"),
            ", 'enabled', ",
            json_value!($engine boolean "d.enabled"),
            ", 'has_srt_passphrase', ",
            json_value!($engine boolean "d.srt_passphrase_sealed is not null"),
            ", ",
            json_columns!(
                "d.": platform, name, url, stream_key_hint, srt_pbkeylen, delay_ms,
                max_video_bitrate_kbps, max_height, create_time,
                update_time
            ),
            ")"
        )
    };
}

/// The [`Stream`] `s` in JSON, or null.
macro_rules! stream_json {
    ($engine:tt) => {
        concat!(
            "case when s.id is not null then ",
            json_object!($engine),
            "('id', ",
            json_value!($engine id "s.id"),
            ", 'project_id', ",
            json_value!($engine id "s.project_id"),
            ", 'connected', ",
            json_value!($engine boolean "s.connected"),
            ", ",
            json_columns!(
                "s.": status, epoch, create_time, live_time, deadline, key_expire_time,
                end_time, end_reason
            ),
            ", 'last_seen_time', ",
            $crate::repositories::streams::rows::stream_seen_time!("s."),
            ", 'publisher', ",
            json_object!($engine),
            "(",
            json_columns!("s.": node_id, boot_id, connection_id, peer_address, protocol),
            "), 'stats', ",
            json_value!(
                $engine object
                "case when s.bytes_received is not null then ",
                json_object!($engine),
                "('fps', ",
                json_value!($engine float "s.fps"),
                ", ",
                json_columns!(
                    "s.": bytes_received, bitrate_bps, width, height, video_codec, audio_codec
                ),
                ", 'media', ",
                json_value!($engine json "coalesce(s.media, '{}')"),
                ") end"
            ),
            ", 'issues', ",
            json_value!($engine json "coalesce(s.issues, '[]')"),
            ") end"
        )
    };
}

/// A [`Relay`](crate::domain::Relay) `r` in JSON.
macro_rules! relay_json {
    ($engine:tt) => {
        concat!(
            json_object!($engine),
            "('stream_id', ",
            json_value!($engine id "r.stream_id"),
            ", 'destination_id', ",
            json_value!($engine id "r.destination_id"),
            ", 'project_id', ",
            json_value!($engine id "r.project_id"),
            ", 'wanted', ",
            json_value!($engine boolean "r.wanted"),
            ", ",
            json_columns!(
                "r.": state, attempt, ready_time, last_progress_time, bytes_sent, bitrate_bps,
                update_time
            ),
            ", 'error', ",
            json_value!(
                $engine object
                "case when r.error_code is not null then ",
                json_object!($engine),
                "('code', r.error_code, 'fatal', ",
                json_value!($engine boolean "r.error_severity = 'fatal'"),
                ", 'message', r.error_message) end"
            ),
            ", 'lease', ",
            json_value!(
                $engine object
                "case when r.lease_id is not null then ",
                json_object!($engine),
                "('id', ",
                json_value!($engine id "r.lease_id"),
                ", 'expire_time', r.lease_expire_time, ",
                json_columns!("r.": worker_id, claim_time, broadcast_time, silent_since),
                ") end"
            ),
            ", 'delivery', ",
            json_object!($engine),
            "(",
            json_columns!(
                "r.": lag_ms, dropped_packets, retransmitted_segments, last_drop_time
            ),
            "), 'issues', ",
            json_value!($engine json "coalesce(r.issues, '[]')"),
            ", 'capacity_issue', ",
            json_value!($engine json "coalesce(r.capacity_issue, 'null')"),
            ")"
        )
    };
}

/// Selects [`SnapshotRow`]s: projects `p` with their live streams `s`.
macro_rules! select_snapshots {
    ($engine:tt) => {
        concat!(
            "select ",
            project_columns!(),
            ", cast((select ",
            json_array!($engine),
            "(",
            destination_json!($engine),
            " order by d.id desc)
                     from destinations d
                     where d.project_id = p.id and d.delete_time is null) as text) as destinations,
               cast(",
            stream_json!($engine),
            " as text) as stream,
               cast((select ",
            json_array!($engine),
            "(",
            relay_json!($engine),
            " order by r.destination_id)
                     from relays r
                     where r.stream_id = s.id) as text) as relays
             from ",
            projects_with_streams!()
        )
    };
}

/// Reads snapshots of projects that meet a condition, whose arguments are the same on both engines.
macro_rules! fetch_snapshots {
    ($database:expr, [$($condition:expr),+], [$($argument:expr),* $(,)?]) => {{
        let rows: Vec<SnapshotRow> = match $database.reader() {
            Engine::Postgres(pool) => {
                sqlx::query_as(concat!(select_snapshots!(postgres), $($condition),+))
                    $(.bind($argument))*
                    .fetch_all(pool)
                    .await?
            }
            Engine::Sqlite(pool) => {
                sqlx::query_as(concat!(select_snapshots!(sqlite), $($condition),+))
                    $(.bind($argument))*
                    .fetch_all(pool)
                    .await?
            }
        };
        rows
    }};
}

/// A project, and JSON of what belongs to it. PostgreSQL has no empty arrays: null is one too.
#[derive(FromRow)]
struct SnapshotRow {
    #[sqlx(flatten)]
    project: Project,
    destinations: Option<String>,
    stream: Option<String>,
    relays: Option<String>,
}

impl Projects {
    /// A project with its destinations, its live stream and its relays, all as of one moment.
    pub async fn get_snapshot(&self, tenant: Tenant, id: ProjectId) -> Result<ProjectSnapshot> {
        let rows = fetch_snapshots!(
            self.database,
            [" where p.id = $1 and ", owned_by!("$2", "$3", "$4")],
            [id, tenant.user, tenant.key, tenant.roles()]
        );
        match self.read_snapshots(rows)?.into_iter().next() {
            Some(found) => Ok(found),
            None => Err(self.refusal(tenant, id).await),
        }
    }

    /// The projects of the tenant's organization with what belongs to them, newest first, all as of one moment.
    pub async fn list_snapshots(
        &self,
        tenant: Tenant,
        filter: ListFilter,
        page: Page,
    ) -> Result<Vec<ProjectSnapshot>> {
        let rows = fetch_snapshots!(
            self.database,
            [owned_page!()],
            [
                page.below,
                tenant.user,
                tenant.key,
                page.limit(),
                filter.disabled,
                filter.created.after,
                filter.created.before,
                tenant.organization,
                tenant.roles()
            ]
        );
        self.read_snapshots(rows)
    }

    /// These projects with what belongs to them, all as of one moment. Without those that the
    /// tenant cannot see.
    pub async fn snapshots(
        &self,
        tenant: Tenant,
        ids: &[ProjectId],
    ) -> Result<Vec<ProjectSnapshot>> {
        let rows: Vec<SnapshotRow> = match self.database.reader() {
            Engine::Postgres(pool) => {
                let ids: Vec<_> = ids.iter().map(|id| id.uuid()).collect();
                sqlx::query_as(concat!(
                    select_snapshots!(postgres),
                    " where p.id = any($1) and ",
                    owned_by!("$2", "$3", "$4")
                ))
                .bind(ids)
                .bind(tenant.user)
                .bind(tenant.key)
                .bind(tenant.roles())
                .fetch_all(pool)
                .await?
            }
            Engine::Sqlite(pool) => {
                sqlx::query_as(concat!(
                    select_snapshots!(sqlite),
                    " where p.id in (select unhex(value) from json_each($1)) and ",
                    owned_by!("$2", "$3", "$4")
                ))
                .bind(json_ids(ids))
                .bind(tenant.user)
                .bind(tenant.key)
                .bind(tenant.roles())
                .fetch_all(pool)
                .await?
            }
        };
        self.read_snapshots(rows)
    }
}

impl Projects {
    /// Reads snapshots, with the newest figures of their relays.
    fn read_snapshots(&self, rows: Vec<SnapshotRow>) -> Result<Vec<ProjectSnapshot>> {
        let progress = self.database.local_state::<RelayProgress>();
        let snapshots = rows.into_iter().map(|row| {
            let mut snapshot = ProjectSnapshot::try_from(row)?;
            let live = snapshot.live.iter_mut();
            progress.add_to_all(live.flat_map(|live| &mut live.relays));
            Ok(snapshot)
        });
        snapshots.collect()
    }
}

impl TryFrom<SnapshotRow> for ProjectSnapshot {
    type Error = Error;

    fn try_from(row: SnapshotRow) -> Result<Self> {
        let SnapshotRow {
            project,
            destinations,
            stream,
            relays,
        } = row;
        let stream: Option<Stream> = stream.map(|json| read(&json)).transpose()?;
        let live = match stream {
            None => None,
            Some(stream) => Some(LiveStream {
                stream,
                relays: read_array(relays)?,
            }),
        };
        Ok(Self {
            project,
            destinations: read_array(destinations)?,
            live,
        })
    }
}

fn read_array<T: serde::de::DeserializeOwned>(json: Option<String>) -> Result<Vec<T>> {
    json.map_or(Ok(Vec::new()), |json| read(&json))
}

fn read<T: serde::de::DeserializeOwned>(json: &str) -> Result<T> {
    serde_json::from_str(json).map_err(Error::internal)
}

//! Checks of the events of a project.

use std::collections::HashMap;

use sluice::domain::{Change, ProjectId, Stream, StreamId, StreamState};
use sqlx::Connection;
use sqlx_postgres::PgConnection;
use sqlx_sqlite::SqliteConnection;

use crate::harness::TestDatabase;

/// Checks that revisions have no gap, that all transitions of streams are legal, and that never
/// two streams had not ended.
pub async fn assert_legal_transitions(events: &mut Events, id: ProjectId, revision: i64) {
    let events = events.read(id).await;
    let revisions: Vec<_> = events.iter().map(|(revision, _)| *revision).collect();
    assert_eq!(revisions, (1..=revision).collect::<Vec<_>>());

    let mut streams: HashMap<StreamId, Stream> = HashMap::new();
    for (_, change) in events {
        let Change::Stream(stream) = change else {
            continue;
        };
        let before = streams.insert(stream.id, stream.clone());
        assert!(
            is_legal(before.as_ref(), &stream),
            "{before:?} -> {stream:?}"
        );
        let unended = streams
            .values()
            .filter(|one| one.state != StreamState::Ended);
        assert!(unended.count() <= 1, "{streams:?}");
    }
}

fn is_legal(before: Option<&Stream>, after: &Stream) -> bool {
    use StreamState::{Connecting, Ended, Live, Reconnecting};
    let Some(before) = before else {
        return after.epoch == 1 && matches!(after.state, Connecting | Live);
    };
    let was_live = before.live_time.is_some();
    match (before.state, after.state, after.epoch - before.epoch) {
        (Connecting, Live | Reconnecting | Ended, 0) | (Live, Reconnecting | Ended, 0) => true,
        // The same connection sends a heartbeat again, or a new one has reconnected.
        (Reconnecting, Live, 0 | 1) | (Reconnecting, Ended, 0) => true,
        (Reconnecting, Connecting, 1) => !was_live,
        // The heartbeats had timed out; now the connection is known to have ended.
        (Reconnecting, Reconnecting, 0) => before.connected && !after.connected,
        _ => false,
    }
}

/// A database connection that reads events, for all runs.
pub enum Events {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Events {
    /// The events in a database.
    pub async fn of(database: &TestDatabase) -> Self {
        let url = &database.url;
        match url.starts_with("sqlite:") {
            true => Self::Sqlite(SqliteConnection::connect(url).await.unwrap()),
            false => Self::Postgres(PgConnection::connect(url).await.unwrap()),
        }
    }

    async fn read(&mut self, id: ProjectId) -> Vec<(i64, Change)> {
        let sql = "select revision, change from events where project_id = $1 order by revision";
        let rows: Vec<(i64, String)> = match self {
            Self::Sqlite(connection) => {
                let query = sqlx::query_as(sql).bind(id.uuid());
                query.fetch_all(connection).await.unwrap()
            }
            Self::Postgres(connection) => {
                let query = sqlx::query_as(sql).bind(id.uuid());
                query.fetch_all(connection).await.unwrap()
            }
        };
        rows.into_iter()
            .map(|(revision, change)| (revision, serde_json::from_str(&change).unwrap()))
            .collect()
    }
}

//! The table `destinations`, row by row, within a transaction of whoever changes it.

use sqlx::FromRow;

use super::events;
use crate::{
    database::{Timestamp, Transaction, known},
    domain::{Change, Destination, DestinationId, Platform, ProjectId, Time},
    error::{Error, Result},
};

/// A row of the table `destinations`, without the key.
#[derive(FromRow)]
pub(crate) struct DestinationRow {
    id: DestinationId,
    project_id: ProjectId,
    platform: String,
    name: String,
    url: String,
    stream_key_hint: String,
    enabled: bool,
    create_time: Timestamp,
    update_time: Timestamp,
}

/// Writes the event of a destination that was created or changed.
pub(crate) async fn record(
    tx: &mut Transaction,
    revision: i64,
    destination: &Destination,
    now: Time,
) -> Result<()> {
    let change = Change::Destination(destination.clone());
    events::record(tx, destination.project_id, revision, &change, now).await
}

impl TryFrom<DestinationRow> for Destination {
    type Error = Error;

    fn try_from(row: DestinationRow) -> Result<Self> {
        let DestinationRow {
            id,
            project_id,
            platform,
            name,
            url,
            stream_key_hint,
            enabled,
            create_time,
            update_time,
        } = row;
        let platform = known("platform", Platform::parse(&platform))?;
        Ok(Self {
            id,
            project_id,
            platform,
            name,
            url,
            stream_key_hint,
            enabled,
            create_time,
            update_time,
        })
    }
}

use sqlx::FromRow;

use super::events;
use crate::{
    database::{Transaction, decode_column},
    domain::{Change, Destination, DestinationId, Platform, ProjectId, Time},
    error::{Error, Result},
};

/// The columns of [`DestinationRow`], each after a prefix such as `"t."`.
macro_rules! destination_columns {
    ($prefix:literal) => {
        $crate::repositories::sql::columns!(
            $prefix:
            id, project_id, platform, name, url, stream_key_hint, enabled, create_time,
            update_time
        )
    };
}
pub(super) use destination_columns;

/// A row of the table `destinations`, without the key.
#[derive(FromRow)]
pub(super) struct DestinationRow {
    id: DestinationId,
    project_id: ProjectId,
    platform: String,
    name: String,
    url: String,
    stream_key_hint: String,
    enabled: bool,
    create_time: Time,
    update_time: Time,
}

/// Writes the event of a created or changed destination.
pub(super) async fn record(
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
        let platform = decode_column("platform", Platform::parse(&platform))?;
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

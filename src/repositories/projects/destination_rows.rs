use super::events;
use crate::{
    database::Transaction,
    domain::{Change, Destination, Time},
    error::Result,
};

/// The columns of [`Destination`], each after a prefix such as `"t."`.
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

impl_from_row!(
    Destination:
    id, project_id, platform, name, url, stream_key_hint, enabled, create_time, update_time
);

use std::collections::HashMap;

use super::rows::stream_columns;
use crate::{
    database::Transaction,
    domain::{LiveStream, ProjectId, Relay, Stream},
    error::Result,
    repositories::{relays::rows::relay_columns, sql::fetch_all_in},
};

/// The streams of these projects that have not ended, with their relays.
pub(crate) async fn load_live_streams(
    tx: &mut Transaction,
    ids: &[ProjectId],
) -> Result<HashMap<ProjectId, LiveStream>> {
    let streams: Vec<Stream> = fetch_all_in!(
        tx,
        [
            "select ",
            stream_columns!("streams."),
            " from streams
             where end_time is null and project_id"
        ],
        ids,
        [],
        []
    )?;
    if streams.is_empty() {
        return Ok(HashMap::new());
    }
    let stream_ids: Vec<_> = streams.iter().map(|stream| stream.id).collect();
    let relays: Vec<Relay> = fetch_all_in!(
        tx,
        [
            "select ",
            relay_columns!(""),
            " from relays where stream_id"
        ],
        &stream_ids,
        [" order by destination_id"],
        []
    )?;

    let streams = streams.into_iter().map(|stream| {
        let relays = Vec::new();
        (stream.project_id, LiveStream { stream, relays })
    });
    let mut live: HashMap<_, _> = streams.collect();
    for relay in relays {
        if let Some(of_project) = live.get_mut(&relay.project_id) {
            of_project.relays.push(relay);
        }
    }
    Ok(live)
}

//! The ends of connections.

use super::{
    publish_changes::{ConnectionChange, PublishChanges, StreamRelay, load_relays},
    reported_stream::{
        ConnectionReport, ReportedStream, lock_reported_stream, read_reported_stream,
    },
};
use crate::{
    database::Engine,
    domain::{ProjectId, Publisher, Stream, StreamId, StreamState, Time},
    error::Result,
    repositories::Publishing,
};

impl Publishing {
    /// Records the end of a connection. Changes the stream only if the connection holds it.
    pub async fn end(
        &self,
        id: StreamId,
        epoch: i64,
        publisher: &Publisher,
        now: Time,
    ) -> Result<Stream> {
        let report = ConnectionReport {
            stream_id: id,
            epoch,
            publisher,
            media_flows: false,
            stats: None,
            now,
        };
        let is_postgres = matches!(self.database.reader(), Engine::Postgres(_));
        let found = read_reported_stream!(self.database.reader(), report, is_postgres)?;
        self.require_own_stream(&found)?;
        let project_id = found.state.project_id;
        let ended = End::of(&found, report);
        let relays: Vec<StreamRelay> = match ended.stream_with_relays() {
            Some(id) => load_relays!(self.database.reader(), id)?,
            None => Vec::new(),
        };
        let (changes, stream) = ended.changes(found, relays, report);
        match changes.write(&self.database).await? {
            true => Ok(stream),
            false => self.end_locked(project_id, report).await,
        }
    }

    /// Records the end of a connection under the lock of its project.
    async fn end_locked(
        &self,
        project_id: ProjectId,
        report: ConnectionReport<'_>,
    ) -> Result<Stream> {
        self.database
            .transaction(|mut tx| async move {
                let found = lock_reported_stream(&mut tx, Some(project_id), report).await?;
                self.require_own_stream(&found)?;
                let ended = End::of(&found, report);
                let relays: Vec<StreamRelay> = match ended.stream_with_relays() {
                    Some(id) => load_relays!(tx, id)?,
                    None => Vec::new(),
                };
                let (changes, stream) = ended.changes(found, relays, report);
                changes.commit(&self.database, tx).await?;
                Ok(stream)
            })
            .await
    }
}

/// The end of a connection.
struct End {
    /// The stream without its connection, if the connection holds it.
    disconnected: Option<Stream>,
}

impl End {
    fn of(found: &ReportedStream, report: ConnectionReport<'_>) -> Self {
        let stream = &found.stream;
        let disconnected = stream.is_held_by(report.publisher, report.epoch).then(|| {
            let mut stream = stream.clone();
            stream.disconnect(found.window, report.now);
            stream
        });
        Self { disconnected }
    }

    /// The stream whose relays change.
    fn stream_with_relays(&self) -> Option<StreamId> {
        let stream = self.disconnected.as_ref();
        let ended = stream.filter(|stream| stream.state == StreamState::Ended);
        ended
            .filter(|stream| stream.live_time.is_some())
            .map(|stream| stream.id)
    }

    /// The changes, and the stream after them.
    fn changes(
        self,
        found: ReportedStream,
        relays: Vec<StreamRelay>,
        report: ConnectionReport<'_>,
    ) -> (PublishChanges, Stream) {
        let ReportedStream {
            state,
            stream: before,
            ..
        } = found;
        let mut changes = PublishChanges::new(state, relays, report.publisher, report.now);
        changes.connection = Some(ConnectionChange::Ends);
        match self.disconnected {
            Some(stream) => {
                changes.change(&before, &stream);
                (changes, stream)
            }
            None => (changes, before),
        }
    }
}

//! Reconciles the connections of a media server with the recorded streams.
//!
//! Closed connections are released first, so that their projects are free for newer connections.
//! Each step checks the current state again, so that it never overrides a concurrent report.

use crate::{
    auth::Sealer,
    domain::{
        EndReason, NodeConnection, NodeId, NodeReconciliation, NodeReport, PublishAction, Stream,
        StreamId, Time, UnmatchedAction,
    },
    error::{Error, Result},
    repositories::{PublishAttempt, Publishing},
};

/// Applies the reports of media servers about all of their connections.
#[derive(Debug)]
pub struct NodeReconciler {
    publishing: Publishing,
    sealer: Sealer,
}

/// The result of a report: what the media server has to do, and what was changed.
#[derive(Debug, Default)]
pub struct SyncOutcome {
    /// Connections to disconnect, with the reason.
    pub kicks: Vec<(String, EndReason)>,
    /// Streams that ended.
    pub ended: Vec<StreamId>,
    /// Connections that hold a stream which the media server did not know.
    pub adoptions: Vec<(String, Stream)>,
    /// The first error. The other connections are handled nevertheless.
    pub(super) error: Option<Error>,
}

impl NodeReconciler {
    /// Reconciles streams. The sealer seals play URLs.
    pub fn new(publishing: Publishing, sealer: Sealer) -> Self {
        Self { publishing, sealer }
    }

    /// The same for a caller that reports for this media server only, if there is one.
    pub fn bound_to(&self, node: Option<&NodeId>) -> Self {
        Self::new(self.publishing.bound_to(node), self.sealer.clone())
    }

    /// Applies a report. A long one takes a while, so `clock` gives the current time.
    pub async fn sync(
        &self,
        report: &NodeReport,
        clock: &(impl Fn() -> Time + Sync),
    ) -> Result<SyncOutcome> {
        self.publishing.register_boot(report, clock()).await?;
        let connected = self.publishing.list_connected(&report.node_id).await?;
        let NodeReconciliation {
            lost,
            dropped,
            held,
            mut unmatched,
        } = report.reconcile(connected);

        let mut outcome = SyncOutcome::default();
        self.release(report, &lost, &dropped, &mut outcome, clock)
            .await?;
        unmatched.extend(self.refresh(report, held, &mut outcome, clock).await?);
        self.resolve_unmatched(report, &unmatched, &mut outcome, clock)
            .await?;
        match outcome.error.take() {
            Some(error) => Err(error),
            None => Ok(outcome),
        }
    }

    /// Releases streams whose connections have closed.
    async fn release(
        &self,
        report: &NodeReport,
        lost: &[Stream],
        dropped: &[Stream],
        outcome: &mut SyncOutcome,
        clock: &(impl Fn() -> Time + Sync),
    ) -> Result<()> {
        if !lost.is_empty() {
            // A later boot may have begun streams since they were read.
            self.publishing.register_boot(report, clock()).await?;
        }
        for stream in lost {
            let lost = self
                .publishing
                .mark_lost(stream, EndReason::NodeLost, clock());
            outcome.end(lost.await);
        }
        for stream in dropped {
            let lost = self
                .publishing
                .mark_lost(stream, EndReason::PublisherEnded, clock());
            outcome.end(lost.await);
        }
        Ok(())
    }

    /// Records that connections are open. Returns those that no longer hold their stream.
    async fn refresh<'a>(
        &self,
        report: &NodeReport,
        held: Vec<(&'a NodeConnection, Stream)>,
        outcome: &mut SyncOutcome,
        clock: &(impl Fn() -> Time + Sync),
    ) -> Result<Vec<&'a NodeConnection>> {
        let now = clock();
        let (changing, steady): (Vec<_>, Vec<_>) = held
            .into_iter()
            .partition(|(connection, stream)| connection.changes_state_of(stream));
        let refreshed = match steady.is_empty() {
            true => Default::default(),
            false => self.publishing.refresh(report, &steady, now).await?,
        };

        let mut unmatched = Vec::new();
        for (connection, stream) in steady.into_iter().chain(changing) {
            let is_refreshed = refreshed.contains(&stream.id);
            if is_refreshed && connection.knows(&stream) {
                continue;
            }
            let held = match is_refreshed {
                true => Ok(HeldStream::Held(connection.applied_to(&stream, now).into())),
                false => self.heartbeat(connection, &stream, clock()).await,
            };
            let Some(held) = outcome.record(held) else {
                continue;
            };
            match held {
                HeldStream::Held(stream) if connection.knows(&stream) => {}
                HeldStream::Held(stream) => outcome.adopt(connection, *stream),
                // The stream was held when this connection arrived, so its end is newer.
                HeldStream::Lost(Some(EndReason::PublisherEnded)) => {
                    outcome.kick(connection, EndReason::PublisherEnded);
                }
                HeldStream::Lost(_) => unmatched.push(connection),
            }
        }
        Ok(unmatched)
    }

    /// Records a heartbeat of one connection.
    async fn heartbeat(
        &self,
        connection: &NodeConnection,
        stream: &Stream,
        now: Time,
    ) -> Result<HeldStream> {
        let stats = connection.stats.as_ref();
        let result = self
            .publishing
            .heartbeat(stream.id, stream.epoch, &connection.publisher, stats, now)
            .await;
        match result {
            Ok((stream, PublishAction::Continue)) => Ok(HeldStream::Held(stream.into())),
            Ok((_, PublishAction::Stop(reason))) => Ok(HeldStream::Lost(Some(reason))),
            Err(Error::NotFound { .. }) => Ok(HeldStream::Lost(None)),
            Err(error) => Err(error),
        }
    }

    /// Begins or disconnects connections that hold no stream.
    async fn resolve_unmatched(
        &self,
        report: &NodeReport,
        unmatched: &[&NodeConnection],
        outcome: &mut SyncOutcome,
        clock: &(impl Fn() -> Time + Sync),
    ) -> Result<()> {
        if unmatched.is_empty() {
            return Ok(());
        }
        let published = self.publishing.published_by(report, unmatched).await?;
        for connection in unmatched {
            match connection.resolve(connection.last_stream(&published)) {
                UnmatchedAction::Continue(stream) => outcome.adopt(connection, stream.clone()),
                UnmatchedAction::Kick(reason) => outcome.kick(connection, reason),
                UnmatchedAction::Begin(key_hash) => {
                    let adopted = self.adopt(connection, key_hash, outcome, clock).await;
                    outcome.record(adopted);
                }
            }
        }
        Ok(())
    }

    /// Begins a publish for an open connection, if its stream key allows that.
    async fn adopt(
        &self,
        connection: &NodeConnection,
        key_hash: &[u8],
        outcome: &mut SyncOutcome,
        clock: &(impl Fn() -> Time + Sync),
    ) -> Result<()> {
        let play_url = connection.play_url.as_ref();
        let play_url = play_url.map(|url| url.seal(&self.sealer));
        let publish = PublishAttempt {
            key_hash,
            publisher: &connection.publisher,
            media_flowing: connection.media_flows(),
            play_url: play_url.as_ref(),
            already_connected: true,
        };
        let stream = match self.publishing.begin(publish, clock).await {
            Ok(stream) => stream,
            Err(Error::PublishRefused(cause)) => {
                outcome.kick(connection, cause.into());
                return Ok(());
            }
            Err(Error::StreamKeyInvalid) => {
                outcome.kick(connection, EndReason::KeyRotated);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if connection.stats.is_none() {
            outcome.adopt(connection, stream);
            return Ok(());
        }
        match self.heartbeat(connection, &stream, clock()).await? {
            HeldStream::Held(stream) => outcome.adopt(connection, *stream),
            HeldStream::Lost(reason) => {
                outcome.kick(connection, reason.unwrap_or(EndReason::ProjectDeleted));
            }
        }
        Ok(())
    }
}

/// Whether a connection still holds its stream.
enum HeldStream {
    Held(Box<Stream>),
    /// Why not; `None` if the stream does not exist any more.
    Lost(Option<EndReason>),
}

impl SyncOutcome {
    /// The value of a result. Keeps the first error.
    fn record<T>(&mut self, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.error.get_or_insert(error);
                None
            }
        }
    }

    fn kick(&mut self, connection: &NodeConnection, reason: EndReason) {
        let id = connection.publisher.connection_id.clone();
        self.kicks.push((id, reason));
    }

    fn adopt(&mut self, connection: &NodeConnection, stream: Stream) {
        let id = connection.publisher.connection_id.clone();
        self.adoptions.push((id, stream));
    }

    fn end(&mut self, changed: Result<Option<Stream>>) {
        let changed = self.record(changed).flatten();
        self.ended.extend(
            changed
                .filter(|stream| stream.end_time.is_some())
                .map(|stream| stream.id),
        );
    }
}

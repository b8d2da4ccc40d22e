//! Makes a media server and the record of its streams agree.
//!
//! What has gone is let go first, so that a project is free for the connection
//! that came after it. Each step is decided anew where it is done: a report of
//! somebody else that comes in between stands.

use crate::{
    auth::Sealer,
    database::Database,
    domain::{
        ConnectionReport, EndReason, Heartbeat, NodeFindings, NodeReport, StrangerVerdict, Stream,
        StreamId, Time,
    },
    error::{Error, Result},
    repositories::{NewPublish, NodeStreams, Publishing},
};

/// What media servers that report all of their connections are answered from.
#[derive(Debug)]
pub struct NodeSync {
    publishing: Publishing,
    streams: NodeStreams,
    sealer: Sealer,
}

/// What a media server is to do, and what was done.
#[derive(Debug, Default)]
pub struct SyncOutcome {
    /// Connections that must not go on, and why.
    pub kicks: Vec<(String, EndReason)>,
    /// Streams that ended.
    pub ended: Vec<StreamId>,
    /// Connections with the streams that they did not know to be theirs.
    pub adoptions: Vec<(String, Stream)>,
    /// What went wrong first. It does not keep the others from being done.
    pub(super) fault: Option<Error>,
}

impl NodeSync {
    /// The streams of a database, and what seals where they can be read.
    pub fn new(database: Database, publishing: Publishing, sealer: Sealer) -> Self {
        Self {
            publishing,
            streams: NodeStreams::new(database),
            sealer,
        }
    }

    /// Takes a report, and does what it asks for. A long one takes its time, which
    /// `clock` tells.
    pub async fn sync(
        &self,
        report: &NodeReport,
        clock: &(impl Fn() -> Time + Sync),
    ) -> Result<SyncOutcome> {
        self.streams.enter(report, clock()).await?;
        let connected = self.streams.connected(&report.node_id).await?;
        let NodeFindings {
            lost,
            dropped,
            held,
            mut strangers,
        } = report.compare(connected);

        let mut outcome = SyncOutcome::default();
        self.let_go(report, &lost, &dropped, &mut outcome, clock)
            .await?;
        strangers.extend(self.hold(report, held, &mut outcome, clock).await?);
        self.receive(report, &strangers, &mut outcome, clock)
            .await?;
        match outcome.fault.take() {
            Some(fault) => Err(fault),
            None => Ok(outcome),
        }
    }

    /// Takes streams from connections that are gone.
    async fn let_go(
        &self,
        report: &NodeReport,
        lost: &[Stream],
        dropped: &[Stream],
        outcome: &mut SyncOutcome,
        clock: &(impl Fn() -> Time + Sync),
    ) -> Result<()> {
        if !lost.is_empty() {
            // A later boot may have begun streams since it was looked.
            self.streams.enter(report, clock()).await?;
        }
        for stream in lost {
            outcome.ended(self.streams.lose(stream, clock()).await);
        }
        for stream in dropped {
            outcome.ended(self.streams.disconnect(stream, clock()).await);
        }
        Ok(())
    }

    /// Notes that connections stand; gives those that hold their stream no more.
    async fn hold<'a>(
        &self,
        report: &NodeReport,
        held: Vec<(&'a ConnectionReport, Stream)>,
        outcome: &mut SyncOutcome,
        clock: &(impl Fn() -> Time + Sync),
    ) -> Result<Vec<&'a ConnectionReport>> {
        let now = clock();
        let (steady, changing): (Vec<_>, Vec<_>) =
            held.into_iter().partition(|(report, stream)| {
                report.applied_to(stream, clock()).status == stream.status
            });
        let refreshed = match steady.is_empty() {
            true => Default::default(),
            false => self.streams.refresh(report, &steady, now).await?,
        };

        let mut strangers = Vec::new();
        for (report, stream) in steady.into_iter().chain(changing) {
            let stands = match refreshed.contains(&stream.id) {
                true => Ok(Standing::Holds(report.applied_to(&stream, now).into())),
                false => self.heartbeat(report, &stream, clock()).await,
            };
            let Some(stands) = outcome.unless_fault(stands) else {
                continue;
            };
            match stands {
                Standing::Holds(stream) if report.knows(&stream) => {}
                Standing::Holds(stream) => outcome.adopted(report, *stream),
                // It was held when this report came: its end is newer.
                Standing::Lost(Some(EndReason::PublisherEnded)) => {
                    outcome.kick(report, EndReason::PublisherEnded);
                }
                Standing::Lost(_) => strangers.push(report),
            }
        }
        Ok(strangers)
    }

    /// A heartbeat of a connection in a transaction of its own.
    async fn heartbeat(
        &self,
        report: &ConnectionReport,
        stream: &Stream,
        now: Time,
    ) -> Result<Standing> {
        let stats = report.stats.as_ref();
        let heard = self
            .publishing
            .heartbeat(stream.id, stream.epoch, &report.publisher, stats, now)
            .await;
        match heard {
            Ok((stream, Heartbeat::Continue)) => Ok(Standing::Holds(stream.into())),
            Ok((_, Heartbeat::Stop(reason))) => Ok(Standing::Lost(Some(reason))),
            Err(Error::NotFound { .. }) => Ok(Standing::Lost(None)),
            Err(error) => Err(error),
        }
    }

    /// Lets connections in that hold nothing, or has them disconnected.
    async fn receive(
        &self,
        report: &NodeReport,
        strangers: &[&ConnectionReport],
        outcome: &mut SyncOutcome,
        clock: &(impl Fn() -> Time + Sync),
    ) -> Result<()> {
        if strangers.is_empty() {
            return Ok(());
        }
        let published = self.streams.published_by(report, strangers).await?;
        for report in strangers {
            match report.judge(report.last_of(&published)) {
                StrangerVerdict::Continue(stream) => outcome.adopted(report, stream.clone()),
                StrangerVerdict::Kick(reason) => outcome.kick(report, reason),
                StrangerVerdict::Ask(key_hash) => {
                    let adopted = self.adopt(report, key_hash, outcome, clock()).await;
                    outcome.unless_fault(adopted);
                }
            }
        }
        Ok(())
    }

    /// Lets a connection in if its key allows it.
    async fn adopt(
        &self,
        report: &ConnectionReport,
        key_hash: &[u8],
        outcome: &mut SyncOutcome,
        now: Time,
    ) -> Result<()> {
        let play_url = report.play_url.as_ref();
        let play_url = play_url.map(|url| url.seal(&self.sealer));
        let publish = NewPublish {
            key_hash,
            publisher: &report.publisher,
            media_flowing: report.media_flows(),
            play_url: play_url.as_ref(),
            standing: true,
        };
        let stream = match self.publishing.begin(publish, now).await {
            Ok(stream) => stream,
            Err(Error::PublishRefused(refusal)) => {
                outcome.kick(report, refusal.into());
                return Ok(());
            }
            Err(Error::StreamKeyInvalid) => {
                outcome.kick(report, EndReason::KeyRotated);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if report.stats.is_none() {
            outcome.adopted(report, stream);
            return Ok(());
        }
        match self.heartbeat(report, &stream, now).await? {
            Standing::Holds(stream) => outcome.adopted(report, *stream),
            Standing::Lost(reason) => {
                outcome.kick(report, reason.unwrap_or(EndReason::ProjectDeleted));
            }
        }
        Ok(())
    }
}

/// Whether a connection that was believed to hold a stream does.
enum Standing {
    Holds(Box<Stream>),
    /// Why not; `None` if there is no such stream any more.
    Lost(Option<EndReason>),
}

impl SyncOutcome {
    /// What was done; remembers what went wrong.
    fn unless_fault<T>(&mut self, done: Result<T>) -> Option<T> {
        match done {
            Ok(done) => Some(done),
            Err(fault) => {
                self.fault.get_or_insert(fault);
                None
            }
        }
    }

    fn kick(&mut self, report: &ConnectionReport, reason: EndReason) {
        let id = report.publisher.connection_id.clone();
        self.kicks.push((id, reason));
    }

    fn adopted(&mut self, report: &ConnectionReport, stream: Stream) {
        let id = report.publisher.connection_id.clone();
        self.adoptions.push((id, stream));
    }

    fn ended(&mut self, changed: Result<Option<Stream>>) {
        let changed = self.unless_fault(changed).flatten();
        self.ended.extend(
            changed
                .filter(|stream| stream.end_time.is_some())
                .map(|stream| stream.id),
        );
    }
}

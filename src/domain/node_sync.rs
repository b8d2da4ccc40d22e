//! What a media server says of all of its connections, held against what is on record.

use std::collections::BTreeMap;

use super::{EndReason, Heartbeat, PlayUrl, Publisher, Refusal, Stats, Stream, StreamId, Time};

/// All connections of one run of a media server.
#[derive(Debug, Clone)]
pub struct NodeReport {
    /// The media server.
    pub node_id: String,
    /// Its run.
    pub boot_id: String,
    /// Every connection, each once.
    pub connections: Vec<ConnectionReport>,
}

/// One connection that stands.
#[derive(Debug, Clone)]
pub struct ConnectionReport {
    /// The connection.
    pub publisher: Publisher,
    /// The stream and the epoch that it was told, if it was.
    pub named: Option<(StreamId, i64)>,
    /// What is measured.
    pub stats: Option<Stats>,
    /// SHA-256 of the stream key that it gave, if the media server says it.
    pub key_hash: Option<Vec<u8>>,
    /// Where its media can be read.
    pub play_url: Option<PlayUrl>,
}

/// What a report says of the streams that the media server is believed to hold.
#[derive(Debug, Default)]
pub struct NodeFindings<'a> {
    /// Held by another boot.
    pub lost: Vec<Stream>,
    /// Held by a connection that does not stand any more.
    pub dropped: Vec<Stream>,
    /// Held by a connection that stands.
    pub held: Vec<(&'a ConnectionReport, Stream)>,
    /// Connections that hold nothing.
    pub strangers: Vec<&'a ConnectionReport>,
}

/// What becomes of a connection that was found to hold nothing.
#[derive(Debug, Clone)]
pub enum StrangerVerdict<'a> {
    /// It holds this stream by now.
    Continue(&'a Stream),
    /// It is to ask to be let in, with the key of this hash.
    Ask(&'a [u8]),
    /// It is to be disconnected.
    Kick(EndReason),
}

impl NodeReport {
    /// Holds the report against the streams with a connection of this media
    /// server, in the order of their ids.
    pub fn compare(&self, connected: Vec<Stream>) -> NodeFindings<'_> {
        let mut findings = NodeFindings::default();
        let mut by_connection: BTreeMap<String, Vec<Stream>> = BTreeMap::new();
        for stream in connected {
            if stream.publisher.boot_id == self.boot_id {
                let id = stream.publisher.connection_id.clone();
                by_connection.entry(id).or_default().push(stream);
            } else {
                findings.lost.push(stream);
            }
        }

        for report in &self.connections {
            let mut streams = by_connection
                .remove(&report.publisher.connection_id)
                .unwrap_or_default();
            // A connection publishes one stream: it has left what else it is believed to hold.
            let named = streams.iter().position(|stream| report.names(stream.id));
            let held = match named {
                Some(at) => Some(streams.swap_remove(at)),
                None => streams.pop(),
            };
            match held {
                Some(stream) => findings.held.push((report, stream)),
                None => findings.strangers.push(report),
            }
            findings.dropped.append(&mut streams);
        }
        findings
            .dropped
            .extend(by_connection.into_values().flatten());
        findings
    }
}

impl ConnectionReport {
    /// Whether media flows on it.
    pub fn media_flows(&self) -> bool {
        self.stats
            .as_ref()
            .is_none_or(|stats| stats.bytes_received > 0)
    }

    /// Whether it was told that it publishes this stream.
    fn names(&self, id: StreamId) -> bool {
        self.named.is_some_and(|(named, _)| named == id)
    }

    /// Whether it was told that it publishes this stream at its epoch.
    pub fn knows(&self, stream: &Stream) -> bool {
        self.named == Some((stream.id, stream.epoch))
    }

    /// A stream that it holds, after the report.
    pub fn applied_to(&self, stream: &Stream, now: Time) -> Stream {
        let mut stream = stream.clone();
        stream.seen(self.media_flows(), now);
        if let Some(stats) = &self.stats {
            stream.stats = Some(stats.clone());
        }
        stream
    }

    /// Which of the streams on record, in the order of their ids, was this connection's.
    pub fn last_of<'s>(&self, streams: &'s [Stream]) -> Option<&'s Stream> {
        let named = streams.iter().find(|stream| self.names(stream.id));
        named.or_else(|| {
            let mut newest_first = streams.iter().rev();
            newest_first.find(|stream| stream.publisher.is_same_connection(&self.publisher))
        })
    }

    /// What becomes of it, given the stream that was its.
    ///
    /// What somebody decided stands. What ended because nothing was heard of it
    /// was a mistake if the connection stands, and can be mended with the key.
    pub fn judge<'a>(&'a self, last: Option<&'a Stream>) -> StrangerVerdict<'a> {
        let Some(last) = last else {
            return self.ask_or_kick(EndReason::KeyRotated);
        };
        let epoch = self.named.map_or(last.epoch, |(_, epoch)| epoch);
        match last.verdict(&self.publisher, epoch) {
            Heartbeat::Continue => StrangerVerdict::Continue(last),
            Heartbeat::Stop(reason) if last.end_reason.is_some_and(EndReason::is_decision) => {
                StrangerVerdict::Kick(reason)
            }
            Heartbeat::Stop(reason) => self.ask_or_kick(reason),
        }
    }

    fn ask_or_kick(&self, reason: EndReason) -> StrangerVerdict<'_> {
        match &self.key_hash {
            Some(hash) => StrangerVerdict::Ask(hash),
            None => StrangerVerdict::Kick(reason),
        }
    }
}

impl From<Refusal> for EndReason {
    /// Why a connection that stands must not go on, when it is refused.
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Disabled => Self::ProjectDisabled,
            Refusal::Held(_) => Self::StoppedByOwner,
            Refusal::Conflict => Self::TakenOver,
            Refusal::KeyReplaced => Self::KeyRotated,
            Refusal::ConnectionEnded => Self::PublisherEnded,
        }
    }
}

//! Reconciles the connections that a media server reports with the recorded streams.

use std::collections::BTreeMap;

use super::{
    EndReason, PlayUrl, PublishAction, Publisher, RefusalCause, Stream, StreamId, StreamState,
    StreamStats, Time,
};

/// All publishing connections of one run of a media server.
#[derive(Debug, Clone)]
pub struct NodeReport {
    /// The media server.
    pub node_id: String,
    /// Its run.
    pub boot_id: String,
    /// Every open connection, once.
    pub connections: Vec<NodeConnection>,
}

/// An open publishing connection, as its media server reports it.
#[derive(Debug, Clone)]
pub struct NodeConnection {
    /// The connection.
    pub publisher: Publisher,
    /// The stream and epoch that the media server knows for it.
    pub known_stream: Option<(StreamId, i64)>,
    /// Its measurements.
    pub stats: Option<StreamStats>,
    /// SHA-256 of its stream key, if the media server reports the key.
    pub key_hash: Option<Vec<u8>>,
    /// Where relays can read its media.
    pub play_url: Option<PlayUrl>,
}

/// A report, matched with the recorded streams of the media server.
#[derive(Debug, Default)]
pub struct NodeReconciliation<'a> {
    /// Streams held by another boot.
    pub lost: Vec<Stream>,
    /// Streams held by a connection that is not open any more.
    pub dropped: Vec<Stream>,
    /// Streams held by an open connection.
    pub held: Vec<(&'a NodeConnection, Stream)>,
    /// Connections that hold no stream.
    pub unmatched: Vec<&'a NodeConnection>,
}

/// What to do with a connection that holds no stream.
#[derive(Debug, Clone)]
pub enum UnmatchedAction<'a> {
    /// Nothing: it holds this stream by now.
    Continue(&'a Stream),
    /// Begin a publish with the stream key of this hash.
    Begin(&'a [u8]),
    /// Disconnect it.
    Kick(EndReason),
}

impl NodeReport {
    /// Matches the report with the streams that have a connection of this media server.
    ///
    /// `connected` is ordered by id.
    pub fn reconcile(&self, connected: Vec<Stream>) -> NodeReconciliation<'_> {
        let mut result = NodeReconciliation::default();
        let mut by_connection: BTreeMap<String, Vec<Stream>> = BTreeMap::new();
        for stream in connected {
            if stream.publisher.boot_id == self.boot_id {
                let id = stream.publisher.connection_id.clone();
                by_connection.entry(id).or_default().push(stream);
            } else {
                result.lost.push(stream);
            }
        }

        for connection in &self.connections {
            let mut streams = by_connection
                .remove(&connection.publisher.connection_id)
                .unwrap_or_default();
            // A connection publishes one stream, so it has left any other recorded for it.
            let known = streams
                .iter()
                .position(|stream| connection.names(stream.id));
            let held = match known {
                Some(index) => Some(streams.swap_remove(index)),
                None => streams.pop(),
            };
            match held {
                Some(stream) => result.held.push((connection, stream)),
                None => result.unmatched.push(connection),
            }
            result.dropped.append(&mut streams);
        }
        result.dropped.extend(by_connection.into_values().flatten());
        result
    }
}

impl NodeConnection {
    /// Whether media flows, or the media server does not measure it.
    pub fn media_flows(&self) -> bool {
        let stats = self.stats.as_ref();
        stats.is_none_or(|stats| stats.bytes_received > 0)
    }

    /// Whether the media server knows that the connection publishes this stream.
    fn names(&self, id: StreamId) -> bool {
        self.known_stream.is_some_and(|(known, _)| known == id)
    }

    /// Whether the media server knows the stream and its epoch.
    pub fn knows(&self, stream: &Stream) -> bool {
        self.known_stream == Some((stream.id, stream.epoch))
    }

    /// Whether the connection, which holds the stream, changes its state.
    pub fn changes_state_of(&self, stream: &Stream) -> bool {
        stream.state == StreamState::Reconnecting
            || stream.active_state(self.media_flows()) != stream.state
    }

    /// Whether the report has other measurements than the stream.
    pub fn has_other_stats(&self, stream: &Stream) -> bool {
        self.stats.is_some() && self.stats != stream.stats
    }

    /// The stream that the connection holds, updated from the report.
    pub fn applied_to(&self, stream: &Stream, now: Time) -> Stream {
        let mut stream = stream.clone();
        stream.record_activity(self.media_flows(), now);
        if let Some(stats) = &self.stats {
            stream.stats = Some(stats.clone());
        }
        stream
    }

    /// The stream that this connection published last; `streams` is ordered by id.
    pub fn last_stream<'s>(&self, streams: &'s [Stream]) -> Option<&'s Stream> {
        let known = streams.iter().find(|stream| self.names(stream.id));
        known.or_else(|| {
            let mut newest_first = streams.iter().rev();
            newest_first.find(|stream| stream.publisher.is_same_connection(&self.publisher))
        })
    }

    /// Decides about a connection that holds no stream; `last` is the stream it published last.
    ///
    /// A deliberate end is final. A stream that ended because of silence ended by mistake if its
    /// connection is still open: with its stream key, the connection can begin again.
    pub fn resolve<'a>(&'a self, last: Option<&'a Stream>) -> UnmatchedAction<'a> {
        let Some(last) = last else {
            return self.begin_or_kick(EndReason::KeyRotated);
        };
        let epoch = self.known_stream.map_or(last.epoch, |(_, epoch)| epoch);
        match last.action_for(&self.publisher, epoch) {
            PublishAction::Continue => UnmatchedAction::Continue(last),
            PublishAction::Stop(reason)
                if last.end_reason.is_some_and(EndReason::is_deliberate) =>
            {
                UnmatchedAction::Kick(reason)
            }
            PublishAction::Stop(reason) => self.begin_or_kick(reason),
        }
    }

    fn begin_or_kick(&self, reason: EndReason) -> UnmatchedAction<'_> {
        match &self.key_hash {
            Some(hash) => UnmatchedAction::Begin(hash),
            None => UnmatchedAction::Kick(reason),
        }
    }
}

impl From<RefusalCause> for EndReason {
    /// The reason for disconnecting an open connection whose publish is refused.
    fn from(cause: RefusalCause) -> Self {
        match cause {
            RefusalCause::Suspended => Self::AccountSuspended,
            RefusalCause::QuotaExceeded(_) => Self::QuotaExceeded,
            RefusalCause::Disabled => Self::ProjectDisabled,
            RefusalCause::Held(_) => Self::StoppedByOwner,
            RefusalCause::Conflict => Self::TakenOver,
            RefusalCause::KeyReplaced => Self::KeyRotated,
            RefusalCause::ConnectionEnded => Self::PublisherEnded,
        }
    }
}

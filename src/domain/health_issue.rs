//! What impairs a stream or its relays, as their states show it.
//!
//! An issue is not stored: it begins and ends with a change of a stream or a relay, and can be
//! derived from their present states.

use std::collections::BTreeMap;

use super::{
    Change, DestinationId, LiveStream, Relay, RelayState, Stream, StreamId, StreamState, Time,
};

/// The kind of an issue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IssueCode {
    /// The connection of the publisher is lost.
    PublisherLost,
    /// The relay sends no more bytes.
    RelayStalled,
    /// The relay has failed and is retried.
    RelayRetrying,
    /// The relay has failed and is not retried.
    RelayFailed,
}

/// An issue of a stream, or of one of its relays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// Its kind.
    pub code: IssueCode,
    /// When it began; for a lost publisher, when it was last reported.
    pub since: Time,
    /// The message of the relay's error; may be empty.
    pub detail: String,
    /// The stream.
    pub stream_id: StreamId,
    /// The destination of the relay; `None` for an issue of the stream itself.
    pub destination_id: Option<DestinationId>,
}

impl Issue {
    /// Whether it remains until someone acts.
    pub fn is_permanent(&self) -> bool {
        self.code == IssueCode::RelayFailed
    }

    fn of_stream(stream: &Stream) -> Option<Self> {
        (stream.state == StreamState::Reconnecting).then(|| Self {
            code: IssueCode::PublisherLost,
            since: stream.last_seen_time,
            detail: String::new(),
            stream_id: stream.id,
            destination_id: None,
        })
    }

    fn of_relay(relay: &Relay) -> Option<Self> {
        let code = match relay.state {
            RelayState::Stalled => IssueCode::RelayStalled,
            RelayState::Retrying => IssueCode::RelayRetrying,
            RelayState::Failed => IssueCode::RelayFailed,
            RelayState::Idle
            | RelayState::Starting
            | RelayState::Broadcasting
            | RelayState::Holding
            | RelayState::Stopping => return None,
        };
        let detail = relay.error.as_ref().map(|error| error.message.clone());
        relay.wanted.then(|| Self {
            code,
            since: relay.update_time,
            detail: detail.unwrap_or_default(),
            stream_id: relay.stream_id,
            destination_id: Some(relay.destination_id),
        })
    }
}

/// The present issues of one project, that of the stream first.
#[derive(Debug, Default)]
pub struct ProjectIssues(BTreeMap<Option<uuid::Uuid>, Issue>);

impl ProjectIssues {
    /// The issues of a running stream and its relays; none without one.
    pub fn of(live: Option<&LiveStream>) -> Self {
        let mut issues = Self::default();
        if let Some(live) = live {
            issues.set(None, Issue::of_stream(&live.stream));
            for relay in &live.relays {
                issues.set(Some(relay.destination_id), Issue::of_relay(relay));
            }
        }
        issues
    }

    /// Applies a change of the project; returns whether the issues changed.
    pub fn apply(&mut self, change: &Change) -> bool {
        match change {
            Change::Stream(stream) if stream.state == StreamState::Ended => {
                let had_issues = !self.0.is_empty();
                self.0.clear();
                had_issues
            }
            Change::Stream(stream) => self.set(None, Issue::of_stream(stream)),
            Change::Relay(relay) => self.set(Some(relay.destination_id), Issue::of_relay(relay)),
            Change::DestinationDeleted(id) => self.set(Some(*id), None),
            Change::Project(_) | Change::ProjectDeleted | Change::Destination(_) => false,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The issues, that of the stream first.
    pub fn iter(&self) -> impl Iterator<Item = &Issue> {
        self.0.values()
    }

    /// Sets the issue of the stream or of a relay; returns whether it changed.
    fn set(&mut self, destination: Option<DestinationId>, issue: Option<Issue>) -> bool {
        let key = destination.map(DestinationId::uuid);
        let before = match issue.clone() {
            None => self.0.remove(&key),
            Some(issue) => self.0.insert(key, issue),
        };
        before != issue
    }
}

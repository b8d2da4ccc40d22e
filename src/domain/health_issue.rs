//! What impairs a stream or its relays, as their states show it.
//!
//! An issue begins and ends with a change of a stream or a relay. Those of states are derived
//! from the present states; those of media ([`MediaIssue`]) are stored with the stream or relay.

use std::collections::BTreeMap;

use super::{
    Change, DestinationId, LiveStream, MediaIssue, MediaIssueCode, Relay, RelayState, Stream,
    StreamId, StreamState, Time,
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
    /// The media has an issue.
    Media(MediaIssueCode),
}

/// An issue of a stream, or of one of its relays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// Its kind.
    pub code: IssueCode,
    /// When it began; for a lost publisher, when it was last reported.
    pub since: Time,
    /// The message of the relay's error, or the values of the media; may be empty.
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

    fn of_stream(stream: &Stream) -> Vec<Self> {
        let lost = (stream.state == StreamState::Reconnecting).then(|| Self {
            code: IssueCode::PublisherLost,
            since: stream.last_seen_time,
            detail: String::new(),
            stream_id: stream.id,
            destination_id: None,
        });
        let of_media = stream
            .issues
            .iter()
            .map(|issue| Self::of_media(issue, stream.id, None));
        lost.into_iter().chain(of_media).collect()
    }

    fn of_relay(relay: &Relay) -> Vec<Self> {
        if !relay.wanted {
            return Vec::new();
        }
        let (stream_id, destination_id) = (relay.stream_id, Some(relay.destination_id));
        let of_media = relay
            .present_issues()
            .map(|issue| Self::of_media(issue, stream_id, destination_id));
        let of_state = Self::of_relay_state(relay);
        of_state.into_iter().chain(of_media).collect()
    }

    fn of_media(
        issue: &MediaIssue,
        stream_id: StreamId,
        destination_id: Option<DestinationId>,
    ) -> Self {
        let MediaIssue {
            code,
            since,
            detail,
        } = issue;
        Self {
            code: IssueCode::Media(*code),
            since: *since,
            detail: detail.clone(),
            stream_id,
            destination_id,
        }
    }

    fn of_relay_state(relay: &Relay) -> Option<Self> {
        let code = match relay.state {
            RelayState::Stalled => IssueCode::RelayStalled,
            RelayState::Retrying => IssueCode::RelayRetrying,
            RelayState::Failed => IssueCode::RelayFailed,
            RelayState::Idle
            | RelayState::Starting
            | RelayState::Broadcasting
            | RelayState::Holding
            | RelayState::Stopping
            | RelayState::Draining => return None,
        };
        let detail = relay.error.as_ref().map(|error| error.message.clone());
        Some(Self {
            code,
            since: relay.update_time,
            detail: detail.unwrap_or_default(),
            stream_id: relay.stream_id,
            destination_id: Some(relay.destination_id),
        })
    }
}

/// The present issues of one project, those of the stream first.
#[derive(Debug, Default)]
pub struct ProjectIssues(BTreeMap<Option<uuid::Uuid>, Vec<Issue>>);

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
            Change::DestinationDeleted(id) => self.set(Some(*id), Vec::new()),
            Change::Project(_) | Change::ProjectDeleted | Change::Destination(_) => false,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The issues, those of the stream first.
    pub fn iter(&self) -> impl Iterator<Item = &Issue> {
        self.0.values().flatten()
    }

    /// Sets the issues of the stream or of a relay; returns whether they changed.
    fn set(&mut self, destination: Option<DestinationId>, issues: Vec<Issue>) -> bool {
        let key = destination.map(DestinationId::uuid);
        let before = match issues.is_empty() {
            true => self.0.remove(&key),
            false => self.0.insert(key, issues.clone()),
        };
        before.unwrap_or_default() != issues
    }
}

//! Requests and responses of the model.

use sluice::domain::{EndReason, RefusalCause};

use super::stream::ModelStream;

/// Seconds since the start of a run.
pub type Seconds = i64;

/// A connection: node, boot and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Connection {
    pub node: u8,
    pub boot: u8,
    pub number: u8,
}

/// The stream, by number, and the epoch that an accepted connection was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    pub connection: Connection,
    pub stream: usize,
    pub epoch: i64,
}

/// The response to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Begun(Grant),
    Refused(RefusalReason),
    Continue,
    Stop(EndReason),
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalReason {
    Key,
    Boot,
    Disabled,
    Held,
    Conflict,
    Ended,
}

/// A connection in a report of a media server.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    pub connection: Connection,
    pub key: Option<u8>,
    pub named: Option<Grant>,
}

/// The response to a report.
#[derive(Debug, Default, PartialEq)]
pub struct SyncOutcome {
    pub refused: bool,
    pub kicks: Vec<(Connection, EndReason)>,
    pub ended: Vec<usize>,
    pub adoptions: Vec<Grant>,
}

/// How a reported connection without a stream is treated. With `Ask` it begins a publish, or is
/// kicked for the reason if it has no key.
pub enum Decision {
    Ask(EndReason),
    Kick(EndReason),
}

impl Report {
    /// Ends by a decision are final; ends by a timeout are not.
    pub fn decision(&self, streams: &[ModelStream]) -> Decision {
        let own = |stream: &&ModelStream| stream.connection == self.connection;
        let last = match self.named {
            Some(grant) => Some(&streams[grant.stream]),
            None => streams.iter().rev().find(own),
        };
        let Some(last) = last else {
            return Decision::Ask(EndReason::KeyRotated);
        };
        let epoch = self.named.map_or(last.epoch, |grant| grant.epoch);
        let end = last.end.map(|(reason, _)| reason);
        let reason = match last.epoch == epoch && last.connection == self.connection {
            true => end.unwrap_or(EndReason::PublisherEnded),
            false => EndReason::TakenOver,
        };
        use EndReason::{KeyRotated, ProjectDisabled, StoppedByOwner, TakenOver};
        match end {
            Some(KeyRotated | ProjectDisabled | StoppedByOwner | TakenOver) => {
                Decision::Kick(reason)
            }
            _ => Decision::Ask(reason),
        }
    }
}

impl From<RefusalReason> for EndReason {
    fn from(refused: RefusalReason) -> Self {
        match refused {
            RefusalReason::Key => Self::KeyRotated,
            RefusalReason::Disabled => Self::ProjectDisabled,
            RefusalReason::Held => Self::StoppedByOwner,
            RefusalReason::Conflict => Self::TakenOver,
            RefusalReason::Ended => Self::PublisherEnded,
            RefusalReason::Boot => panic!("it was newest when it reported"),
        }
    }
}

impl From<RefusalCause> for RefusalReason {
    fn from(refusal: RefusalCause) -> Self {
        match refusal {
            RefusalCause::Suspended | RefusalCause::QuotaExceeded(_) => {
                unreachable!("the model suspends no account and sets no quota")
            }
            RefusalCause::Disabled => Self::Disabled,
            RefusalCause::Held(_) => Self::Held,
            RefusalCause::Conflict => Self::Conflict,
            RefusalCause::ConnectionEnded => Self::Ended,
            RefusalCause::KeyReplaced => Self::Key,
        }
    }
}

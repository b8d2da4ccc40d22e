//! What is asked and answered, in the words of the model.

use sluice::domain::{EndReason, RefusalCause};

use super::life::Life;

/// Seconds since the beginning.
pub type Seconds = i64;

/// A connection: its node, its boot, and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Connection {
    pub node: u8,
    pub boot: u8,
    pub number: u8,
}

/// What an accepted connection was told: the stream, by its number, and the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    pub connection: Connection,
    pub stream: usize,
    pub epoch: i64,
}

/// How a call was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Begun(Grant),
    Refused(RefusedFor),
    Continue,
    Stop(EndReason),
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedFor {
    Key,
    Boot,
    Disabled,
    Held,
    Conflict,
    Ended,
}

/// A connection that a media server says it has.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    pub who: Connection,
    pub key: Option<u8>,
    pub named: Option<Grant>,
}

/// What a media server is told of its connections.
#[derive(Debug, Default, PartialEq)]
pub struct Synced {
    pub refused: bool,
    pub kicks: Vec<(Connection, EndReason)>,
    pub ended: Vec<usize>,
    pub adoptions: Vec<Grant>,
}

/// What becomes of a connection that holds nothing: it may ask to be let in, or is
/// kicked for the reason if it has no key; or it is kicked anyhow.
pub enum Verdict {
    Ask(EndReason),
    Kick(EndReason),
}

impl Report {
    /// What somebody decided stands; what silence did can be mended.
    pub fn verdict(&self, streams: &[Life]) -> Verdict {
        let own = |life: &&Life| life.connection == self.who;
        let last = match self.named {
            Some(grant) => Some(&streams[grant.stream]),
            None => streams.iter().rev().find(own),
        };
        let Some(last) = last else {
            return Verdict::Ask(EndReason::KeyRotated);
        };
        let epoch = self.named.map_or(last.epoch, |grant| grant.epoch);
        let end = last.end.map(|(reason, _)| reason);
        let reason = match last.epoch == epoch && last.connection == self.who {
            true => end.unwrap_or(EndReason::PublisherEnded),
            false => EndReason::TakenOver,
        };
        use EndReason::{KeyRotated, ProjectDisabled, StoppedByOwner, TakenOver};
        match end {
            Some(KeyRotated | ProjectDisabled | StoppedByOwner | TakenOver) => {
                Verdict::Kick(reason)
            }
            _ => Verdict::Ask(reason),
        }
    }
}

impl From<RefusedFor> for EndReason {
    fn from(refused: RefusedFor) -> Self {
        match refused {
            RefusedFor::Key => Self::KeyRotated,
            RefusedFor::Disabled => Self::ProjectDisabled,
            RefusedFor::Held => Self::StoppedByOwner,
            RefusedFor::Conflict => Self::TakenOver,
            RefusedFor::Ended => Self::PublisherEnded,
            RefusedFor::Boot => panic!("it was newest when it reported"),
        }
    }
}

impl From<RefusalCause> for RefusedFor {
    fn from(refusal: RefusalCause) -> Self {
        match refusal {
            RefusalCause::Disabled => Self::Disabled,
            RefusalCause::Held(_) => Self::Held,
            RefusalCause::Conflict => Self::Conflict,
            RefusalCause::ConnectionEnded => Self::Ended,
            RefusalCause::KeyReplaced => Self::Key,
        }
    }
}

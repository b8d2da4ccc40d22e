use std::time::{Duration, Instant};

use crate::auth::Revocations;

/// For how long reports could be heard.
///
/// Silence means something only to who could have heard: after a start, and
/// after the database was away, whoever judges waits as long as one may be
/// silent, so that others can report first.
#[derive(Debug)]
pub(super) struct Hearing {
    /// While they are out of date, no report is let in.
    revocations: Revocations,
    patience: Duration,
    since: Option<Instant>,
}

impl Hearing {
    /// Of reports that may be so long in coming.
    pub fn new(revocations: Revocations, patience: Duration) -> Self {
        Self {
            revocations,
            patience,
            since: None,
        }
    }

    /// Whether silence means something now.
    pub fn is_long_enough(&mut self) -> bool {
        if !self.revocations.are_current() {
            self.since = None;
            return false;
        }
        self.since.get_or_insert_with(Instant::now).elapsed() >= self.patience
    }

    /// Nothing could be heard.
    pub fn interrupted(&mut self) {
        self.since = None;
    }
}

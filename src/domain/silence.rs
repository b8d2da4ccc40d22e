//! What the silence of a media server or of a relay worker does to streams and relays.

use super::{
    EndReason, ReconnectWindow, Relay, RelayState, RelayTimeouts, Stream, StreamState,
    StreamTimeouts, Time,
};

/// The timeouts that are applied to streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamExpiry {
    /// Only the expiry of stream keys. Unlike silence, it does not depend on reports that
    /// may be missing.
    Keys,
    /// All timeouts.
    All,
}

impl Stream {
    /// Applies the timeouts that have passed. Returns whether the stream changed.
    pub fn expire(
        &mut self,
        expiry: StreamExpiry,
        window: ReconnectWindow,
        timeouts: StreamTimeouts,
        now: Time,
    ) -> bool {
        if self.connected && self.key_expire_time.is_some_and(|expiry| expiry <= now) {
            self.end(EndReason::KeyRotated, now);
            return true;
        }
        match expiry {
            StreamExpiry::Keys => false,
            StreamExpiry::All => self.expire_reports(window, timeouts, now),
        }
    }

    /// Applies the deadlines and timeouts of reports.
    fn expire_reports(
        &mut self,
        window: ReconnectWindow,
        timeouts: StreamTimeouts,
        now: Time,
    ) -> bool {
        let overdue = self.deadline.is_some_and(|deadline| deadline <= now);
        let silent = self.last_seen_time + timeouts.heartbeat <= now;
        match self.state {
            StreamState::Connecting if overdue => {
                self.end(EndReason::NeverStarted, self.last_seen_time)
            }
            StreamState::Reconnecting if overdue && self.live_time.is_none() => {
                self.end(EndReason::NeverStarted, self.last_seen_time);
            }
            StreamState::Reconnecting if overdue => {
                self.end(EndReason::ReconnectTimeout, self.last_seen_time);
            }
            StreamState::Live if silent && window.is_zero() => {
                self.end(EndReason::HeartbeatTimeout, self.last_seen_time);
            }
            StreamState::Live if silent => {
                // `connected` stays true: a heartbeat of this connection makes the stream live again.
                self.state = StreamState::Reconnecting;
                self.deadline = Some(now + window.as_duration());
            }
            StreamState::Connecting
            | StreamState::Live
            | StreamState::Reconnecting
            | StreamState::Ended => {
                return false;
            }
        }
        true
    }
}

impl Relay {
    /// Applies the timeouts that have passed. Returns whether the relay changed.
    ///
    /// With `source_idle`, its stream has no media to send, and the relay does not stall.
    pub fn expire(&mut self, source_idle: bool, times: RelayTimeouts, now: Time) -> bool {
        let Some(lease) = &self.lease else {
            return false;
        };
        let expired = lease.expire_time <= now;
        let silent = lease.is_silent(times, now);
        let stalls =
            self.wanted && self.state == RelayState::Broadcasting && silent && !source_idle;
        match (expired, stalls) {
            (true, _) => self.release(RelayState::Idle, now),
            (false, true) => self.enter(RelayState::Stalled, now),
            (false, false) => return false,
        }
        true
    }
}

//! Relays that no worker takes.

use std::{collections::HashMap, time::Duration};

use super::{
    DestinationId, MediaIssue, MediaIssueCode, Relay, Stream, StreamId, StreamState, Time,
};

/// Since when relays wait for a worker, as one observer has seen it in its last look.
///
/// That a relay can be claimed also depends on its stream and on other relays to its destination,
/// and none of them tells since when. So an observer has to look repeatedly.
#[derive(Debug)]
pub struct RelayWaits {
    /// The wait from which on it is an issue. Workers claim within a second, a restarted
    /// `sluice edge` within a few.
    timeout: Duration,
    known: HashMap<Key, Time>,
    seen: HashMap<Key, Time>,
}

/// A relay.
type Key = (StreamId, DestinationId);

impl RelayWaits {
    /// Nothing was seen yet.
    pub fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            known: HashMap::new(),
            seen: HashMap::new(),
        }
    }

    /// Forgets what was seen.
    pub fn clear(&mut self) {
        self.known.clear();
        self.seen.clear();
    }

    /// Notes whether a relay waits. With `is_busy`, another relay to its destination has a worker.
    pub fn observe(&mut self, relay: &Relay, stream: &Stream, is_busy: bool, now: Time) {
        if stream.state == StreamState::Live && !is_busy && relay.is_claimable(now) {
            let key = (relay.stream_id, relay.destination_id);
            let since = self.known.get(&key).copied().unwrap_or(now);
            self.seen.insert(key, since);
        }
    }

    /// Ends a look at all relays: those that were not noted do not wait any more.
    pub fn end_look(&mut self) {
        self.known = std::mem::take(&mut self.seen);
    }

    /// Whether it is to be noted as an issue that no worker takes a relay. While the publisher is
    /// away, a noted one stays.
    pub fn is_issue(&self, relay: &Relay, stream: &Stream, now: Time) -> bool {
        let is_noted = relay.capacity_issue.is_some();
        if stream.state == StreamState::Reconnecting {
            return is_noted && relay.is_unclaimed();
        }
        let since = self.seen.get(&(relay.stream_id, relay.destination_id));
        since.is_some_and(|since| is_noted || *since + self.timeout <= now)
    }
}

impl MediaIssue {
    /// That no worker takes a relay. So many workers claim relays of its media server.
    pub fn no_capacity(workers: i64, now: Time) -> Self {
        let detail = match workers {
            0 => "no relay worker claims relays of its media server".to_owned(),
            _ => format!(
                "the relay workers of its media server are full or do not respond: {workers} of \
                 them claimed relays in the last two minutes"
            ),
        };
        Self {
            code: MediaIssueCode::NoCapacity,
            since: now,
            detail,
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::domain::{
        IngestProtocol, ProjectId, Publisher, RelayTimeouts, StreamTimeouts, now as present,
    };

    fn live() -> Stream {
        let publisher = Publisher {
            node_id: "n".to_owned(),
            boot_id: "b".to_owned(),
            connection_id: "c".to_owned(),
            peer_address: String::new(),
            protocol: IngestProtocol::Rtmp,
        };
        let timeouts = StreamTimeouts {
            connect: Duration::from_secs(30),
            heartbeat: Duration::from_secs(30),
        };
        let mut stream = Stream::begin(ProjectId::generate(), publisher, timeouts, present());
        stream.record_activity(true, present());
        stream
    }

    /// Whether it is an issue after looks at these seconds, at which the relay was free or busy.
    fn is_issue_after(relay: &Relay, stream: &Stream, looks: &[(i64, bool)]) -> bool {
        let (mut waits, start) = (RelayWaits::new(Duration::from_secs(10)), present());
        let mut is_issue = false;
        for (seconds, is_busy) in looks {
            let now = start + TimeDelta::seconds(*seconds);
            waits.observe(relay, stream, *is_busy, now);
            is_issue = waits.is_issue(relay, stream, now);
            waits.end_look();
        }
        is_issue
    }

    #[test]
    fn a_relay_is_an_issue_once_it_could_be_claimed_for_ten_seconds() {
        let stream = live();
        let relay = Relay::new(&stream, DestinationId::generate(), present());
        for (looks, expected) in [
            (&[(0, false)][..], false),
            (&[(0, false), (5, false), (9, false)], false),
            (&[(0, false), (5, false), (10, false)], true),
            (&[(0, false), (5, true), (10, false)], false),
            (&[(0, true), (5, true), (10, true)], false),
        ] {
            assert_eq!(
                is_issue_after(&relay, &stream, looks),
                expected,
                "{looks:?}"
            );
        }
    }

    #[test]
    fn a_noted_issue_stays_while_the_relay_waits_and_while_the_publisher_is_away() {
        let mut stream = live();
        let mut relay = Relay::new(&stream, DestinationId::generate(), present());
        relay.capacity_issue = Some(MediaIssue::no_capacity(0, present()));
        assert!(is_issue_after(&relay, &stream, &[(0, false)]));
        assert!(!is_issue_after(&relay, &stream, &[(0, true)]));
        stream.state = StreamState::Reconnecting;
        assert!(is_issue_after(&relay, &stream, &[(0, false)]));
        relay.stop(present());
        assert!(!is_issue_after(&relay, &stream, &[(0, false)]));
    }

    #[test]
    fn a_claim_and_a_new_start_end_the_issue() {
        let stream = live();
        let noted = || {
            let mut relay = Relay::new(&stream, DestinationId::generate(), present());
            relay.capacity_issue = Some(MediaIssue::no_capacity(3, present()));
            assert_eq!(relay.present_issues().count(), 1);
            relay
        };
        let times = RelayTimeouts {
            lease: Duration::from_secs(15),
            stall: Duration::from_secs(10),
        };
        let mut claimed = noted();
        claimed.claim("w", times, present());
        assert_eq!(claimed.capacity_issue, None);
        let mut restarted = noted();
        restarted.stop(present());
        assert_eq!(restarted.capacity_issue, None);

        // A server of an earlier version leaves it.
        let mut left = noted();
        left.wanted = false;
        assert_eq!(left.present_issues().count(), 0);
    }
}

use std::time::Duration;

use tokio::time::Instant;

/// The pace at which connections of one address are served. An address that opens them faster
/// waits: its connections stay open, unread, until it is their turn.
///
/// The handshake and the first calls of a connection cost far more than its acceptance, so
/// without a pace one address could use up the processor by connecting again and again.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionPace {
    /// Connections per second; 0 means no limit.
    pub per_second: u32,
    /// The number of connections that are served at once after a pause.
    pub burst: u32,
}

/// The turns of the connections of one address (GCRA, as in ITU-T I.371).
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// When the address has its full burst again.
    recovered_at: Option<Instant>,
}

impl ConnectionPace {
    /// No limit.
    #[cfg(test)]
    pub(super) const UNLIMITED: Self = Self {
        per_second: 0,
        burst: 1,
    };
}

impl Turns {
    /// Takes the next turn: when the connection may be served.
    pub fn take(&mut self, pace: ConnectionPace, now: Instant) -> Instant {
        if pace.per_second == 0 {
            return now;
        }
        let interval = Duration::from_secs(1) / pace.per_second;
        let arrival = self.recovered_at.map_or(now, |at| at.max(now));
        self.recovered_at = Some(arrival + interval);
        let ahead = interval * pace.burst.saturating_sub(1);
        arrival.checked_sub(ahead).map_or(now, |turn| turn.max(now))
    }

    /// Gives back the turn of a connection that has ended before it.
    pub fn give_back(&mut self, pace: ConnectionPace) {
        if let Some(at) = self.recovered_at.filter(|_| pace.per_second > 0) {
            self.recovered_at = at.checked_sub(Duration::from_secs(1) / pace.per_second);
        }
    }

    /// Whether the address has its full burst, so that its turns need not be remembered.
    pub fn are_over(&self, now: Instant) -> bool {
        self.recovered_at.is_none_or(|at| at <= now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{ConnectionPace, Turns};

    const PACE: ConnectionPace = ConnectionPace {
        per_second: 10,
        burst: 3,
    };

    fn waits(turns: &mut Turns, count: usize, now: Instant) -> Vec<u128> {
        let mut wait = || (turns.take(PACE, now) - now).as_millis();
        (0..count).map(|_| wait()).collect()
    }

    #[test]
    fn a_burst_is_served_at_once_and_further_connections_one_by_one() {
        let now = Instant::now();
        assert_eq!(
            waits(&mut Turns::default(), 6, now),
            [0, 0, 0, 100, 200, 300]
        );
    }

    #[test]
    fn the_burst_comes_back_with_time() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        waits(&mut turns, 3, now);

        let later = now + Duration::from_millis(200);
        assert!(!turns.are_over(later));
        assert_eq!(waits(&mut turns, 3, later), [0, 0, 100]);
        let much_later = now + Duration::from_hours(1);
        assert!(turns.are_over(much_later));
        assert_eq!(waits(&mut turns, 4, much_later), [0, 0, 0, 100]);
    }

    #[test]
    fn a_turn_that_was_not_used_is_for_the_next_connection() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        waits(&mut turns, 5, now);

        turns.give_back(PACE);
        assert_eq!(waits(&mut turns, 2, now), [200, 300]);
        Turns::default().give_back(PACE);
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        for _ in 0..1_000 {
            assert_eq!(turns.take(ConnectionPace::UNLIMITED, now), now);
        }
        assert!(turns.are_over(now));
    }
}

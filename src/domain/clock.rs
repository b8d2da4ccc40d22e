//! The clock of the process: that of its database, as far as it is known.
//!
//! Replicas decide together when a key expires or a media server has been silent for too
//! long. So all of them use one clock: the database's. A process compares its machine's clock
//! with it about every second, and counts monotonically in between. A machine whose clock is
//! wrong, or is set while the process runs, decides like all others.
//!
//! Before the first comparison, and with SQLite, whose processes share a machine, it is the
//! machine's clock. It is global because a process serves one database.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicI64, Ordering},
    },
    time::Instant,
};

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};

/// A point in time, in microseconds: the precision that both database engines keep.
pub type Time = DateTime<Utc>;

/// The origin of the monotonic time.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The time at [`ORIGIN`], in microseconds since 1970.
static TIME_AT_ORIGIN: AtomicI64 = AtomicI64::new(UNKNOWN);

/// No comparison with the database's clock has been made.
const UNKNOWN: i64 = i64::MIN;

/// The current time.
pub fn now() -> Time {
    match TIME_AT_ORIGIN.load(Ordering::Acquire) {
        UNKNOWN => machine_time(),
        origin => {
            let now = origin.saturating_add(since_origin(Instant::now()));
            Time::from_timestamp_micros(now).unwrap_or_else(machine_time)
        }
    }
}

/// The time of the machine's clock.
fn machine_time() -> Time {
    Utc::now().trunc_subsecs(6)
}

/// The microseconds between [`ORIGIN`] and an instant.
fn since_origin(instant: Instant) -> i64 {
    let after = instant.saturating_duration_since(*ORIGIN).as_micros();
    let before = ORIGIN.saturating_duration_since(instant).as_micros();
    let (after, before) = (i64::try_from(after), i64::try_from(before));
    after.unwrap_or(i64::MAX) - before.unwrap_or(i64::MAX)
}

/// A comparison of the machine's clock with the database's. It knows the database's time only
/// within the time that its answer took.
#[derive(Debug, Clone, Copy)]
pub struct ClockComparison {
    /// The earliest and the latest possible time of the database at [`ORIGIN`].
    earliest: i64,
    latest: i64,
    /// The time of the machine at [`ORIGIN`], by its clock now.
    machine: i64,
}

impl ClockComparison {
    /// A comparison with a time that the database was asked for at `asked_at`, and that has
    /// just arrived.
    pub fn new(database_time: Time, asked_at: Instant) -> Self {
        let asked_at = since_origin(asked_at);
        let answered_at = since_origin(Instant::now());
        let shown = database_time.timestamp_micros();
        Self {
            earliest: shown - answered_at,
            latest: shown - asked_at,
            machine: machine_time().timestamp_micros() - answered_at,
        }
    }

    /// How far the machine's clock is ahead of the database's; negative if it is behind. It is
    /// the least difference that explains the answer: zero if the clocks may agree.
    pub fn skew(&self) -> TimeDelta {
        let agreed = self.machine.clamp(self.earliest, self.latest);
        TimeDelta::microseconds(self.machine - agreed)
    }

    /// Sets the clock of the process, if it cannot be right.
    pub fn adjust_clock(&self) {
        let current = TIME_AT_ORIGIN.load(Ordering::Relaxed);
        TIME_AT_ORIGIN.store(self.adjusted(current), Ordering::Release);
    }

    /// The time at [`ORIGIN`]: the current estimate, or the machine's clock, if it is possible.
    fn adjusted(&self, current: i64) -> i64 {
        let estimate = match current {
            UNKNOWN => self.machine,
            known => known,
        };
        match (self.earliest..=self.latest).contains(&estimate) {
            true => estimate,
            false => self.earliest.midpoint(self.latest),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use chrono::TimeDelta;

    use super::{ClockComparison, UNKNOWN, machine_time, now};

    const HOUR: TimeDelta = TimeDelta::hours(1);

    /// The answer of a database whose clock is ahead of the machine's, after a round trip.
    fn compare(ahead: TimeDelta, round_trip: Duration) -> ClockComparison {
        let asked_at = Instant::now().checked_sub(round_trip).unwrap();
        let shown = machine_time() + ahead - TimeDelta::from_std(round_trip / 2).unwrap();
        ClockComparison::new(shown, asked_at)
    }

    #[test]
    fn the_clock_is_the_machines_until_a_database_differs() {
        assert!((now() - machine_time()).abs() < TimeDelta::seconds(1));

        let same = compare(TimeDelta::zero(), Duration::from_millis(100));
        assert_eq!(same.adjusted(UNKNOWN), same.machine);
        let ahead = compare(HOUR, Duration::from_millis(100));
        let error = ahead.adjusted(UNKNOWN) - ahead.machine - HOUR.num_microseconds().unwrap();
        assert!(error.abs() < 10_000_000, "{error}");
    }

    #[test]
    fn a_slow_answer_does_not_move_a_clock_that_may_be_right() {
        let slow = compare(TimeDelta::milliseconds(300), Duration::from_secs(1));
        assert_eq!(slow.adjusted(slow.machine), slow.machine);
        let quick = compare(TimeDelta::seconds(10), Duration::from_millis(10));
        assert_ne!(quick.adjusted(quick.machine), quick.machine);
    }

    #[test]
    fn the_skew_is_the_least_that_explains_the_answer() {
        let skew = |ahead, round_trip| compare(ahead, Duration::from_millis(round_trip)).skew();
        assert_eq!(skew(TimeDelta::zero(), 100), TimeDelta::zero());
        assert_eq!(skew(TimeDelta::milliseconds(-400), 1000), TimeDelta::zero());
        for ahead in [HOUR, -HOUR] {
            let error = skew(ahead, 100) + ahead;
            assert!(error.abs() < TimeDelta::seconds(10), "{error}");
        }
    }
}

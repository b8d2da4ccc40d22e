use chrono::TimeDelta;
use uuid::Uuid;

use super::{StreamStats, Time};

/// The statistics of a stream at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamSample {
    /// The time: a multiple of [`StreamSample::STEP`].
    pub sample_time: Time,
    /// The statistics that were the latest ones then.
    pub stats: StreamStats,
}

impl StreamSample {
    /// The time between two samples of a stream.
    pub const STEP: TimeDelta = TimeDelta::seconds(10);

    /// The time of the sample that is taken now.
    pub fn time_at(now: Time) -> Time {
        let step = Self::STEP.num_seconds();
        let seconds = now.timestamp() - now.timestamp().rem_euclid(step);
        Time::from_timestamp(seconds, 0).unwrap_or(now)
    }

    /// Identifies it among the samples of its stream, in the order of time.
    pub fn id(&self) -> Uuid {
        let micros = self.sample_time.timestamp_micros().max(0);
        Uuid::from_u128(micros.unsigned_abs().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Time {
        Time::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn samples_are_taken_at_multiples_of_ten_seconds() {
        for (now, sampled) in [(1_000, 1_000), (1_009, 1_000), (1_010, 1_010)] {
            assert_eq!(StreamSample::time_at(at(now)), at(sampled));
        }
    }

    #[test]
    fn later_samples_have_greater_ids() {
        let sample = |seconds| StreamSample {
            sample_time: at(seconds),
            stats: StreamStats::default(),
        };
        assert!(sample(1_010).id() > sample(1_000).id());
    }
}

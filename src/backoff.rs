//! Exponential backoff with jitter, for all retries.

use std::time::Duration;

use crate::random::random_fraction;

/// The delays between attempts. They double from `first` to `longest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
}

impl Backoff {
    /// Delays from `first` to `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest }
    }

    /// The delay after this number of consecutive failures, from 1: a random duration
    /// between half of the [ceiling](Self::ceiling) and all of it, so that clients that
    /// failed together do not retry together.
    pub fn delay(&self, failures: u32) -> Duration {
        self.ceiling(failures)
            .mul_f64(0.5 + random_fraction() / 2.0)
    }

    /// The longest delay after this number of consecutive failures.
    pub fn ceiling(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.first
            .saturating_mul(2_u32.pow(doublings))
            .min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(100));

    #[test]
    fn delays_double_up_to_the_longest() {
        let ceilings = [0, 1, 2, 3, 4, 5, u32::MAX].map(|failures| BACKOFF.ceiling(failures));
        let millis = ceilings.map(|ceiling| ceiling.as_millis());
        assert_eq!(millis, [10, 10, 20, 40, 80, 100, 100]);
    }

    #[test]
    fn a_delay_lies_between_half_of_its_ceiling_and_all_of_it() {
        for failures in 1..100 {
            let (delay, ceiling) = (BACKOFF.delay(failures), BACKOFF.ceiling(failures));
            assert!(ceiling / 2 <= delay && delay <= ceiling, "{delay:?}");
        }
    }
}

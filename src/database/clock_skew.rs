//! The difference between the machine's clock and the database's.

use std::time::Instant;

use chrono::TimeDelta;
use sqlx_postgres::Postgres;
use tokio::sync::watch;

use super::{autocommit::Autocommit, pool::Pool};
use crate::{
    domain::{ClockComparison, Time},
    telemetry::metrics::DATABASE,
};

/// The largest difference that is tolerated.
const MAX_CLOCK_SKEW: TimeDelta = TimeDelta::seconds(2);

/// How far the machine's clock is ahead of the database's, when they were last compared. A
/// clone shares it.
#[derive(Debug, Clone)]
pub struct ClockSkew(watch::Sender<TimeDelta>);

impl ClockSkew {
    /// The difference; negative if the machine's clock is behind.
    pub fn get(&self) -> TimeDelta {
        *self.0.borrow()
    }

    /// Whether the difference is more than 2 seconds. The machine or the database's is then
    /// wrong, and no job may decide that something has expired.
    pub fn is_excessive(&self) -> bool {
        is_excessive(self.get())
    }

    /// Waits until the difference is not excessive.
    pub async fn tolerable(&self) {
        // The sender lives as long as `self`.
        let _ = self
            .0
            .subscribe()
            .wait_for(|skew| !is_excessive(*skew))
            .await;
    }

    /// Compares the clocks, and sets the clock of the process by the database's.
    pub(super) async fn measure(&self, pool: &Pool<Postgres>) -> Result<(), sqlx::Error> {
        let asked_at = Instant::now();
        let time: Time = sqlx::query_scalar("select clock_timestamp()")
            .fetch_one(Autocommit(pool))
            .await?;
        let comparison = ClockComparison::new(time, asked_at);
        let skew = comparison.skew();
        DATABASE.clock_skew.set(skew.as_seconds_f64());
        // First, so that whoever reads a changed clock then sees the difference.
        self.0.send_replace(skew);
        comparison.adjust_clock();
        Ok(())
    }
}

impl Default for ClockSkew {
    fn default() -> Self {
        Self(watch::Sender::new(TimeDelta::zero()))
    }
}

fn is_excessive(skew: TimeDelta) -> bool {
    skew.abs() > MAX_CLOCK_SKEW
}

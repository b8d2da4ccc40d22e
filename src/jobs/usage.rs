use std::time::Duration;

use uuid::Uuid;

use crate::{
    database::Database, domain::now, error::Result, repositories::UsageRecords,
    telemetry::metrics::JobTimer,
};

/// The number of streams whose usage is recorded in one transaction.
const PAGE_SIZE: i64 = 100;

/// Records the usage of streams and relays; never returns. Only one replica records at a time.
pub async fn record_usage(database: Database, interval: Duration) {
    let records = UsageRecords::new(database);
    let mut timer = JobTimer::new("usage", interval);
    loop {
        let run = timer.next_run().await;
        let recorded = record_all(&records).await;
        if let Err(error) = &recorded {
            tracing::warn!(error = error.with_causes(), "cannot record usage");
        }
        run.finish(recorded.is_ok());
    }
}

async fn record_all(records: &UsageRecords) -> Result<()> {
    let mut after = Some(Uuid::nil());
    while let Some(id) = after {
        after = records.record(id, PAGE_SIZE, now()).await?;
    }
    Ok(())
}

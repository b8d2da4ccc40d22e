use std::time::Duration;

use chrono::TimeDelta;
use parking_lot::Mutex;

use super::{WatchHub, polling::poll_at};
use crate::{
    database::Database,
    domain::{Time, now},
    error::Result,
    repositories::Projects,
};

/// How long before its transaction begins the time of a created project can be: the wait for a
/// connection, and the inaccuracy of the replicas' clocks.
const LOOK_BACK: TimeDelta = TimeDelta::minutes(2);

/// Finds the projects that users create while all their projects are watched, with one
/// statement for all users.
///
/// A project can become visible long after the time that it contains. So each poll looks back to
/// the oldest transaction that was running at the poll before.
#[derive(Debug)]
pub struct ProjectDiscovery {
    hub: WatchHub,
    database: Database,
    projects: Projects,
    /// All projects with an earlier time were visible at the last poll.
    since: Mutex<Time>,
}

impl ProjectDiscovery {
    /// A discovery in this database for the watches of a hub.
    pub fn new(hub: WatchHub, database: &Database) -> Self {
        Self {
            hub,
            database: database.clone(),
            projects: Projects::new(database.clone()),
            since: Mutex::new(now() - LOOK_BACK),
        }
    }

    /// Polls at this interval; never returns.
    pub async fn run(self, poll_interval: Duration) {
        poll_at(poll_interval, "created projects", || self.poll()).await;
    }

    async fn poll(&self) -> Result<()> {
        let users = self.hub.users_of_all();
        if users.is_empty() {
            return Ok(());
        }
        // Before the projects are read, which then include those of all transactions that have
        // ended by now.
        let now = now();
        let oldest = self.database.oldest_transaction().await?;
        let next = oldest.map_or(now, |oldest| oldest.min(now)) - LOOK_BACK;
        let since = next.min(*self.since.lock());
        for (owner, id) in self.projects.created_after(&users, since).await? {
            self.hub.report_created(owner, id);
        }
        *self.since.lock() = next;
        Ok(())
    }
}

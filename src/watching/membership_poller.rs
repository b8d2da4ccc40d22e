use std::time::Duration;

use super::{WatchHub, polling::poll_at};
use crate::{database::Database, error::Result, repositories::Organizations};

/// The interval between two reads. A watch ends within it after a membership has ended, and the time
/// of a read.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Finds the memberships of watching users that have ended, with one statement for all users.
#[derive(Debug)]
pub struct MembershipPoller {
    hub: WatchHub,
    database: Database,
}

impl MembershipPoller {
    /// A poller of this database for the watches of a hub.
    pub fn new(hub: WatchHub, database: &Database) -> Self {
        Self {
            hub,
            database: database.clone(),
        }
    }

    /// Polls; never returns.
    pub async fn run(self) {
        poll_at(POLL_INTERVAL, "memberships", || self.poll()).await;
    }

    async fn poll(&self) -> Result<()> {
        let users = self.hub.users();
        if users.is_empty() {
            return Ok(());
        }
        let memberships = Organizations::memberships(&self.database, &users).await?;
        self.hub.report_memberships(&users, &memberships);
        Ok(())
    }
}

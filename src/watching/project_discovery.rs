use std::time::Duration;

use chrono::TimeDelta;

use super::{WatchHub, look_back::LookBack, polling::poll_at};
use crate::{database::Database, error::Result, repositories::Projects};

/// How long before its transaction begins the time of a created project can be.
const MARGIN: TimeDelta = TimeDelta::minutes(2);

/// Finds the projects that are created while all projects of their organization are watched, with
/// two statements for all organizations.
#[derive(Debug)]
pub struct ProjectDiscovery {
    hub: WatchHub,
    projects: Projects,
    created: LookBack,
}

impl ProjectDiscovery {
    /// A discovery in this database for the watches of a hub.
    pub fn new(hub: WatchHub, database: &Database) -> Self {
        Self {
            hub,
            projects: Projects::new(database.clone()),
            created: LookBack::new(database, MARGIN),
        }
    }

    /// Polls at this interval; never returns.
    pub async fn run(self, poll_interval: Duration) {
        poll_at(poll_interval, "created projects", || self.poll()).await;
    }

    async fn poll(&self) -> Result<()> {
        let organizations = self.hub.organizations_of_all();
        if organizations.is_empty() {
            return Ok(());
        }
        let read = async |since| self.projects.created_after(&organizations, since).await;
        for (owner, id) in self.created.read(read).await? {
            self.hub.report_created(owner, id);
        }
        Ok(())
    }
}

use std::time::Duration;

use chrono::TimeDelta;

use super::{WatchHub, polling::poll_at};
use crate::{database::Database, domain::now, error::Result, repositories::Projects};

/// How far back each poll looks. Longer than any transaction that creates a project, so that a
/// row that becomes visible late is found too.
const LOOK_BACK: TimeDelta = TimeDelta::minutes(1);

/// Finds the projects that users create while all their projects are watched, with one
/// statement for all users.
#[derive(Debug)]
pub struct ProjectDiscovery {
    hub: WatchHub,
    projects: Projects,
}

impl ProjectDiscovery {
    /// A discovery in this database for the watches of a hub.
    pub fn new(hub: WatchHub, database: &Database) -> Self {
        Self {
            hub,
            projects: Projects::new(database.clone()),
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
        for (owner, id) in self
            .projects
            .created_after(&users, now() - LOOK_BACK)
            .await?
        {
            self.hub.report_created(owner, id);
        }
        Ok(())
    }
}

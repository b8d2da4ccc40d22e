//! The watch of one project or of many: one implementation for both RPCs.

use std::{convert::Infallible, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    response_sender::{ResponseSender, StreamEnd},
    watch_messages::{Update, WatchResponse},
    watch_progress::{ProjectProgress, WatchProgress},
};
use crate::{
    auth::CallAuthorization,
    domain::{OrganizationId, ProjectId, Tenant},
    error::{Error, Result},
    proto::v1::{self as pb, watch_projects_response::Event as Kind},
    repositories::{Events, Projects, Streams},
    watching::Watch,
};

/// The longest interval between two checks of the caller's authorization.
const AUTHORIZATION_INTERVAL: Duration = Duration::from_secs(1);

/// How many projects have a turn at once: one query reads what is missing of all of them.
const TURNS: usize = 25;

/// The projects of which one statement reads whether the caller sees them.
const VISIBILITY_BATCH_SIZE: usize = 500;

/// The most projects of a watch of all projects.
pub(super) const MAX_PROJECTS: usize = 10_000;

/// One WatchProject or WatchProjects call: sends the events of each project in order.
#[derive(Debug)]
pub(super) struct WatchSession<M> {
    pub tenant: Tenant,
    pub watch: Watch,
    pub progress: WatchProgress,
    /// Whether created projects are added.
    pub is_of_all: bool,
    pub events: Events,
    pub projects: Projects,
    pub streams: Streams,
    pub authorization: CallAuthorization,
    /// The longest interval between two messages.
    pub heartbeat_interval: Duration,
    pub closing: CancellationToken,
    pub sender: ResponseSender<M>,
    /// The revision sent last.
    pub last_revision: i64,
    /// When the last message was sent.
    pub last_time: Instant,
}

impl<M: WatchResponse> WatchSession<M> {
    /// Sends events until the caller closes the stream or an error ends it.
    pub async fn run(mut self) {
        let Err(end) = self.watch().await;
        if let StreamEnd::Error(cause) = end {
            self.sender.end(match M::IS_SINGLE {
                false => cause,
                true => Error::WatchEnded {
                    cause: Box::new(cause),
                    last_revision: self.last_revision,
                },
            });
        }
    }

    async fn watch(&mut self) -> Result<Infallible, StreamEnd> {
        let mut is_synced = M::IS_SINGLE;
        loop {
            let memberships = self.enqueue_changed()?;
            if memberships {
                self.remove_invisible().await?;
            }
            let turns = self.progress.next_turns(TURNS);
            if turns.is_empty() {
                if !is_synced && self.progress.is_synced() {
                    self.send_about(None, 0, Kind::Synced(pb::WatchSynced {}))
                        .await?;
                    is_synced = true;
                }
                self.wait().await?;
            } else {
                self.advance(&turns).await?;
            }
        }
    }

    /// Gives turns to the projects that have changed, and adds created ones. Returns whether
    /// memberships of the user may have ended.
    fn enqueue_changed(&mut self) -> Result<bool> {
        let changes = self.watch.take_changed();
        for id in changes.changed {
            self.progress.enqueue(id);
        }
        let created: Vec<_> = changes.created.into_iter().collect();
        if self.watch.len() + created.len() > MAX_PROJECTS {
            return Err(Error::TooManyProjects(MAX_PROJECTS));
        }
        self.watch.add(&created)?;
        for id in created {
            self.progress.add(id, ProjectProgress::created());
        }
        Ok(changes.memberships)
    }

    /// Removes the projects that the caller cannot see any more. Ends a watch of all projects of an
    /// organization in which the user is no member any more, and one of a project whose organization
    /// is suspended or requires a second factor.
    async fn remove_invisible(&mut self) -> Result<(), StreamEnd> {
        if self.is_of_all {
            self.projects.require_organization(self.tenant).await?;
        }
        for ids in self.watch.projects().chunks(VISIBILITY_BATCH_SIZE) {
            let visible = self.projects.visible(self.tenant, ids).await?;
            let hidden: Vec<_> = ids
                .iter()
                .copied()
                .filter(|id| !visible.contains(id))
                .collect();
            if !hidden.is_empty() {
                self.projects
                    .require_unhindered(self.tenant, &hidden)
                    .await?;
            }
            for id in hidden {
                self.remove(id).await?;
            }
        }
        Ok(())
    }

    /// Whether the caller sees a project in the organization to which it belongs now.
    pub(super) async fn sees_in(
        &self,
        id: ProjectId,
        organization: OrganizationId,
    ) -> Result<bool> {
        if self.is_of_all && organization != self.tenant.organization {
            return Ok(false);
        }
        let visible = self.projects.visible(self.tenant, &[id]).await?;
        Ok(visible.contains(&id))
    }

    /// Removes a project whose row is deleted, after its last event.
    pub(super) async fn remove_if_gone(&mut self, id: ProjectId) -> Result<(), StreamEnd> {
        match self.watch.head(id).gone && self.has_begun(id) && self.unsent(id).is_none() {
            true => self.remove(id).await,
            false => Ok(()),
        }
    }

    /// Removes a project that the caller cannot see any more, and tells so.
    pub(super) async fn remove(&mut self, id: ProjectId) -> Result<(), StreamEnd> {
        self.authorization.check()?;
        if let Some(progress) = self.progress.get(id)
            && progress.is_known
            && !M::IS_SINGLE
        {
            let (revision, deleted) = (progress.revision, pb::ProjectDeleted {});
            self.send_about(Some(id), revision, Kind::ProjectDeleted(deleted))
                .await?;
        }
        self.forget(id)
    }

    /// Removes a project. The last of the named ones ends the watch.
    pub(super) fn forget(&mut self, id: ProjectId) -> Result<(), StreamEnd> {
        let removed = self.progress.remove(id);
        self.watch.remove(id);
        match removed.is_some() && self.progress.is_empty() && !self.is_of_all {
            true => Err(Error::not_found("project", id).into()),
            false => Ok(()),
        }
    }

    /// Waits for changes, and sends a heartbeat if one is due.
    async fn wait(&mut self) -> Result<(), StreamEnd> {
        let heartbeat_time = self.last_time + self.heartbeat_interval;
        tokio::select! {
            biased;
            () = self.closing.cancelled() => return Err(Error::Draining.into()),
            () = self.sender.closed() => return Err(StreamEnd::Closed),
            () = self.watch.changed() => {}
            () = sleep_until(heartbeat_time.min(Instant::now() + AUTHORIZATION_INTERVAL)) => {}
        }
        self.authorization.check()?;
        if heartbeat_time <= Instant::now() {
            let revision = match M::IS_SINGLE {
                true => self.last_revision,
                false => 0,
            };
            self.send_about(None, revision, Kind::Heartbeat(pb::WatchHeartbeat {}))
                .await?;
        }
        Ok(())
    }

    /// Sends what is not a change.
    pub(super) async fn send_about(
        &mut self,
        project_id: Option<ProjectId>,
        revision: i64,
        event: Kind,
    ) -> Result<(), StreamEnd> {
        let update = Update {
            project_id,
            revision,
            create_time: None,
            event,
        };
        self.send(update).await
    }

    /// Sends a message as soon as there is room, while the caller remains authorized.
    pub(super) async fn send(&mut self, update: Update) -> Result<(), StreamEnd> {
        let (project_id, revision) = (update.project_id, update.revision);
        let Some(message) = M::of(update) else {
            return Ok(());
        };
        self.authorization.check()?;
        let mut sent = std::pin::pin!(self.sender.send(message));
        loop {
            tokio::select! {
                biased;
                () = self.closing.cancelled() => return Err(Error::Draining.into()),
                sent = &mut sent => {
                    sent?;
                    break;
                }
                () = sleep(AUTHORIZATION_INTERVAL) => self.authorization.check()?,
            }
        }
        self.last_time = Instant::now();
        self.last_revision = revision;
        if let Some(progress) = project_id.and_then(|id| self.progress.get_mut(id)) {
            progress.revision = revision;
        }
        Ok(())
    }
}

//! What a watch sends of the projects that have a turn.

use std::{collections::HashMap, sync::Arc};

use super::{
    response_sender::StreamEnd,
    watch::WatchSession,
    watch_messages::{Update, WatchResponse, change_kind, issues_kind, snapshot_kind, stats_kind},
    watch_progress::{Phase, ProjectProgress},
};
use crate::{
    domain::{Change, Event, ProjectId, ProjectIssues},
    error::{Error, Result},
    proto::v1::{self as pb, watch_projects_response::Event as Kind},
    repositories::EventRange,
};

/// How many events one query reads, of all projects together.
const EVENT_BATCH_SIZE: i64 = 100;

impl<M: WatchResponse> WatchSession<M> {
    /// Sends what is due of some projects.
    pub(super) async fn advance(&mut self, ids: &[ProjectId]) -> Result<(), StreamEnd> {
        self.send_snapshots(ids).await?;
        self.send_events(ids).await?;
        self.send_synced(ids).await?;
        for id in ids {
            self.send_unrevised(*id).await?;
            self.remove_if_gone(*id).await?;
        }
        Ok(())
    }

    /// Sends the snapshots of the projects that begin with one, and the end of those that were
    /// deleted before.
    async fn send_snapshots(&mut self, ids: &[ProjectId]) -> Result<(), StreamEnd> {
        let mut due = Vec::new();
        for id in ids {
            let Some(progress) = self.progress.get(*id) else {
                continue;
            };
            let revision = progress.revision;
            match progress.phase {
                Phase::Deleted => self.remove(*id).await?,
                Phase::Snapshot => due.push(*id),
                Phase::Resync => {
                    self.send_about(Some(*id), revision, Kind::Resync(pb::WatchResync {}))
                        .await?;
                    due.push(*id);
                }
                Phase::CatchUp { .. } | Phase::Live => {}
            }
        }
        if due.is_empty() {
            return Ok(());
        }
        let snapshots = self.projects.snapshots(self.tenant, &due).await?;
        let snapshots = snapshots.into_iter();
        let mut snapshots: HashMap<_, _> = snapshots.map(|one| (one.project.id, one)).collect();
        for id in due {
            let Some(snapshot) = snapshots.remove(&id) else {
                self.remove(id).await?;
                continue;
            };
            let revision = snapshot.project.revision;
            let issues = ProjectIssues::of(snapshot.live.as_ref());
            let organization = snapshot.project.organization_id;
            self.send_about(Some(id), revision, snapshot_kind(snapshot))
                .await?;
            self.watch.begin_at(id, revision);
            if let Some(progress) = self.progress.get_mut(id) {
                progress.issues = issues;
                progress.organization = organization;
                progress.is_known = true;
                progress.phase = Phase::CatchUp {
                    until: revision,
                    is_resumed: false,
                };
            }
        }
        Ok(())
    }

    /// Sends the next events of projects, at most as many as one query reads.
    async fn send_events(&mut self, ids: &[ProjectId]) -> Result<(), StreamEnd> {
        let mut missing = Vec::new();
        for id in ids {
            let Some(range) = self.unsent(*id) else {
                continue;
            };
            match self.watch.after(*id, range.after) {
                Some(events) => self.send_each(*id, events.iter().map(Arc::as_ref)).await?,
                None => missing.push(range),
            }
            // Another turn if there are more, and after a gap.
            if self.unsent(*id).is_some() || !self.has_begun(*id) {
                self.progress.enqueue(*id);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let of_each = EVENT_BATCH_SIZE / i64::try_from(missing.len()).unwrap_or(i64::MAX);
        for range in &mut missing {
            range.until = range.until.min(range.after + of_each.max(1));
        }
        let mut events: HashMap<_, Vec<_>> = HashMap::new();
        for (id, event) in self.events.within(&missing).await? {
            events.entry(id).or_default().push(event);
        }
        for range in missing {
            let id = range.project_id;
            match events.remove(&id) {
                Some(events) => self.send_each(id, events.iter()).await?,
                // They have been deleted in the meantime.
                None => self.resync(id)?,
            }
        }
        Ok(())
    }

    /// The events that are due of a project; `None` if there are none.
    pub(super) fn unsent(&self, id: ProjectId) -> Option<EventRange> {
        let progress = self.progress.get(id)?;
        let head = self.watch.head(id).revision;
        let until = match progress.phase {
            Phase::CatchUp { until, .. } => head.max(until),
            Phase::Live => head,
            Phase::Snapshot | Phase::Resync | Phase::Deleted => return None,
        };
        (progress.revision < until).then_some(EventRange {
            project_id: id,
            after: progress.revision,
            until,
        })
    }

    pub(super) fn has_begun(&self, id: ProjectId) -> bool {
        self.progress.get(id).is_none_or(ProjectProgress::has_begun)
    }

    /// Sends events of a project until one is missing.
    async fn send_each<'a>(
        &mut self,
        id: ProjectId,
        events: impl Iterator<Item = &'a Event>,
    ) -> Result<(), StreamEnd> {
        for event in events {
            let Some(progress) = self.progress.get_mut(id) else {
                return Ok(());
            };
            if event.revision != progress.revision + 1 {
                return Ok(self.resync(id)?);
            }
            if let Change::Project(project) = &event.change
                && let Some(organization) = project.organization_id
                && progress.organization.replace(organization) != Some(organization)
                && !self.sees_in(id, organization).await?
            {
                return self.remove(id).await;
            }
            let Some(progress) = self.progress.get_mut(id) else {
                return Ok(());
            };
            let has_issues_changed = progress.issues.apply(&event.change);
            let is_live = progress.phase == Phase::Live;
            self.send(Update {
                project_id: Some(id),
                revision: event.revision,
                create_time: Some(event.create_time),
                event: change_kind(event.change.clone()),
            })
            .await?;
            if matches!(event.change, Change::ProjectDeleted) {
                return self.forget(id);
            }
            if has_issues_changed && is_live {
                self.send_issues(id).await?;
            }
        }
        Ok(())
    }

    /// Begins a project again, because events are missing; ends a watch of one project.
    fn resync(&mut self, id: ProjectId) -> Result<()> {
        if M::IS_SINGLE {
            return Err(Error::ResyncRequired);
        }
        if let Some(progress) = self.progress.get_mut(id) {
            progress.phase = Phase::Resync;
            self.progress.enqueue(id);
        }
        Ok(())
    }

    /// Sends that projects are synced, after their issues.
    async fn send_synced(&mut self, ids: &[ProjectId]) -> Result<(), StreamEnd> {
        let (mut synced, mut resumed) = (Vec::new(), Vec::new());
        for id in ids {
            match self.progress.get(*id) {
                Some(ProjectProgress {
                    revision,
                    phase: Phase::CatchUp { until, is_resumed },
                    ..
                }) if revision >= until => {
                    synced.push(*id);
                    resumed.extend(is_resumed.then_some(*id));
                }
                _ => {}
            }
        }
        if !M::IS_SINGLE && !resumed.is_empty() {
            // Events that are older than this state are followed by those that lead to it.
            let live = self.streams.live(&resumed).await?;
            for id in resumed {
                if let Some(progress) = self.progress.get_mut(id) {
                    progress.issues = ProjectIssues::of(live.get(&id));
                }
            }
        }
        for id in synced {
            let Some(progress) = self.progress.get(id) else {
                continue;
            };
            let revision = progress.revision;
            if !progress.issues.is_empty() {
                self.send_issues(id).await?;
            }
            self.send_about(Some(id), revision, Kind::Synced(pb::WatchSynced {}))
                .await?;
            self.progress.set_synced(id);
        }
        Ok(())
    }

    async fn send_issues(&mut self, id: ProjectId) -> Result<(), StreamEnd> {
        let Some(progress) = self.progress.get(id) else {
            return Ok(());
        };
        let (revision, issues) = (progress.revision, issues_kind(&progress.issues));
        self.send_about(Some(id), revision, issues).await
    }

    /// Sends refused publishes and statistics, which have no revision.
    async fn send_unrevised(&mut self, id: ProjectId) -> Result<(), StreamEnd> {
        let progress = self.progress.get_mut(id);
        let Some(progress) = progress.filter(|progress| progress.phase == Phase::Live) else {
            return Ok(());
        };
        let revision = progress.revision;
        let refusals = self.watch.refusals_after(id, progress.refusal);
        let stats = self.watch.stats_after(id, progress.stats);
        if let Some((newest, _)) = refusals.last() {
            progress.refusal = *newest;
        }
        if let Some((newest, _)) = &stats {
            progress.stats = *newest;
        }
        for (_, refusal) in refusals {
            self.send(Update {
                project_id: Some(id),
                revision,
                create_time: Some(refusal.create_time),
                event: Kind::PublisherRefused(pb::Refusal::from(refusal.as_ref().clone())),
            })
            .await?;
        }
        if let Some((_, live)) = stats {
            self.send_about(Some(id), revision, stats_kind(&live))
                .await?;
        }
        Ok(())
    }
}

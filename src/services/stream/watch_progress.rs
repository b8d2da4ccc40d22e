use std::collections::{HashMap, HashSet, VecDeque};

use crate::domain::{OrganizationId, ProjectId, ProjectIssues};

/// What a watch does next for a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Send a snapshot.
    Snapshot,
    /// Send that events are missing, then a snapshot.
    Resync,
    /// Send that the project was deleted.
    Deleted,
    /// Send the events up to a revision, then that the project is synced.
    CatchUp {
        /// The revision.
        until: i64,
        /// Whether the watch began with a revision instead of a snapshot.
        is_resumed: bool,
    },
    /// Send events as they happen.
    Live,
}

/// How far a watch has come with one project.
#[derive(Debug)]
pub(super) struct ProjectProgress {
    /// The revision sent last.
    pub revision: i64,
    /// What is next.
    pub phase: Phase,
    /// Whether it is one of the projects of the start that are not synced yet.
    pub is_initial: bool,
    /// Whether a message of it has been sent, or the caller has named it.
    pub is_known: bool,
    /// Its present issues.
    pub issues: ProjectIssues,
    /// The number of the refused publish sent last.
    pub refusal: u64,
    /// The number of the statistics sent last.
    pub stats: u64,
    /// The organization that it belonged to when it was last sent; `None` if it was not.
    pub organization: Option<OrganizationId>,
}

impl ProjectProgress {
    /// A project of the start, after a revision.
    pub fn initial(revision: i64, phase: Phase) -> Self {
        Self {
            revision,
            phase,
            is_initial: true,
            is_known: true,
            issues: ProjectIssues::default(),
            refusal: 0,
            stats: 0,
            organization: None,
        }
    }

    /// A project that was created during the watch.
    pub fn created() -> Self {
        Self {
            is_initial: false,
            is_known: false,
            ..Self::initial(0, Phase::Snapshot)
        }
    }

    /// Whether events can be sent.
    pub fn has_begun(&self) -> bool {
        matches!(self.phase, Phase::CatchUp { .. } | Phase::Live)
    }
}

/// How far a watch has come with its projects, and which of them have something to send.
///
/// The projects take turns, so that a busy one does not delay the others.
#[derive(Debug, Default)]
pub(super) struct WatchProgress {
    projects: HashMap<ProjectId, ProjectProgress>,
    turns: VecDeque<ProjectId>,
    queued: HashSet<ProjectId>,
    /// The number of projects that are initial.
    initial: usize,
}

impl WatchProgress {
    /// Adds a project, which has something to send.
    pub fn add(&mut self, id: ProjectId, progress: ProjectProgress) {
        self.initial += usize::from(progress.is_initial);
        self.projects.insert(id, progress);
        self.enqueue(id);
    }

    /// Removes a project.
    pub fn remove(&mut self, id: ProjectId) -> Option<ProjectProgress> {
        let removed = self.projects.remove(&id)?;
        self.initial -= usize::from(removed.is_initial);
        Some(removed)
    }

    /// A project that is watched.
    pub fn get(&self, id: ProjectId) -> Option<&ProjectProgress> {
        self.projects.get(&id)
    }

    /// A project that is watched, for a change.
    pub fn get_mut(&mut self, id: ProjectId) -> Option<&mut ProjectProgress> {
        self.projects.get_mut(&id)
    }

    /// Sets that a project is synced.
    pub fn set_synced(&mut self, id: ProjectId) {
        if let Some(progress) = self.projects.get_mut(&id) {
            progress.phase = Phase::Live;
            self.initial -= usize::from(std::mem::take(&mut progress.is_initial));
        }
    }

    /// Whether all projects of the start are synced.
    pub fn is_synced(&self) -> bool {
        self.initial == 0
    }

    /// Whether there are no projects.
    pub fn is_empty(&self) -> bool {
        self.projects.is_empty()
    }

    /// Gives a project a turn.
    pub fn enqueue(&mut self, id: ProjectId) {
        if self.queued.insert(id) {
            self.turns.push_back(id);
        }
    }

    /// Takes the projects that have the next turns.
    pub fn next_turns(&mut self, count: usize) -> Vec<ProjectId> {
        let count = count.min(self.turns.len());
        let turns: Vec<_> = self.turns.drain(..count).collect();
        for id in &turns {
            self.queued.remove(id);
        }
        turns
    }
}

use std::collections::BTreeMap;

use sluice::proto::v1::{self as pb, watch_project_response::Event};

use super::{watches::WatchedProject, writer::Writer};

/// Renames the watched project.
pub struct Renames {
    project: WatchedProject,
    /// What distinguishes the names of this writer.
    label: &'static str,
    /// Acknowledged names by revision.
    names: BTreeMap<i64, String>,
}

impl Renames {
    pub fn new(project: &WatchedProject, label: &'static str) -> Self {
        Self {
            project: project.clone(),
            label,
            names: BTreeMap::new(),
        }
    }
}

impl Writer for Renames {
    async fn write(&mut self, number: usize) {
        let name = format!("Name {number} of {}", self.label);
        let request = pb::UpdateProjectRequest {
            project_id: self.project.id.clone(),
            display_name: Some(name.clone()),
            ..Default::default()
        };
        let owner = &self.project.owner;
        let answer = owner
            .write("UpdateProject", async |mut client| {
                client.project.update_project(request.clone()).await
            })
            .await;
        let revision = answer.project.unwrap().revision;
        let earlier = self.names.insert(revision, name);
        assert!(earlier.is_none(), "a revision is taken once");
    }

    async fn check(&self) {
        let events = self.project.history().await;
        for (revision, name) in &self.names {
            let Event::ProjectUpdated(project) = &events[revision] else {
                panic!("{revision} gave a name");
            };
            assert_eq!(&project.display_name, name);
        }
    }
}

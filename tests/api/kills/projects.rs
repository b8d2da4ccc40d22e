use sluice::proto::v1 as pb;
use tonic::Code;

use super::{
    caller::{Caller, project_request},
    writer::Writer,
};

/// Creates and deletes projects.
pub struct Projects {
    owner: Caller,
    projects: Vec<Project>,
}

/// The acknowledged state of a project.
struct Project {
    request: pb::CreateProjectRequest,
    created: pb::CreateProjectResponse,
    is_deleted: bool,
}

impl Projects {
    pub fn new(owner: &Caller) -> Self {
        Self {
            owner: owner.clone(),
            projects: Vec::new(),
        }
    }

    async fn assert_exists(&self, created: &pb::CreateProjectResponse) {
        let project_id = created.project.as_ref().unwrap().id.clone();
        let get = pb::GetProjectRequest {
            project_id: project_id.clone(),
            ..Default::default()
        };
        let answer = self
            .owner
            .read("GetProject", async |mut client| {
                client.project.get_project(get.clone()).await
            })
            .await;
        assert_eq!(answer.project, created.project);
        let reveal = pb::RevealStreamKeyRequest { project_id };
        let answer = self
            .owner
            .read("RevealStreamKey", async |mut client| {
                client.project.reveal_stream_key(reveal.clone()).await
            })
            .await;
        assert_eq!(answer.stream_key, created.stream_key);
    }
}

impl Writer for Projects {
    async fn write(&mut self, number: usize) {
        let request = project_request(&format!("Project {number}"));
        let created = self.owner.create_project_as(&request).await;
        let is_deleted = number % 2 == 1;
        if is_deleted {
            self.assert_exists(&created).await;
            let delete = pb::DeleteProjectRequest {
                project_id: created.project.as_ref().unwrap().id.clone(),
                force: false,
                ..Default::default()
            };
            self.owner
                .write_once(
                    "DeleteProject",
                    &["RESOURCE_NOT_FOUND"],
                    async |mut client| client.project.delete_project(delete.clone()).await,
                )
                .await;
        }
        self.projects.push(Project {
            request,
            created,
            is_deleted,
        });
    }

    async fn check(&self) {
        for project in &self.projects {
            if !project.is_deleted {
                self.assert_exists(&project.created).await;
                // The same request id returns the same project.
                let again = self.owner.create_project_as(&project.request).await;
                assert_eq!(again, project.created);
                continue;
            }
            let get = pb::GetProjectRequest {
                project_id: project.created.project.as_ref().unwrap().id.clone(),
                ..Default::default()
            };
            let refusal = self
                .owner
                .refusal("GetProject", async |mut client| {
                    client.project.get_project(get.clone()).await
                })
                .await;
            assert_eq!(refusal.class(), (Code::NotFound, "RESOURCE_NOT_FOUND"));
            let refusal = self
                .owner
                .refusal("CreateProject", async |mut client| {
                    client.project.create_project(project.request.clone()).await
                })
                .await;
            assert_eq!(refusal.class(), (Code::NotFound, "RESOURCE_NOT_FOUND"));
        }
    }
}

//! The users of the load and their calls.

use std::sync::Arc;

use anyhow::Context;
use sluice::proto::v1::{
    self as pb, auth_service_client::AuthServiceClient,
    project_service_client::ProjectServiceClient,
};
use tokio::{sync::Semaphore, task::JoinSet};
use tonic::{Request, transport::Channel};

use crate::{
    caller::{Call, User},
    servers::Program,
};

/// The password of all users.
pub const PASSWORD: &str = "correct horse battery staple";

/// Projects per user.
const PROJECTS_PER_USER: usize = 3;

/// A user with projects.
#[derive(Clone)]
pub struct Account {
    pub email: String,
    pub user_id: String,
    pub token: String,
    pub project_ids: Vec<String>,
    destination_id: String,
}

/// Signs up `count` users with projects.
pub async fn accounts(
    server: &Program,
    prefix: &str,
    count: usize,
) -> anyhow::Result<Vec<Account>> {
    let address = format!("http://{}", server.address);
    let channel = Channel::from_shared(address)?.connect().await?;
    let permits = Arc::new(Semaphore::new(6));
    let mut tasks = JoinSet::new();
    for number in 0..count {
        let (channel, permits) = (channel.clone(), Arc::clone(&permits));
        let email = format!("{prefix}{number}@example.com");
        tasks.spawn(async move {
            let _permit = permits.acquire().await?;
            account(channel, email).await
        });
    }
    tasks.join_all().await.into_iter().collect()
}

async fn account(channel: Channel, email: String) -> anyhow::Result<Account> {
    let request = pb::SignUpRequest {
        email: email.clone(),
        password: PASSWORD.to_owned(),
        display_name: "Ada".to_owned(),
        request_id: String::new(),
    };
    let answer = AuthServiceClient::new(channel.clone())
        .sign_up(request)
        .await?
        .into_inner();
    let token = answer.tokens.context("tokens")?.access_token;
    let mut projects = ProjectServiceClient::new(channel);
    let mut project_ids = Vec::new();
    for _ in 0..PROJECTS_PER_USER {
        let created = projects.create_project(authorized(new_project(), &token)?);
        let project = created.await?.into_inner().project;
        project_ids.push(project.context("a project")?.id);
    }
    let destination = pb::CreateDestinationRequest {
        project_id: project_ids[0].clone(),
        platform: pb::Platform::Youtube.into(),
        display_name: "Main channel".to_owned(),
        stream_key: "abcd-efgh-ijkl-mnop-qrst".to_owned(),
        ..Default::default()
    };
    let created = projects.create_destination(authorized(destination, &token)?);
    let destination = created.await?.into_inner().destination;
    Ok(Account {
        email,
        user_id: answer.user.context("a user")?.id,
        token,
        project_ids,
        destination_id: destination.context("a destination")?.id,
    })
}

fn authorized<T>(message: T, token: &str) -> anyhow::Result<Request<T>> {
    let mut request = Request::new(message);
    let bearer = format!("Bearer {token}").parse()?;
    request.metadata_mut().insert("authorization", bearer);
    Ok(request)
}

fn new_project() -> pb::CreateProjectRequest {
    pb::CreateProjectRequest {
        display_name: "Show".to_owned(),
        ..Default::default()
    }
}

impl Account {
    /// Reads one project after another.
    pub fn reader(&self) -> User {
        let projects = self.project_ids.iter();
        projects.map(|id| self.get_project(id)).collect()
    }

    /// The same for a minimal server, with the owner in a header.
    pub fn bare_reader(&self) -> User {
        let calls = self.reader().into_iter();
        calls
            .map(|call| call.with("owner", &self.user_id))
            .collect()
    }

    /// The same with another token.
    pub fn reader_with(&self, token: &str) -> User {
        let other = Self {
            token: token.to_owned(),
            ..self.clone()
        };
        other.reader()
    }

    /// Creates projects.
    pub fn creator(&self) -> User {
        vec![self.call("ProjectService/CreateProject", &new_project())]
    }

    /// Nine reads, then one write.
    pub fn dashboard(&self) -> User {
        let mut calls = self.reader();
        calls.extend(self.reader());
        for _ in 0..2 {
            calls.push(self.call(
                "ProjectService/ListProjects",
                &pb::ListProjectsRequest::default(),
            ));
        }
        calls.push(self.call("AuthService/GetMe", &pb::GetMeRequest {}));
        let rename = pb::UpdateProjectRequest {
            project_id: self.project_ids[0].clone(),
            display_name: Some("Renamed".to_owned()),
            ..Default::default()
        };
        calls.push(self.call("ProjectService/UpdateProject", &rename));
        calls
    }

    /// Reads one project after another with all that belongs to it.
    pub fn viewer(&self) -> User {
        let projects = self.project_ids.iter();
        let full = projects.map(|id| pb::GetProjectRequest {
            project_id: id.clone(),
            view: pb::ProjectView::Full.into(),
        });
        full.map(|request| self.call("ProjectService/GetProject", &request))
            .collect()
    }

    /// Reads the same with three calls for each project.
    pub fn separate_viewer(&self) -> User {
        let calls = self.project_ids.iter().flat_map(|id| {
            let destinations = pb::ListDestinationsRequest {
                project_id: id.clone(),
                ..Default::default()
            };
            let streams = pb::ListStreamsRequest {
                project_id: id.clone(),
                page_size: 1,
                ..Default::default()
            };
            [
                self.get_project(id),
                self.call("ProjectService/ListDestinations", &destinations),
                self.call("StreamService/ListStreams", &streams),
            ]
        });
        calls.collect()
    }

    /// Reads the destinations of a project, then changes one.
    pub fn editor(&self) -> User {
        let list = pb::ListDestinationsRequest {
            project_id: self.project_ids[0].clone(),
            ..Default::default()
        };
        let rename = pb::UpdateDestinationRequest {
            destination_id: self.destination_id.clone(),
            display_name: Some("Renamed".to_owned()),
            ..Default::default()
        };
        vec![
            self.call("ProjectService/ListDestinations", &list),
            self.call("ProjectService/UpdateDestination", &rename),
        ]
    }

    /// Signs in, from an address of its own: each has a share of the password queue.
    pub fn visitor(&self, number: usize) -> User {
        let request = pb::SignInRequest {
            email: self.email.clone(),
            password: PASSWORD.to_owned(),
            ..Default::default()
        };
        let sign_in = Call::new("sluice.v1.AuthService/SignIn", None, &request);
        vec![sign_in.with("x-forwarded-for", &format!("198.51.100.{number}"))]
    }

    fn get_project(&self, id: &str) -> Call {
        let request = pb::GetProjectRequest {
            project_id: id.to_owned(),
            ..Default::default()
        };
        self.call("ProjectService/GetProject", &request)
    }

    fn call(&self, rpc: &str, message: &impl prost::Message) -> Call {
        Call::new(&format!("sluice.v1.{rpc}"), Some(&self.token), message)
    }
}

use std::{future::Future, time::Duration};

use sluice::proto::v1 as pb;
use tokio::{task::JoinSet, time::interval};
use tokio_util::sync::CancellationToken;
use tonic::{Status, transport::Channel};

use super::{Client, TestServer, User};

/// Calls of users in the background. Each round uses the results of one replica at the other.
pub struct BackgroundCalls {
    stop: CancellationToken,
    tasks: JoinSet<(&'static str, Result<u64, Status>)>,
}

impl BackgroundCalls {
    /// Starts calls to a server and its replica.
    pub async fn start(server: &TestServer, replica: &Channel) -> Self {
        let mut calls = Self {
            stop: CancellationToken::new(),
            tasks: JoinSet::new(),
        };
        calls.add("sign in", server, replica, sign_in).await;
        calls.add("refresh", server, replica, refresh).await;
        calls.add("reveal", server, replica, reveal).await;
        calls.add("list", server, replica, list).await;
        calls
            .add("repeat create", server, replica, repeat_create)
            .await;
        calls.add("rename", server, replica, rename).await;
        calls
    }

    /// Stops the calls. Asserts that all of them have succeeded.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            let (name, rounds) = ended.unwrap();
            let rounds = rounds.unwrap_or_else(|status| panic!("{name}: {status:?}"));
            assert!(rounds > 2, "{name}: {rounds}");
        }
    }

    async fn add<F>(
        &mut self,
        name: &'static str,
        server: &TestServer,
        replica: &Channel,
        round: fn(User, Channel, Channel) -> F,
    ) where
        F: Future<Output = Result<User, Status>> + Send + 'static,
    {
        let stop = self.stop.clone();
        let mut user = server.user().await;
        user.project().await;
        let mut channels = [server.channel.clone(), replica.clone()];
        self.tasks.spawn(async move {
            let mut ticks = interval(Duration::from_millis(100));
            let mut rounds = 0;
            while !stop.is_cancelled() {
                ticks.tick().await;
                let [replica_a, replica_b] = channels.clone();
                match round(user, replica_a, replica_b).await {
                    Ok(updated) => user = updated,
                    Err(status) => return (name, Err(status)),
                }
                channels.swap(0, 1);
                rounds += 1;
            }
            (name, Ok(rounds))
        });
    }
}

async fn sign_in(user: User, replica_a: Channel, replica_b: Channel) -> Result<User, Status> {
    let request = pb::SignInRequest {
        email: user.email.clone(),
        password: user.password.to_owned(),
        ..Default::default()
    };
    let answer = Client::anonymous(&replica_a).auth.sign_in(request).await?;
    let tokens = answer.into_inner().tokens.unwrap();
    let mut other = Client::with_token(&replica_b, &tokens.access_token).auth;
    other.get_me(pb::GetMeRequest {}).await?;
    // The token of the sign-up still works.
    let mut first = Client::with_token(&replica_b, &user.tokens.access_token).auth;
    first.get_me(pb::GetMeRequest {}).await?;
    Ok(user)
}

async fn refresh(mut user: User, replica_a: Channel, replica_b: Channel) -> Result<User, Status> {
    let request = pb::RefreshTokensRequest {
        refresh_token: user.tokens.refresh_token.clone(),
    };
    let answer = Client::anonymous(&replica_a)
        .auth
        .refresh_tokens(request)
        .await?;
    user.tokens = answer.into_inner().tokens.unwrap();
    let mut other = Client::with_token(&replica_b, &user.tokens.access_token).auth;
    other.get_me(pb::GetMeRequest {}).await?;
    Ok(user)
}

async fn reveal(user: User, replica_a: Channel, replica_b: Channel) -> Result<User, Status> {
    let (mut client_a, mut client_b) = clients(&user, &replica_a, &replica_b);
    let list = pb::ListProjectsRequest::default();
    let projects = client_a
        .project
        .list_projects(list)
        .await?
        .into_inner()
        .projects;
    let project_id = projects[0].id.clone();
    let rotation = pb::RotateStreamKeyRequest {
        project_id: project_id.clone(),
        grace: None,
        ..Default::default()
    };
    let rotated = client_a.project.rotate_stream_key(rotation).await?;
    let request = pb::RevealStreamKeyRequest { project_id };
    let revealed = client_b.project.reveal_stream_key(request).await?;
    assert_eq!(
        revealed.into_inner().stream_key,
        rotated.into_inner().stream_key
    );
    Ok(user)
}

async fn list(user: User, replica_a: Channel, replica_b: Channel) -> Result<User, Status> {
    let (mut client_a, mut client_b) = clients(&user, &replica_a, &replica_b);
    let mut page = pb::ListProjectsRequest {
        page_size: 1,
        ..Default::default()
    };
    let first = client_a
        .project
        .list_projects(page.clone())
        .await?
        .into_inner();
    if first.next_page_token.is_empty() {
        user.project().await;
        return Ok(user);
    }
    page.page_token = first.next_page_token;
    client_b.project.list_projects(page).await?;
    Ok(user)
}

async fn repeat_create(user: User, replica_a: Channel, replica_b: Channel) -> Result<User, Status> {
    let (mut client_a, mut client_b) = clients(&user, &replica_a, &replica_b);
    let request = pb::CreateProjectRequest {
        display_name: "Show".to_owned(),
        request_id: uuid::Uuid::now_v7().to_string(),
        ..Default::default()
    };
    let first = client_a.project.create_project(request.clone()).await?;
    let second = client_b.project.create_project(request).await?;
    assert_eq!(first.into_inner(), second.into_inner());
    Ok(user)
}

async fn rename(user: User, replica_a: Channel, replica_b: Channel) -> Result<User, Status> {
    let (mut client_a, mut client_b) = clients(&user, &replica_a, &replica_b);
    let list = pb::ListProjectsRequest::default();
    let projects = client_a
        .project
        .list_projects(list)
        .await?
        .into_inner()
        .projects;
    let list = pb::ListDestinationsRequest {
        project_id: projects[0].id.clone(),
        ..Default::default()
    };
    let found = client_b.project.list_destinations(list).await?.into_inner();
    let Some(destination) = found.destinations.into_iter().next() else {
        let request = pb::CreateDestinationRequest {
            project_id: projects[0].id.clone(),
            platform: pb::Platform::Youtube.into(),
            display_name: "Main channel".to_owned(),
            stream_key: "abcd-efgh-ijkl-mnop-qrst".to_owned(),
            ..Default::default()
        };
        client_a.project.create_destination(request).await?;
        return Ok(user);
    };
    let request = pb::UpdateDestinationRequest {
        destination_id: destination.id.clone(),
        display_name: Some("Another channel".to_owned()),
        ..Default::default()
    };
    client_a.project.update_destination(request).await?;
    // A new URL on the same server keeps the stored key.
    let request = pb::UpdateDestinationRequest {
        destination_id: destination.id,
        url: Some(destination.url),
        ..Default::default()
    };
    client_b.project.update_destination(request).await?;
    Ok(user)
}

fn clients(user: &User, replica_a: &Channel, replica_b: &Channel) -> (Client, Client) {
    let token = &user.tokens.access_token;
    (
        Client::with_token(replica_a, token),
        Client::with_token(replica_b, token),
    )
}

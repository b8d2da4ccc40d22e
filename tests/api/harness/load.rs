use std::{future::Future, time::Duration};

use sluice::proto::v1 as pb;
use tokio::{task::JoinSet, time::interval};
use tokio_util::sync::CancellationToken;
use tonic::{Status, transport::Channel};

use super::{Client, TestServer, User};

/// Users of two replicas: what one replica gave goes to the other at once.
pub struct Load {
    stop: CancellationToken,
    tasks: JoinSet<(&'static str, Result<u64, Status>)>,
}

/// One user's connections: they change sides after each round.
struct Sides {
    here: Channel,
    there: Channel,
}

impl Load {
    /// Begins to call a server and its replica.
    pub async fn start(server: &TestServer, replica: &Channel) -> Self {
        let mut load = Self {
            stop: CancellationToken::new(),
            tasks: JoinSet::new(),
        };
        load.add("sign in", server, replica, sign_in).await;
        load.add("refresh", server, replica, refresh).await;
        load.add("reveal", server, replica, reveal).await;
        load.add("list", server, replica, list).await;
        load.add("create again", server, replica, create_again)
            .await;
        load.add("rename", server, replica, rename).await;
        load
    }

    /// Ends the calls; all of them must have succeeded.
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
        let mut sides = Sides {
            here: server.channel.clone(),
            there: replica.clone(),
        };
        self.tasks.spawn(async move {
            let mut pace = interval(Duration::from_millis(100));
            let mut rounds = 0;
            while !stop.is_cancelled() {
                pace.tick().await;
                match round(user, sides.here.clone(), sides.there.clone()).await {
                    Ok(same) => user = same,
                    Err(status) => return (name, Err(status)),
                }
                std::mem::swap(&mut sides.here, &mut sides.there);
                rounds += 1;
            }
            (name, Ok(rounds))
        });
    }
}

async fn sign_in(user: User, here: Channel, there: Channel) -> Result<User, Status> {
    let request = pb::SignInRequest {
        email: user.email.clone(),
        password: user.password.to_owned(),
    };
    let answer = Client::anonymous(&here).auth.sign_in(request).await?;
    let tokens = answer.into_inner().tokens.unwrap();
    let mut other = Client::with_token(&there, &tokens.access_token).auth;
    other.get_me(pb::GetMeRequest {}).await?;
    // The token from before all this still works.
    let mut first = Client::with_token(&there, &user.tokens.access_token).auth;
    first.get_me(pb::GetMeRequest {}).await?;
    Ok(user)
}

async fn refresh(mut user: User, here: Channel, there: Channel) -> Result<User, Status> {
    let request = pb::RefreshTokensRequest {
        refresh_token: user.tokens.refresh_token.clone(),
    };
    let answer = Client::anonymous(&here)
        .auth
        .refresh_tokens(request)
        .await?;
    user.tokens = answer.into_inner().tokens.unwrap();
    let mut other = Client::with_token(&there, &user.tokens.access_token).auth;
    other.get_me(pb::GetMeRequest {}).await?;
    Ok(user)
}

async fn reveal(user: User, here: Channel, there: Channel) -> Result<User, Status> {
    let (mut here, mut there) = clients(&user, &here, &there);
    let list = pb::ListProjectsRequest::default();
    let projects = here
        .project
        .list_projects(list)
        .await?
        .into_inner()
        .projects;
    let project_id = projects[0].id.clone();
    let rotation = pb::RotateStreamKeyRequest {
        project_id: project_id.clone(),
        grace: None,
    };
    let rotated = here.project.rotate_stream_key(rotation).await?;
    let request = pb::RevealStreamKeyRequest { project_id };
    let revealed = there.project.reveal_stream_key(request).await?;
    assert_eq!(
        revealed.into_inner().stream_key,
        rotated.into_inner().stream_key
    );
    Ok(user)
}

async fn list(user: User, here: Channel, there: Channel) -> Result<User, Status> {
    let (mut here, mut there) = clients(&user, &here, &there);
    let mut page = pb::ListProjectsRequest {
        page_size: 1,
        ..Default::default()
    };
    let first = here.project.list_projects(page.clone()).await?.into_inner();
    if first.next_page_token.is_empty() {
        user.project().await;
        return Ok(user);
    }
    page.page_token = first.next_page_token;
    there.project.list_projects(page).await?;
    Ok(user)
}

async fn create_again(user: User, here: Channel, there: Channel) -> Result<User, Status> {
    let (mut here, mut there) = clients(&user, &here, &there);
    let request = pb::CreateProjectRequest {
        name: "Show".to_owned(),
        request_id: uuid::Uuid::now_v7().to_string(),
        ..Default::default()
    };
    let first = here.project.create_project(request.clone()).await?;
    let second = there.project.create_project(request).await?;
    assert_eq!(first.into_inner(), second.into_inner());
    Ok(user)
}

async fn rename(user: User, here: Channel, there: Channel) -> Result<User, Status> {
    let (mut here, mut there) = clients(&user, &here, &there);
    let list = pb::ListProjectsRequest::default();
    let projects = here
        .project
        .list_projects(list)
        .await?
        .into_inner()
        .projects;
    let list = pb::ListDestinationsRequest {
        project_id: projects[0].id.clone(),
        ..Default::default()
    };
    let found = there.project.list_destinations(list).await?.into_inner();
    let Some(destination) = found.destinations.into_iter().next() else {
        let request = pb::CreateDestinationRequest {
            project_id: projects[0].id.clone(),
            platform: pb::Platform::Youtube.into(),
            name: "Main channel".to_owned(),
            stream_key: "abcd-efgh-ijkl-mnop-qrst".to_owned(),
            ..Default::default()
        };
        here.project.create_destination(request).await?;
        return Ok(user);
    };
    let request = pb::UpdateDestinationRequest {
        destination_id: destination.id.clone(),
        name: Some("Another channel".to_owned()),
        ..Default::default()
    };
    here.project.update_destination(request).await?;
    // Takes the key that is kept to another path of the same server.
    let request = pb::UpdateDestinationRequest {
        destination_id: destination.id,
        url: Some(destination.url),
        ..Default::default()
    };
    there.project.update_destination(request).await?;
    Ok(user)
}

fn clients(user: &User, here: &Channel, there: &Channel) -> (Client, Client) {
    let token = &user.tokens.access_token;
    (
        Client::with_token(here, token),
        Client::with_token(there, token),
    )
}

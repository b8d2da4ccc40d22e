//! The user who owns all projects.

use std::sync::Arc;

use anyhow::Context;
use sluice::proto::v1::{
    self as pb, auth_service_client::AuthServiceClient, stream_service_client::StreamServiceClient,
    watch_project_response::Event,
};
use tokio::task::JoinSet;
use tonic::{Request, transport::Channel};

use crate::{edge::Latencies, seed::SeededProject, servers::Program};

/// The user who owns all projects.
pub struct Owner {
    pub user_id: String,
    token: String,
}

impl Owner {
    pub async fn sign_up(server: &Program) -> anyhow::Result<Self> {
        let address = format!("http://{}", server.address);
        let channel = Channel::from_shared(address)?.connect().await?;
        let request = pb::SignUpRequest {
            email: "fleet@example.com".to_owned(),
            password: "correct horse battery staple".to_owned(),
            display_name: "Fleet".to_owned(),
            ..Default::default()
        };
        let answer = AuthServiceClient::new(channel).sign_up(request);
        let answer = answer.await?.into_inner();
        Ok(Self {
            user_id: answer.user.context("a user")?.id,
            token: answer.tokens.context("tokens")?.access_token,
        })
    }

    /// Watches projects until the tasks are dropped, each with a call of its own.
    pub async fn watch(
        &self,
        channel: &Channel,
        projects: &[SeededProject],
        latencies: &Arc<Latencies>,
    ) -> anyhow::Result<JoinSet<()>> {
        let mut watchers = JoinSet::new();
        for project in projects {
            let mut request = Request::new(pb::WatchProjectRequest {
                project_id: project.id.clone(),
                after_revision: 0,
            });
            let token = format!("Bearer {}", self.token).parse()?;
            request.metadata_mut().insert("authorization", token);
            let mut streams = StreamServiceClient::new(channel.clone());
            let mut watch = streams.watch_project(request).await?.into_inner();
            let (id, latencies) = (project.id.clone(), Arc::clone(latencies));
            watchers.spawn(async move {
                let mut known = String::new();
                while let Ok(Some(message)) = watch.message().await {
                    match message.event {
                        Some(Event::Snapshot(snapshot)) => {
                            known = snapshot.stream.unwrap_or_default().id;
                        }
                        Some(Event::StreamChanged(stream))
                            if stream.state() == pb::StreamState::Live && stream.id != known =>
                        {
                            latencies.watched(&id);
                            known = stream.id;
                        }
                        _ => {}
                    }
                }
            });
        }
        Ok(watchers)
    }
}

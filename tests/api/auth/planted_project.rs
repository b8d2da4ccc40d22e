//! What somebody plants in an account that is not theirs: a project with a known stream key, two
//! destinations, a webhook, a live stream, and a key that was replaced with a grace period.

use sluice::proto::v1 as pb;
use tonic::Code;

use crate::{
    harness::{Client, MediaServer, TestServer, User, Watcher, refused},
    project::fixtures::{create_destination, custom_destination, youtube_destination},
    webhooks::fixture::create_quiet,
};

pub struct PlantedProject {
    project: pb::Project,
    /// The keys that work: the current one, and the one before it.
    keys: [String; 2],
    destinations: Vec<pb::Destination>,
    webhook: pb::Webhook,
    stream: pb::Stream,
    node: MediaServer,
}

impl PlantedProject {
    pub async fn create(server: &TestServer, user: &User) -> Self {
        let node = server.media_server().await;
        let (project, first_key) = user.project().await;
        let mut custom = custom_destination(&project, "rtmp://far.example.com/live");
        custom.stream_key = "known".to_owned();
        let destinations = vec![
            create_destination(user, youtube_destination(&project)).await,
            create_destination(user, custom).await,
        ];
        let webhook = create_quiet(user, "", false).await;
        let request = pb::RotateStreamKeyRequest {
            project_id: project.id.clone(),
            grace: Some(prost_types::Duration {
                seconds: 3600,
                nanos: 0,
            }),
            ..Default::default()
        };
        let rotated = user.client.project.clone().rotate_stream_key(request).await;
        let key = rotated.unwrap().into_inner().stream_key;
        let stream = node.live(&key, "c1").await;
        Self {
            project,
            keys: [key, first_key],
            destinations,
            webhook,
            stream,
            node,
        }
    }

    /// No secret of the planter works any more, and the owner has lost nothing.
    pub async fn assert_taken_over(&self, owner: &Client) {
        for (number, key) in self.keys.iter().enumerate() {
            let refusal = refused(self.node.begin(key, &format!("later{number}")).await);
            assert_eq!(
                refusal.class(),
                (Code::PermissionDenied, "STREAM_KEY_INVALID")
            );
        }
        let heartbeat = self.node.heartbeat(&self.stream, "c1").await;
        assert_eq!(heartbeat.action(), pb::PublishAction::Stop);
        let stream = heartbeat.stream.unwrap();
        assert_eq!(stream.end_reason(), pb::EndReason::KeyRotated);

        let (snapshot, _) = Watcher::start_synced(owner, &self.project.id).await;
        let destinations = &snapshot.destinations;
        assert_eq!(destinations.len(), self.destinations.len());
        assert!(
            destinations.iter().all(|one| one.disabled),
            "{destinations:?}"
        );
        let before = self.destinations.iter().map(|one| (&one.id, &one.url));
        let kept = before.clone().all(|(id, url)| {
            destinations
                .iter()
                .any(|one| (&one.id, &one.url) == (id, url))
        });
        assert!(kept, "{destinations:?}");
        let webhook = self.webhook(owner).await;
        let taken_over = pb::WebhookDisableReason::AccountTakenOver;
        assert!(webhook.disabled && webhook.disable_reason() == taken_over);

        let key = self.key(owner).await;
        assert!(!self.keys.contains(&key));
        let hint = snapshot.project.unwrap().stream_key_hint;
        assert!(key.ends_with(hint.trim_start_matches('…')), "{hint}");
        let stream = self.node.live(&key, "owner").await;
        let request = pb::ListRelaysRequest {
            stream_id: stream.id,
            ..Default::default()
        };
        let relays = owner.stream.clone().list_relays(request).await.unwrap();
        assert!(relays.into_inner().relays.is_empty());
    }

    pub async fn assert_unchanged(&self, owner: &Client) {
        assert_eq!(self.key(owner).await, self.keys[0]);
        let heartbeat = self.node.heartbeat(&self.stream, "c1").await;
        assert_eq!(heartbeat.action(), pb::PublishAction::Continue);
        let (snapshot, _) = Watcher::start_synced(owner, &self.project.id).await;
        assert!(snapshot.destinations.iter().all(|one| !one.disabled));
        assert!(!self.webhook(owner).await.disabled);
    }

    async fn webhook(&self, owner: &Client) -> pb::Webhook {
        let request = pb::GetWebhookRequest {
            webhook_id: self.webhook.id.clone(),
        };
        let answer = owner.webhook.clone().get_webhook(request).await;
        answer.unwrap().into_inner().webhook.unwrap()
    }

    async fn key(&self, owner: &Client) -> String {
        let request = pb::RevealStreamKeyRequest {
            project_id: self.project.id.clone(),
        };
        let revealed = owner.project.clone().reveal_stream_key(request).await;
        revealed.unwrap().into_inner().stream_key
    }
}

use sluice::proto::v1 as pb;
use tonic::Code;

use super::{caller::Caller, writer::Writer};
use crate::harness::MediaServer;

/// Rotates the stream key of a project, and publishes with every key.
pub struct StreamKeys {
    owner: Caller,
    media: Caller,
    project_id: String,
    /// All acknowledged keys; only the last one is valid.
    keys: Vec<String>,
}

impl StreamKeys {
    pub async fn start(owner: &Caller, media: &Caller) -> Self {
        let created = owner.create_project("Stream keys").await;
        Self {
            owner: owner.clone(),
            media: media.clone(),
            project_id: created.project.unwrap().id,
            keys: vec![created.stream_key],
        }
    }

    /// Checks that the last key is the valid one: a connection can publish with it.
    async fn assert_last_key_is_valid(&self) {
        let request = pb::RevealStreamKeyRequest {
            project_id: self.project_id.clone(),
        };
        let answer = self
            .owner
            .read("RevealStreamKey", async |mut client| {
                client.project.reveal_stream_key(request.clone()).await
            })
            .await;
        let key = self.keys.last().unwrap();
        assert_eq!(&answer.stream_key, key);
        let connection = format!("key{}", self.keys.len());
        let request = publish_request(key, &connection);
        let begun = self.media.begin_publish(&request).await;
        assert_eq!(begun.project_id, self.project_id);
    }

    async fn assert_is_refused(&self, key: &str) {
        let request = publish_request(key, "refused");
        let refusal = self
            .media
            .refusal("BeginPublish", async |mut client| {
                client.stream.begin_publish(request.clone()).await
            })
            .await;
        let expected = (Code::PermissionDenied, "STREAM_KEY_INVALID");
        assert_eq!(refusal.class(), expected);
    }
}

impl Writer for StreamKeys {
    async fn write(&mut self, _number: usize) {
        let request = pb::RotateStreamKeyRequest {
            project_id: self.project_id.clone(),
            grace: None,
            ..Default::default()
        };
        // An interrupted try may make a key that is never received, and that the next try replaces.
        let answer = self
            .owner
            .write("RotateStreamKey", async |mut client| {
                client.project.rotate_stream_key(request.clone()).await
            })
            .await;
        self.keys.push(answer.stream_key);
        self.assert_is_refused(&self.keys[self.keys.len() - 2])
            .await;
        self.assert_last_key_is_valid().await;
    }

    async fn check(&self) {
        let (_, old) = self.keys.split_last().unwrap();
        for key in old {
            self.assert_is_refused(key).await;
        }
        self.assert_last_key_is_valid().await;
    }
}

fn publish_request(stream_key: &str, connection: &str) -> pb::BeginPublishRequest {
    pb::BeginPublishRequest {
        stream_key: stream_key.to_owned(),
        publisher: Some(MediaServer::connection(connection)),
        ..Default::default()
    }
}

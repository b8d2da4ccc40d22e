//! What stands between a media server and the control plane: it turns hooks into
//! calls, and remembers what it was told of each connection.

use std::collections::BTreeMap;

use sluice::proto::v1 as pb;

use super::{
    node::{self, keyed, unknown},
    scene::{Scene, told},
};
use crate::harness::{Client, refused};

/// The adapter of one run of one media server, whose publishers have one key.
pub struct Adapter {
    client: Client,
    key: String,
    node_id: String,
    boot_id: String,
    /// The stream of each connection, as far as it was told.
    known: BTreeMap<String, pb::Stream>,
}

impl Adapter {
    /// Of node `n1`, in its first run.
    pub fn of(scene: &Scene, boot_id: &str) -> Self {
        Self {
            client: scene.node.client.clone(),
            key: scene.key.clone(),
            node_id: "n1".to_owned(),
            boot_id: boot_id.to_owned(),
            known: BTreeMap::new(),
        }
    }

    /// The same, when the control plane is back at another address.
    pub fn reach(&mut self, scene: &Scene) {
        self.client = scene.node.client.clone();
    }

    fn publisher(&self, connection: &str) -> pb::Publisher {
        pb::Publisher {
            node_id: self.node_id.clone(),
            boot_id: self.boot_id.clone(),
            connection_id: connection.to_owned(),
            peer_address: "203.0.113.5".to_owned(),
            protocol: pb::IngestProtocol::Rtmp.into(),
        }
    }

    /// What it knows of a connection.
    pub fn stream(&self, connection: &str) -> pb::Stream {
        self.known[connection].clone()
    }

    /// A publisher asks to be let in; the reason if it is not.
    pub async fn begin(&mut self, connection: &str, media: bool) -> Result<pb::Stream, String> {
        let publisher = self.publisher(connection);
        match node::begin(&self.client, &self.key, publisher, media).await {
            Ok(answer) => {
                let stream = answer.into_inner().stream.unwrap();
                self.known.insert(connection.to_owned(), stream.clone());
                Ok(stream)
            }
            Err(status) => Err(refused::<()>(Err(status)).reason),
        }
    }

    /// A connection stands, and has media: what it is to do.
    pub async fn heartbeat(&self, connection: &str) -> (pb::PublishAction, pb::EndReason) {
        self.heartbeat_as(connection, connection).await
    }

    /// The same, where the media server names another connection's stream.
    pub async fn heartbeat_as(
        &self,
        connection: &str,
        whose: &str,
    ) -> (pb::PublishAction, pb::EndReason) {
        let stream = self.stream(whose);
        let request = pb::HeartbeatPublishRequest {
            stream_id: stream.id,
            epoch: stream.epoch,
            publisher: Some(self.publisher(connection)),
            stats: None,
        };
        let answer = self.client.stream.clone().heartbeat_publish(request).await;
        told(&answer.unwrap().into_inner())
    }

    /// A connection is gone: its stream then.
    pub async fn end(&self, connection: &str) -> pb::Stream {
        self.end_as(connection, connection).await
    }

    /// The same, where the media server names another connection's stream.
    pub async fn end_as(&self, connection: &str, whose: &str) -> pb::Stream {
        let stream = self.stream(whose);
        let request = pb::EndPublishRequest {
            stream_id: stream.id,
            epoch: stream.epoch,
            publisher: Some(self.publisher(connection)),
        };
        let answer = self.client.stream.clone().end_publish(request).await;
        answer.unwrap().into_inner().stream.unwrap()
    }

    /// Says which connections stand, and learns of them.
    pub async fn sync(&mut self, standing: &[&str]) -> pb::SyncNodeResponse {
        let connections = standing.iter().map(|id| match self.known.get(*id) {
            Some(stream) => keyed(id, stream, &self.key),
            None => unknown(id, &self.key),
        });
        let request = pb::SyncNodeRequest {
            node_id: self.node_id.clone(),
            boot_id: self.boot_id.clone(),
            connections: connections.collect(),
        };
        let answer = self.client.stream.clone().sync_node(request).await;
        let answer = answer.unwrap().into_inner();
        for adoption in &answer.adoptions {
            let stream = adoption.stream.clone().unwrap();
            self.known.insert(adoption.connection_id.clone(), stream);
        }
        answer
    }
}

impl Scene {
    /// The project's stream that has not ended, of which there is one at most.
    pub async fn running(&self) -> Option<pb::Stream> {
        assert!(self.unended().await <= 1);
        match self.project().await.live_stream_id.as_str() {
            "" => None,
            id => Some(self.owner.stream(id).await),
        }
    }
}

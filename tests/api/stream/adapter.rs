//! A simulated edge between a media server and the control plane. It turns hooks into calls, and
//! stores the stream of each connection.

use std::collections::BTreeMap;

use sluice::proto::v1 as pb;

use super::{
    fixture::{Fixture, instruction},
    node_reports::{self, with_key, with_stream_and_key},
};
use crate::harness::{Client, refused};

/// The adapter of one boot of a media server. All publishers use one stream key.
pub struct Adapter {
    client: Client,
    key: String,
    node_id: String,
    boot_id: String,
    /// The stream of each connection, from the latest response.
    streams: BTreeMap<String, pb::Stream>,
}

impl Adapter {
    /// For a boot of node `n1`.
    pub fn new(fixture: &Fixture, boot_id: &str) -> Self {
        Self {
            client: fixture.node.client.clone(),
            key: fixture.key.clone(),
            node_id: "n1".to_owned(),
            boot_id: boot_id.to_owned(),
            streams: BTreeMap::new(),
        }
    }

    /// Connects to a restarted control plane, which has another address.
    pub fn reconnect_to(&mut self, fixture: &Fixture) {
        self.client = fixture.node.client.clone();
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

    /// The stored stream of a connection.
    pub fn stream(&self, connection: &str) -> pb::Stream {
        self.streams[connection].clone()
    }

    /// BeginPublish; the error reason if it is refused.
    pub async fn begin(&mut self, connection: &str, media: bool) -> Result<pb::Stream, String> {
        let publisher = self.publisher(connection);
        match node_reports::begin_publish(&self.client, &self.key, publisher, media).await {
            Ok(answer) => {
                let stream = answer.into_inner().stream.unwrap();
                self.streams.insert(connection.to_owned(), stream.clone());
                Ok(stream)
            }
            Err(status) => Err(refused::<()>(Err(status)).reason),
        }
    }

    /// HeartbeatPublish; returns the instruction for the connection.
    pub async fn heartbeat(&self, connection: &str) -> (pb::PublishAction, pb::EndReason) {
        self.heartbeat_as(connection, connection).await
    }

    /// The same, with the stream of another connection.
    pub async fn heartbeat_as(
        &self,
        connection: &str,
        stream_of: &str,
    ) -> (pb::PublishAction, pb::EndReason) {
        let stream = self.stream(stream_of);
        let request = pb::HeartbeatPublishRequest {
            stream_id: stream.id,
            epoch: stream.epoch,
            publisher: Some(self.publisher(connection)),
            stats: None,
        };
        let answer = self.client.stream.clone().heartbeat_publish(request).await;
        instruction(&answer.unwrap().into_inner())
    }

    /// EndPublish; returns the stream.
    pub async fn end(&self, connection: &str) -> pb::Stream {
        self.end_as(connection, connection).await
    }

    /// The same, with the stream of another connection.
    pub async fn end_as(&self, connection: &str, stream_of: &str) -> pb::Stream {
        let stream = self.stream(stream_of);
        let request = pb::EndPublishRequest {
            stream_id: stream.id,
            epoch: stream.epoch,
            publisher: Some(self.publisher(connection)),
        };
        let answer = self.client.stream.clone().end_publish(request).await;
        answer.unwrap().into_inner().stream.unwrap()
    }

    /// SyncNode with the open connections; stores the adopted streams.
    pub async fn sync(&mut self, connection_ids: &[&str]) -> pb::SyncNodeResponse {
        let connections = connection_ids.iter().map(|id| match self.streams.get(*id) {
            Some(stream) => with_stream_and_key(id, stream, &self.key),
            None => with_key(id, &self.key),
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
            self.streams.insert(adoption.connection_id.clone(), stream);
        }
        answer
    }
}

impl Fixture {
    /// The stream of the project that has not ended, if there is one.
    pub async fn running_stream(&self) -> Option<pb::Stream> {
        assert!(self.count_unended().await <= 1);
        match self.project().await.live_stream_id.as_str() {
            "" => None,
            id => Some(self.owner.stream(id).await),
        }
    }
}

//! A media server that says all that it has.

use sluice::proto::v1 as pb;
use tonic::{Response, Status};

use super::scene::Scene;
use crate::harness::{Client, MediaServer, Refusal, refused};

/// A connection, of which nothing else is said.
pub fn bare(id: &str) -> pb::NodeConnection {
    pb::NodeConnection {
        connection_id: id.to_owned(),
        peer_address: "203.0.113.5".to_owned(),
        protocol: pb::IngestProtocol::Rtmp.into(),
        ..Default::default()
    }
}

/// A connection that knows its stream.
pub fn holding(id: &str, stream: &pb::Stream) -> pb::NodeConnection {
    pb::NodeConnection {
        stream_id: stream.id.clone(),
        epoch: stream.epoch,
        ..bare(id)
    }
}

/// A connection that knows its stream and its stream key.
pub fn keyed(id: &str, stream: &pb::Stream, key: &str) -> pb::NodeConnection {
    pb::NodeConnection {
        stream_key: key.to_owned(),
        ..holding(id, stream)
    }
}

/// A connection that knows its stream key alone.
pub fn unknown(id: &str, key: &str) -> pb::NodeConnection {
    pb::NodeConnection {
        stream_key: key.to_owned(),
        ..bare(id)
    }
}

/// SyncNode of a boot of node `n1`.
pub fn report(boot_id: &str, connections: &[pb::NodeConnection]) -> pb::SyncNodeRequest {
    pb::SyncNodeRequest {
        node_id: "n1".to_owned(),
        boot_id: boot_id.to_owned(),
        connections: connections.to_vec(),
    }
}

/// A connection of another boot of node `n1`.
pub fn of_boot(boot_id: &str, connection: &str) -> pb::Publisher {
    pb::Publisher {
        boot_id: boot_id.to_owned(),
        ..MediaServer::connection(connection)
    }
}

/// A connection of node `n2`.
pub fn elsewhere(connection: &str) -> pb::Publisher {
    pb::Publisher {
        node_id: "n2".to_owned(),
        ..MediaServer::connection(connection)
    }
}

/// Which connections are to be disconnected, and why.
pub fn kicks(answer: &pb::SyncNodeResponse) -> Vec<(&str, pb::EndReason)> {
    let kicks = answer.kicks.iter();
    kicks
        .map(|kick| (kick.connection_id.as_str(), kick.reason()))
        .collect()
}

/// The only stream that was adopted, by which connection.
#[track_caller]
pub fn adopted(answer: &pb::SyncNodeResponse) -> (&str, &pb::Stream) {
    let [adoption] = answer.adoptions.as_slice() else {
        panic!("one connection was adopted: {answer:?}");
    };
    let stream = adoption.stream.as_ref().unwrap();
    assert_eq!(answer.adopted_stream_ids, std::slice::from_ref(&stream.id));
    (&adoption.connection_id, stream)
}

/// Nothing was to be done.
#[track_caller]
pub fn agrees(answer: &pb::SyncNodeResponse) {
    let nothing = pb::SyncNodeResponse {
        heartbeat_interval: answer.heartbeat_interval,
        ..Default::default()
    };
    assert_eq!(answer, &nothing);
}

/// BeginPublish of any connection.
pub async fn begin(
    client: &Client,
    key: &str,
    publisher: pb::Publisher,
    media_flowing: bool,
) -> Result<Response<pb::BeginPublishResponse>, Status> {
    let request = pb::BeginPublishRequest {
        stream_key: key.to_owned(),
        publisher: Some(publisher),
        media_flowing,
        play_url: String::new(),
    };
    client.stream.clone().begin_publish(request).await
}

impl Scene {
    /// SyncNode of a boot of node `n1`.
    pub async fn sync(
        &self,
        boot_id: &str,
        connections: &[pb::NodeConnection],
    ) -> pb::SyncNodeResponse {
        let mut client = self.node.client.stream.clone();
        let answer = client.sync_node(report(boot_id, connections)).await;
        answer.unwrap().into_inner()
    }

    /// SyncNode that is refused.
    pub async fn sync_refusal(&self, request: pb::SyncNodeRequest) -> Refusal {
        refused(self.node.client.stream.clone().sync_node(request).await)
    }

    /// A stream that any connection begins with media.
    pub async fn live_of(&self, publisher: pb::Publisher) -> pb::Stream {
        let answer = begin(&self.node.client, &self.key, publisher, true).await;
        answer.unwrap().into_inner().stream.unwrap()
    }
}

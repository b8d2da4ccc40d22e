//! Requests and responses of SyncNode.

use sluice::proto::v1 as pb;
use tonic::{Response, Status};

use super::fixture::Fixture;
use crate::harness::{Client, MediaServer, Refusal, refused};

/// A connection without stream and key.
pub fn minimal_connection(id: &str) -> pb::NodeConnection {
    pb::NodeConnection {
        connection_id: id.to_owned(),
        peer_address: "203.0.113.5".to_owned(),
        protocol: pb::IngestProtocol::Rtmp.into(),
        ..Default::default()
    }
}

/// A connection with its stream.
pub fn with_stream(id: &str, stream: &pb::Stream) -> pb::NodeConnection {
    pb::NodeConnection {
        stream_id: stream.id.clone(),
        epoch: stream.epoch,
        ..minimal_connection(id)
    }
}

/// A connection with its stream and stream key.
pub fn with_stream_and_key(id: &str, stream: &pb::Stream, key: &str) -> pb::NodeConnection {
    pb::NodeConnection {
        stream_key: key.to_owned(),
        ..with_stream(id, stream)
    }
}

/// A connection with its stream key only.
pub fn with_key(id: &str, key: &str) -> pb::NodeConnection {
    pb::NodeConnection {
        stream_key: key.to_owned(),
        ..minimal_connection(id)
    }
}

/// A SyncNode request of a boot of node `n1`.
pub fn sync_request(boot_id: &str, connections: &[pb::NodeConnection]) -> pb::SyncNodeRequest {
    pb::SyncNodeRequest {
        node_id: "n1".to_owned(),
        boot_id: boot_id.to_owned(),
        connections: connections.to_vec(),
    }
}

/// A publisher of a boot of node `n1`.
pub fn publisher_of_boot(boot_id: &str, connection: &str) -> pb::Publisher {
    pb::Publisher {
        boot_id: boot_id.to_owned(),
        ..MediaServer::connection(connection)
    }
}

/// A publisher of node `n2`.
pub fn publisher_on_n2(connection: &str) -> pb::Publisher {
    pb::Publisher {
        node_id: "n2".to_owned(),
        ..MediaServer::connection(connection)
    }
}

/// The connections to disconnect, with the reasons.
pub fn kicks(answer: &pb::SyncNodeResponse) -> Vec<(&str, pb::EndReason)> {
    let kicks = answer.kicks.iter();
    kicks
        .map(|kick| (kick.connection_id.as_str(), kick.reason()))
        .collect()
}

/// The only adoption: its connection and stream.
#[track_caller]
pub fn single_adoption(answer: &pb::SyncNodeResponse) -> (&str, &pb::Stream) {
    let [adoption] = answer.adoptions.as_slice() else {
        panic!("one connection was adopted: {answer:?}");
    };
    let stream = adoption.stream.as_ref().unwrap();
    assert_eq!(answer.adopted_stream_ids, std::slice::from_ref(&stream.id));
    (&adoption.connection_id, stream)
}

/// Checks that the response contains no action.
#[track_caller]
pub fn assert_no_action(answer: &pb::SyncNodeResponse) {
    let nothing = pb::SyncNodeResponse {
        heartbeat_interval: answer.heartbeat_interval,
        ..Default::default()
    };
    assert_eq!(answer, &nothing);
}

/// BeginPublish of any publisher.
pub async fn begin_publish(
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

impl Fixture {
    /// A SyncNode request of a boot of node `n1`.
    pub async fn sync(
        &self,
        boot_id: &str,
        connections: &[pb::NodeConnection],
    ) -> pb::SyncNodeResponse {
        let mut client = self.node.client.stream.clone();
        let answer = client.sync_node(sync_request(boot_id, connections)).await;
        answer.unwrap().into_inner()
    }

    /// SyncNode that is refused.
    pub async fn sync_refusal(&self, request: pb::SyncNodeRequest) -> Refusal {
        refused(self.node.client.stream.clone().sync_node(request).await)
    }

    /// BeginPublish of any publisher with media; returns the stream.
    pub async fn begin_live_from(&self, publisher: pb::Publisher) -> pb::Stream {
        let answer = begin_publish(&self.node.client, &self.key, publisher, true).await;
        answer.unwrap().into_inner().stream.unwrap()
    }
}

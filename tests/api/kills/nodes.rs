use sluice::proto::v1 as pb;

use super::{caller::Caller, writer::Writer};

const NODE: &str = "n2";

/// Restarts a media server, which reports one connection at each start.
pub struct Nodes {
    owner: Caller,
    media: Caller,
    stream_key: String,
    /// The adopted stream of each boot.
    adopted: Vec<String>,
}

impl Nodes {
    pub async fn start(owner: &Caller, media: &Caller) -> Self {
        let created = owner.create_project("Node").await;
        Self {
            owner: owner.clone(),
            media: media.clone(),
            stream_key: created.stream_key,
            adopted: Vec::new(),
        }
    }
}

impl Writer for Nodes {
    async fn write(&mut self, number: usize) {
        let request = pb::SyncNodeRequest {
            node_id: NODE.to_owned(),
            boot_id: format!("b{number}"),
            connections: vec![pb::NodeConnection {
                connection_id: "c".to_owned(),
                stream_key: self.stream_key.clone(),
                ..Default::default()
            }],
        };
        // A repeated report returns the stream that an interrupted try began.
        let answer = self
            .media
            .write("SyncNode", async |mut client| {
                client.stream.sync_node(request.clone()).await
            })
            .await;
        let [adoption] = &answer.adoptions[..] else {
            panic!("{answer:?}");
        };
        let stream = adoption.stream.as_ref().unwrap();
        assert_eq!(stream.publisher.as_ref().unwrap().boot_id, request.boot_id);
        self.adopted.push(stream.id.clone());
    }

    async fn check(&self) {
        for (number, id) in self.adopted.iter().enumerate() {
            let stream = self.owner.stream(id).await;
            let boot = format!("b{number}");
            assert_eq!(stream.publisher.as_ref().unwrap().boot_id, boot);
            let expected = match number + 1 == self.adopted.len() {
                true => (pb::StreamState::Live, pb::EndReason::Unspecified),
                false => (pb::StreamState::Ended, pb::EndReason::NodeLost),
            };
            assert_eq!((stream.state(), stream.end_reason()), expected, "{boot}");
        }
    }
}

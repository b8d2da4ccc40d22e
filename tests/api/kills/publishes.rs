use std::collections::BTreeMap;

use sluice::proto::v1::{self as pb, watch_project_response::Event};

use super::{caller::Caller, watches::WatchedProject, writer::Writer};
use crate::harness::MediaServer;

/// Begins and ends streams of the watched project.
pub struct Publishes {
    project: WatchedProject,
    media: Caller,
    stream_key: String,
    /// Acknowledged streams by connection, with the reason of their end.
    streams: BTreeMap<String, (String, pb::EndReason)>,
}

impl Publishes {
    pub fn new(project: &WatchedProject, media: &Caller, stream_key: String) -> Self {
        Self {
            project: project.clone(),
            media: media.clone(),
            stream_key,
            streams: BTreeMap::new(),
        }
    }

    async fn end(&self, stream: &pb::Stream) {
        let request = pb::EndPublishRequest {
            stream_id: stream.id.clone(),
            epoch: stream.epoch,
            publisher: stream.publisher.clone(),
        };
        self.media
            .write("EndPublish", async |mut client| {
                client.stream.end_publish(request.clone()).await
            })
            .await;
    }

    async fn stop(&self, stream: &pb::Stream) {
        let request = pb::StopStreamRequest {
            stream_id: stream.id.clone(),
            hold: None,
            ..Default::default()
        };
        let owner = &self.project.owner;
        owner
            .write("StopStream", async |mut client| {
                client.stream.stop_stream(request.clone()).await
            })
            .await;
    }
}

impl Writer for Publishes {
    async fn write(&mut self, number: usize) {
        let connection = format!("c{number}");
        let request = pb::BeginPublishRequest {
            stream_key: self.stream_key.clone(),
            publisher: Some(MediaServer::connection(&connection)),
            ..Default::default()
        };
        let stream = self.media.begin_publish(&request).await;
        self.media.heartbeat(&stream).await;
        let reason = match number % 2 {
            0 => {
                self.end(&stream).await;
                pb::EndReason::PublisherEnded
            }
            _ => {
                self.stop(&stream).await;
                pb::EndReason::StoppedByOwner
            }
        };
        self.streams.insert(connection, (stream.id, reason));
    }

    async fn check(&self) {
        let mut changes: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for event in self.project.history().await.into_values() {
            if let Event::StreamChanged(stream) = event {
                let state = stream.state();
                let connection = stream.publisher.unwrap().connection_id;
                let of_connection = changes.entry(connection).or_default();
                of_connection.push((stream.id, state));
            }
        }
        for (connection, (id, reason)) in &self.streams {
            let expected = [
                pb::StreamState::Connecting,
                pb::StreamState::Live,
                pb::StreamState::Ended,
            ];
            let expected = expected.map(|state| (id.clone(), state));
            assert_eq!(changes[connection], expected, "{connection}");
            let stream = self.project.owner.stream(id).await;
            assert_eq!(stream.state(), pb::StreamState::Ended, "{connection}");
            assert_eq!(stream.end_reason(), *reason, "{connection}");
        }
    }
}

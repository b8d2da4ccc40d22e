//! A media server that reports publishers.

use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::Context;
use sluice::proto::v1::{
    self as pb, auth_service_client::AuthServiceClient, stream_service_client::StreamServiceClient,
};
use tonic::transport::Channel;

use crate::{
    caller::{Call, User},
    servers::{Program, Side, Storage},
    users::authorized,
};

const BEGIN_PUBLISH: &str = "sluice.v1.StreamService/BeginPublish";
const END_PUBLISH: &str = "sluice.v1.StreamService/EndPublish";
const SYNC_NODE: &str = "sluice.v1.StreamService/SyncNode";

/// A media server with its token.
pub struct MediaServer {
    node_id: &'static str,
    token: String,
}

/// What counts of a cycle of BeginPublish and EndPublish.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// The whole cycle, as one.
    Cycle,
    /// BeginPublish.
    Begin,
}

/// What a report of all connections changes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Changes {
    Nothing,
    /// The statistics of every stream.
    Everything,
}

impl MediaServer {
    /// Registers a media server at a running program.
    pub async fn register(
        node_id: &'static str,
        side: &Side,
        storage: Storage,
        server: &Program,
    ) -> anyhow::Result<Self> {
        let secret = side.media_key(storage)?;
        let mut auth = AuthServiceClient::new(channel(server).await?);
        let request = pb::ExchangeApiKeyRequest { secret };
        let token = auth.exchange_api_key(request).await?;
        Ok(Self {
            node_id,
            token: token.into_inner().access_token,
        })
    }

    /// Begins and ends streams of a project, each with a new connection.
    pub fn publisher(&self, stream_key: &str, counted: Counted) -> User {
        let (node_id, stream_key) = (self.node_id, stream_key.to_owned());
        let begin = Call::made(BEGIN_PUBLISH, &self.token, move |_: ()| {
            pb::BeginPublishRequest {
                stream_key: stream_key.clone(),
                publisher: Some(publisher(node_id, uuid::Uuid::now_v7().to_string())),
                ..Default::default()
            }
        });
        let end = Call::made(
            END_PUBLISH,
            &self.token,
            |begun: pb::BeginPublishResponse| {
                let stream = begun.stream.unwrap_or_default();
                pb::EndPublishRequest {
                    stream_id: stream.id,
                    epoch: stream.epoch,
                    publisher: stream.publisher,
                }
            },
        );
        match counted {
            Counted::Cycle => vec![begin.uncounted(), end.ends_sequence()],
            Counted::Begin => vec![begin, end.uncounted()],
        }
    }

    /// Begins streams of projects, which stay.
    pub async fn begin(
        &self,
        server: &Program,
        stream_keys: impl Iterator<Item = &String>,
    ) -> anyhow::Result<Vec<pb::Stream>> {
        let mut streams = StreamServiceClient::new(channel(server).await?);
        let mut begun = Vec::new();
        for stream_key in stream_keys {
            let request = pb::BeginPublishRequest {
                stream_key: stream_key.clone(),
                publisher: Some(publisher(self.node_id, uuid::Uuid::now_v7().to_string())),
                media_flowing: true,
                ..Default::default()
            };
            let answer = streams.begin_publish(authorized(request, &self.token)?);
            begun.push(answer.await?.into_inner().stream.context("a stream")?);
        }
        Ok(begun)
    }

    /// Begins one stream, and ends it.
    pub async fn publish_once(&self, server: &Program, stream_key: &str) -> anyhow::Result<()> {
        let mut streams = StreamServiceClient::new(channel(server).await?);
        let request = pb::BeginPublishRequest {
            stream_key: stream_key.to_owned(),
            publisher: Some(publisher(self.node_id, uuid::Uuid::now_v7().to_string())),
            ..Default::default()
        };
        let begun = streams.begin_publish(authorized(request, &self.token)?);
        let stream = begun.await?.into_inner().stream.context("a stream")?;
        let end = pb::EndPublishRequest {
            stream_id: stream.id,
            epoch: stream.epoch,
            publisher: stream.publisher,
        };
        streams.end_publish(authorized(end, &self.token)?).await?;
        Ok(())
    }

    /// Reports all connections, again and again.
    pub fn reporter(&self, streams: &[pb::Stream], changes: Changes) -> User {
        let connections = streams.iter().map(|stream| pb::NodeConnection {
            connection_id: stream.publisher.clone().unwrap_or_default().connection_id,
            stream_id: stream.id.clone(),
            epoch: stream.epoch,
            stats: Some(pb::StreamStats {
                bytes_received: 1,
                bitrate_bps: 6_000_000,
                width: 1920,
                height: 1080,
                fps: 30.0,
                video_codec: "h264".to_owned(),
                audio_codec: "aac".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        });
        let report = pb::SyncNodeRequest {
            node_id: self.node_id.to_owned(),
            boot_id: "b1".to_owned(),
            connections: connections.collect(),
        };
        if changes == Changes::Nothing {
            return vec![Call::new(SYNC_NODE, Some(&self.token), &report)];
        }
        let received = AtomicI64::new(2);
        vec![Call::made(SYNC_NODE, &self.token, move |_: ()| {
            let mut report = report.clone();
            let received = received.fetch_add(1, Ordering::Relaxed);
            for stats in report
                .connections
                .iter_mut()
                .filter_map(|it| it.stats.as_mut())
            {
                stats.bytes_received = received;
            }
            report
        })]
    }
}

fn publisher(node_id: &str, connection_id: String) -> pb::Publisher {
    pb::Publisher {
        node_id: node_id.to_owned(),
        boot_id: "b1".to_owned(),
        connection_id,
        peer_address: "203.0.113.5".to_owned(),
        protocol: pb::IngestProtocol::Rtmp.into(),
    }
}

async fn channel(server: &Program) -> anyhow::Result<Channel> {
    let address = format!("http://{}", server.address);
    Ok(Channel::from_shared(address)?.connect().await?)
}

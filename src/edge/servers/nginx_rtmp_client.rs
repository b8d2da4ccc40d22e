use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::bail;
use http::{Method, StatusCode};
use tokio::sync::Mutex;

use super::{
    boot_id::BootId,
    http_api::HttpApi,
    nginx_applications::Applications,
    nginx_connections::{NginxConnections, NginxPublish, PublicName},
    nginx_stat::{Stat, StatStream},
};
use crate::{
    domain::Secret,
    edge::publisher::{ConnectionId, ObservedPublisher, PublishRequest, PublisherSnapshot},
    proto::v1::IngestProtocol,
};

/// The result of looking for the publish of a connection.
#[derive(Debug)]
pub(crate) enum PublishLookup {
    Found(NginxPublish),
    /// nginx does not list it: it belongs to a worker that is shutting down.
    NotFound,
    Unavailable,
}

/// The shortest interval of reading `/stat` for connections that are not known.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(1);

/// A client of nginx with nginx-rtmp-module and one worker: `/stat` shows only one.
#[derive(Debug)]
pub(crate) struct NginxRtmp {
    api: HttpApi,
    rtmp_url: String,
    boot_id: BootId,
    applications: Applications,
    /// The publishes of its connections.
    pub(crate) connections: NginxConnections,
    /// When `/stat` was last read for an unknown connection, and whether that succeeded.
    last_lookup: Mutex<Option<(Instant, bool)>>,
}

impl NginxRtmp {
    /// A client that connects at its first request. Reads the state files.
    pub(super) fn new(api: HttpApi, rtmp_url: String, state_dir: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            api,
            rtmp_url,
            boot_id: BootId::open(state_dir)?,
            applications: Applications::open(state_dir)?,
            connections: NginxConnections::default(),
            last_lookup: Mutex::default(),
        })
    }

    /// A connection wants to publish. Returns its new publish; `None` if it has too many.
    pub(crate) fn begin(&self, application: &str, client: u64) -> Option<NginxPublish> {
        self.applications.insert(application);
        self.connections.begin(client)
    }

    /// The publish of a connection. For one that is not known, as it began before the edge,
    /// `/stat` is read.
    pub(crate) async fn find(&self, application: &str, client: u64) -> PublishLookup {
        self.applications.insert(application);
        if let Some(publish) = self.connections.find(client) {
            return PublishLookup::Found(publish);
        }
        let mut last_lookup = self.last_lookup.lock().await;
        let succeeded = match *last_lookup {
            Some((at, succeeded)) if at.elapsed() <= LOOKUP_INTERVAL => succeeded,
            _ => {
                let stat = self.stat().await;
                *last_lookup = Some((Instant::now(), stat.is_ok()));
                if let Err(error) = &stat {
                    let error = format!("{error:#}");
                    tracing::warn!(error, "cannot read the publishers of nginx-rtmp");
                }
                stat.is_ok()
            }
        };
        match self.connections.find(client) {
            Some(publish) => PublishLookup::Found(publish),
            None if succeeded => PublishLookup::NotFound,
            None => PublishLookup::Unavailable,
        }
    }

    /// The request of a publish with values from a hook or `/stat`.
    pub(crate) fn publish_request(
        &self,
        publish: &NginxPublish,
        application: &str,
        stream_key: &str,
        address: &str,
    ) -> PublishRequest {
        let name = publish.name.as_ref();
        let name = name.map_or(stream_key, PublicName::as_str);
        PublishRequest {
            id: publish.id.clone(),
            stream_key: Secret::new(stream_key),
            peer_address: address.to_owned(),
            protocol: IngestProtocol::Rtmp,
            play_url: PublishRequest::play_url(&self.rtmp_url, &[application, name]),
        }
    }

    pub(super) async fn snapshot(&self) -> anyhow::Result<PublisherSnapshot> {
        let stat = self.stat().await?;
        let is_served = |stream: &&StatStream| self.applications.contains(&stream.application);
        let streams = stat.streams.iter().filter(is_served);
        Ok(PublisherSnapshot {
            boot_id: self.boot_id.of_process(stat.pid, stat.start_time),
            publishers: streams.filter_map(|stream| self.observed(stream)).collect(),
            listing_delay: PublisherSnapshot::USUAL_LISTING_DELAY,
        })
    }

    pub(super) async fn kick(&self, id: &ConnectionId) -> anyhow::Result<()> {
        let Some(publish) = NginxPublish::parse(id) else {
            return Ok(());
        };
        // The control module compares the values without decoding them.
        let client = format!("clientid={}", publish.client);
        let name = publish.name.map(|name| format!("&name={name}"));
        let query = client + &name.unwrap_or_default();
        let path = format!("/control/drop/publisher?{query}");
        let response = self.api.request(Method::GET, &path).await?;
        // The body is the number of dropped connections: 0 if it was gone.
        match response.status() {
            StatusCode::OK | StatusCode::NO_CONTENT => Ok(()),
            status => bail!("the control module answers {}", status.as_u16()),
        }
    }

    /// Reads `/stat`, and makes its connections known for hooks.
    async fn stat(&self) -> anyhow::Result<Stat> {
        let stat = Stat::parse(&self.api.get("/stat").await?)?;
        self.connections.reconcile(&stat.streams);
        Ok(stat)
    }

    /// The publisher of a stream. Only hooks have the stream key of a renamed stream.
    fn observed(&self, stream: &StatStream) -> Option<ObservedPublisher> {
        let publish = NginxPublish::of_stream(stream)?;
        let request = publish.name.is_none().then(|| {
            self.publish_request(&publish, &stream.application, &stream.name, &stream.address)
        });
        Some(ObservedPublisher {
            id: publish.id,
            request,
            stats: Some(stream.stats.clone()),
        })
    }
}

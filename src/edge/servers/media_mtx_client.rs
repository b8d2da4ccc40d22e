use std::{collections::HashMap, path::Path, time::Duration};

use anyhow::bail;
use http::{Method, StatusCode};
use serde::de::DeserializeOwned;

use super::{
    boot_id::BootId,
    http_api::{self, HttpApi},
    media_mtx_api::{Info, MtxConnection, MtxPath, Page, SourceKind},
};
use crate::{
    domain::Secret,
    edge::publisher::{ConnectionId, ObservedPublisher, PublishRequest, PublisherSnapshot},
    proto::v1::IngestProtocol,
};

const PAGE_SIZE: u32 = 500;
const MAX_PAGES: u32 = 20;

/// The longest time until the first media of a publisher, before which no path has it:
/// longer than the `readTimeout` of the configuration in `deploy/`.
const FIRST_MEDIA_TIMEOUT: Duration = Duration::from_secs(30);

/// A client of MediaMTX. Its connections have random ids, which are never reused.
#[derive(Debug)]
pub(crate) struct MediaMtx {
    api: HttpApi,
    rtmp_url: String,
    boot_id: BootId,
}

impl MediaMtx {
    /// A client that connects at its first request. Reads the state file.
    pub(super) fn new(api: HttpApi, rtmp_url: String, state_dir: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            api,
            rtmp_url,
            boot_id: BootId::open(state_dir)?,
        })
    }

    /// A publish request with values from a hook or the API; `None` if the path does not end
    /// with a stream key.
    pub(crate) fn publish_request(
        &self,
        id: ConnectionId,
        path: &str,
        address: &str,
        protocol: IngestProtocol,
    ) -> Option<PublishRequest> {
        let key = path.rsplit('/').next().filter(|key| !key.is_empty())?;
        Some(PublishRequest {
            id,
            stream_key: Secret::new(key),
            peer_address: address.to_owned(),
            protocol,
            play_url: PublishRequest::play_url(&self.rtmp_url, &[path]),
        })
    }

    /// The protocol of a publisher in an auth hook; `None` if the edge could neither list nor
    /// disconnect publishers of this protocol.
    pub(crate) fn ingest_protocol(hook_protocol: &str) -> Option<IngestProtocol> {
        SourceKind::of_hook_protocol(hook_protocol).map(|kind| kind.protocol)
    }

    pub(super) async fn snapshot(&self) -> anyhow::Result<PublisherSnapshot> {
        let boot_id = self.boot_id().await?;
        let paths: Vec<MtxPath> = self.list("paths").await?;
        let published = paths.iter().filter_map(|path| {
            let source = path.source.as_ref()?;
            let id = ConnectionId::parse(&source.id)?;
            Some((path, SourceKind::of(source)?, id))
        });
        let published: Vec<_> = published.collect();

        let kinds = published.iter().map(|(_, kind, _)| *kind);
        let addresses = self.addresses(kinds).await;
        let publishers = published.into_iter().map(|(path, kind, id)| {
            let address = addresses.get(id.as_str()).map_or("", String::as_str);
            ObservedPublisher {
                request: self.publish_request(id.clone(), &path.name, address, kind.protocol),
                id,
                stats: Some(path.stats()),
            }
        });
        Ok(PublisherSnapshot {
            boot_id,
            publishers: publishers.collect(),
            listing_delay: FIRST_MEDIA_TIMEOUT,
        })
    }

    /// Disconnects a publisher of any protocol. A list answers 404 if its protocol is off or
    /// the connection is gone.
    pub(super) async fn kick(&self, id: &ConnectionId) -> anyhow::Result<()> {
        for kind in SourceKind::ALL {
            let path = format!("/v3/{}/kick/{}", kind.list, id.as_str());
            match self.api.request(Method::POST, &path).await?.status() {
                StatusCode::OK => return Ok(()),
                StatusCode::NOT_FOUND => {}
                status => bail!("MediaMTX answers {}", status.as_u16()),
            }
        }
        Ok(())
    }

    /// The time at which the server started. Versions without it have one id for all boots;
    /// as connection ids are unique, publishers of an earlier boot end by their absence.
    async fn boot_id(&self) -> anyhow::Result<String> {
        let response = self.api.request(Method::GET, "/v3/info").await?;
        let info: Info = match response.status() {
            StatusCode::OK => http_api::parse_json(response.body(), "MediaMTX")?,
            StatusCode::NOT_FOUND => return Ok(self.boot_id.of_all_boots()),
            status => bail!("MediaMTX answers {}", status.as_u16()),
        };
        Ok(match ConnectionId::parse(&info.started) {
            Some(_) => info.started,
            None => self.boot_id.of_all_boots(),
        })
    }

    /// The IP addresses of connections of these kinds, as far as the API has them.
    async fn addresses(&self, kinds: impl Iterator<Item = SourceKind>) -> HashMap<String, String> {
        let mut lists: Vec<&str> = kinds.map(|kind| kind.list).collect();
        lists.sort_unstable();
        lists.dedup();

        let mut addresses = HashMap::new();
        for list in lists {
            let connections: Vec<MtxConnection> = self.list(list).await.unwrap_or_default();
            let connections = connections.into_iter();
            addresses
                .extend(connections.map(|connection| (connection.id.clone(), connection.ip())));
        }
        addresses
    }

    async fn list<T: DeserializeOwned>(&self, name: &str) -> anyhow::Result<Vec<T>> {
        let mut items = Vec::new();
        for page in 0..MAX_PAGES {
            let path = format!("/v3/{name}/list?itemsPerPage={PAGE_SIZE}&page={page}");
            let response = self.api.get(&path).await?;
            let answer: Page<T> = http_api::parse_json(response.body(), "MediaMTX")?;
            items.extend(answer.items);
            if page + 1 >= answer.page_count {
                return Ok(items);
            }
        }
        bail!("MediaMTX lists more than {} {name}", MAX_PAGES * PAGE_SIZE)
    }
}

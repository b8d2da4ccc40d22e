use std::{collections::HashMap, time::Duration};

use anyhow::{Context, bail};
use http::{Method, StatusCode};
use serde::de::DeserializeOwned;

use super::{
    api::Api,
    boot::Boot,
    media_mtx_answers::{Conn, Info, Kind, MtxPath, Page},
    server::{ServerTerms, play_url},
};
use crate::{
    domain::Secret,
    edge::connection::{ConnectionId, Look, Offer, Seen},
    proto::v1::IngestProtocol,
};

/// How many things a page of a list has, and how many pages are read at most.
const PER_PAGE: u32 = 500;
const PAGES: u32 = 20;

/// How long the first media of a publisher may take: until then no path has it. Longer than
/// the `readTimeout` of the configuration in `deploy/`.
const FIRST_MEDIA: Duration = Duration::from_secs(30);

/// MediaMTX. Its connections have random ids, which are never used again.
#[derive(Debug)]
pub(crate) struct MediaMtx {
    api: Api,
    rtmp: String,
    boot: Boot,
}

impl MediaMtx {
    /// Nothing is asked yet.
    pub(super) fn new(api: Api, terms: &ServerTerms) -> anyhow::Result<Self> {
        Ok(Self {
            api,
            rtmp: terms.rtmp.clone(),
            boot: Boot::open(&terms.folder)?,
        })
    }

    /// A publisher, as hooks or the API tell of it; `None` if its path ends with no key.
    pub(crate) fn offer(
        &self,
        id: ConnectionId,
        path: &str,
        address: &str,
        protocol: IngestProtocol,
    ) -> Option<Offer> {
        let key = path.rsplit('/').next().filter(|key| !key.is_empty())?;
        Some(Offer {
            id,
            stream_key: Secret::new(key),
            peer_address: address.to_owned(),
            protocol,
            play_url: play_url(&self.rtmp, &[path]),
        })
    }

    /// Who publishes now.
    pub(super) async fn look(&self) -> anyhow::Result<Look> {
        let boot_id = self.boot_id().await?;
        let paths: Vec<MtxPath> = self.list("paths").await?;
        let published = paths.iter().filter_map(|path| {
            let source = path.source.as_ref()?;
            Some((path, Kind::of(source)?, ConnectionId::parse(&source.id)?))
        });
        let published: Vec<_> = published.collect();

        let addresses = self
            .addresses(published.iter().map(|(_, kind, _)| *kind))
            .await;
        let seen = published.into_iter().map(|(path, kind, id)| {
            let address = addresses.get(id.as_str()).map_or("", String::as_str);
            Seen {
                offer: self.offer(id.clone(), &path.name, address, kind.protocol),
                id,
                stats: Some(path.stats()),
            }
        });
        Ok(Look {
            shown_within: FIRST_MEDIA,
            boot_id,
            seen: seen.collect(),
        })
    }

    /// Disconnects a publisher, whatever its protocol. The lists of protocols that are
    /// switched off are not found, as connections are not that are gone.
    pub(super) async fn kick(&self, id: &ConnectionId) -> anyhow::Result<()> {
        for kind in Kind::ALL {
            let path = format!("/v3/{}/kick/{}", kind.list, id.as_str());
            match self.api.ask(Method::POST, &path).await?.status {
                StatusCode::OK => return Ok(()),
                StatusCode::NOT_FOUND => {}
                status => bail!("MediaMTX answers {}", status.as_u16()),
            }
        }
        Ok(())
    }

    /// When the server started. Versions that do not say have one name for all runs: as no
    /// id of a connection comes twice, those of an earlier run are missed one by one.
    async fn boot_id(&self) -> anyhow::Result<String> {
        let answer = self.api.ask(Method::GET, "/v3/info").await?;
        let info: Info = match answer.status {
            StatusCode::OK => parse(&answer.body)?,
            StatusCode::NOT_FOUND => return Ok(self.boot.of_all()),
            status => bail!("MediaMTX answers {}", status.as_u16()),
        };
        let is_name = ConnectionId::parse(&info.started).is_some();
        Ok(if is_name {
            info.started
        } else {
            self.boot.of_all()
        })
    }

    /// The IP addresses of connections of these kinds. Who publishes is known without them.
    async fn addresses(&self, kinds: impl Iterator<Item = Kind>) -> HashMap<String, String> {
        let mut wanted: Vec<&str> = kinds.map(|kind| kind.list).collect();
        wanted.sort_unstable();
        wanted.dedup();

        let mut addresses = HashMap::new();
        for list in wanted {
            let conns: Vec<Conn> = self.list(list).await.unwrap_or_default();
            addresses.extend(conns.into_iter().map(|conn| (conn.id.clone(), conn.ip())));
        }
        addresses
    }

    async fn list<T: DeserializeOwned>(&self, name: &str) -> anyhow::Result<Vec<T>> {
        let mut items = Vec::new();
        for page in 0..PAGES {
            let path = format!("/v3/{name}/list?itemsPerPage={PER_PAGE}&page={page}");
            let answer: Page<T> = parse(&self.api.get(&path).await?)?;
            items.extend(answer.items);
            if page + 1 >= answer.page_count {
                return Ok(items);
            }
        }
        bail!("MediaMTX has more than {} of its {name}", PAGES * PER_PAGE)
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> anyhow::Result<T> {
    // The fault may quote the answer, where stream keys stand.
    let parsed = serde_json::from_slice(body).ok();
    parsed.context("MediaMTX answers something else than was asked for")
}

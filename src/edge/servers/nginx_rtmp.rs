use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::bail;
use http::{Method, StatusCode};
use tokio::sync::Mutex;

use super::{
    PublicName,
    api::Api,
    boot::Boot,
    nginx_applications::Applications,
    nginx_connections::{Connections, Published},
    nginx_stat::{Stat, StatStream},
    server::{AT_ONCE, ServerTerms, play_url},
};
use crate::{
    domain::Secret,
    edge::connection::{ConnectionId, Look, Offer, Seen},
    proto::v1::IngestProtocol,
};

/// What is known of a connection.
#[derive(Debug)]
pub(crate) enum Found {
    /// It publishes this.
    Publishing(Published),
    /// nginx does not know it: it belongs to a worker that was told to end.
    NotThere,
    /// nginx does not answer.
    Unasked,
}

/// How often connections that nobody knows have `/stat` be read.
const EVERY: Duration = Duration::from_secs(1);

/// nginx with nginx-rtmp-module, with one worker: `/stat` shows only its own.
#[derive(Debug)]
pub(crate) struct NginxRtmp {
    api: Api,
    rtmp: String,
    boot: Boot,
    applications: Applications,
    connections: Connections,
    /// When `/stat` was last read for a connection that nobody knew, and whether it could be.
    looked: Mutex<Option<(Instant, bool)>>,
}

impl NginxRtmp {
    /// Nothing is asked yet.
    pub(super) fn new(api: Api, terms: &ServerTerms) -> anyhow::Result<Self> {
        Ok(Self {
            api,
            rtmp: terms.rtmp.clone(),
            boot: Boot::open(&terms.folder)?,
            applications: Applications::open(&terms.folder)?,
            connections: Connections::default(),
            looked: Mutex::default(),
        })
    }

    /// A connection is about to publish: under which name. `None` if it has more publishes
    /// than a client can.
    pub(crate) fn begin(&self, application: &str, client: u64) -> Option<Published> {
        self.applications.learn(application);
        self.connections.begin(client)
    }

    /// It was refused.
    pub(crate) fn refuse(&self, published: &Published) {
        self.connections.refuse(published);
    }

    /// It has ended: what it was; `None` if nobody knows it.
    pub(crate) fn end(&self, client: u64) -> Option<Published> {
        self.connections.end(client)
    }

    /// What a connection publishes. Of one that is not known, which was begun before
    /// the edge was, nginx is asked.
    pub(crate) async fn find(&self, application: &str, client: u64) -> Found {
        self.applications.learn(application);
        if let Some(published) = self.connections.find(client) {
            return Found::Publishing(published);
        }
        let mut looked = self.looked.lock().await;
        let is_answered = match *looked {
            Some((at, is_answered)) if at.elapsed() <= EVERY => is_answered,
            _ => {
                let is_answered = self.ask_who_publishes().await;
                *looked = Some((Instant::now(), is_answered));
                is_answered
            }
        };
        match self.connections.find(client) {
            Some(published) => Found::Publishing(published),
            None if is_answered => Found::NotThere,
            None => Found::Unasked,
        }
    }

    async fn ask_who_publishes(&self) -> bool {
        let answer = self.stat().await;
        if let Err(fault) = &answer {
            let error = format!("{fault:#}");
            tracing::warn!(error, "cannot ask nginx-rtmp who publishes");
        }
        answer.is_ok()
    }

    /// A publisher, as hooks or `/stat` tell of it.
    pub(crate) fn offer(
        &self,
        published: &Published,
        application: &str,
        stream_key: &str,
        address: &str,
    ) -> Offer {
        let name = published
            .name
            .as_ref()
            .map_or(stream_key, PublicName::as_str);
        Offer {
            id: published.id.clone(),
            stream_key: Secret::new(stream_key),
            peer_address: address.to_owned(),
            protocol: IngestProtocol::Rtmp,
            play_url: play_url(&self.rtmp, &[application, name]),
        }
    }

    /// Who publishes now.
    pub(super) async fn look(&self) -> anyhow::Result<Look> {
        // However long the answer takes, the run began no later than this says.
        let asked = now();
        let stat = self.stat().await?;
        let asks = |stream: &&StatStream| self.applications.contains(&stream.application);
        Ok(Look {
            shown_within: AT_ONCE,
            boot_id: self.boot.of_process(stat.pid, stat.uptime, asked),
            seen: stat
                .streams
                .iter()
                .filter(asks)
                .filter_map(|stream| self.seen(stream))
                .collect(),
        })
    }

    /// Disconnects a publisher.
    pub(super) async fn kick(&self, id: &ConnectionId) -> anyhow::Result<()> {
        let Some(published) = Published::parse(id) else {
            return Ok(());
        };
        // It compares what is asked for as it stands, without decoding anything.
        let client = format!("clientid={}", published.client);
        let name = published.name.map(|name| format!("&name={name}"));
        let query = client + &name.unwrap_or_default();
        let path = format!("/control/drop/publisher?{query}");
        let answer = self.api.ask(Method::GET, &path).await?;
        // It says how many it has dropped: none, if it was gone.
        match answer.status {
            StatusCode::OK | StatusCode::NO_CONTENT => Ok(()),
            status => bail!("nginx-rtmp's control answers {}", status.as_u16()),
        }
    }

    /// What `/stat` says; from then on hooks of those connections are understood.
    async fn stat(&self) -> anyhow::Result<Stat> {
        let stat = Stat::parse(&self.api.get("/stat").await?)?;
        self.connections.agree(&stat.streams);
        Ok(stat)
    }

    /// The key of a stream that was renamed is told by hooks alone.
    fn seen(&self, stream: &StatStream) -> Option<Seen> {
        let published = stream.published()?;
        let offer = published.name.is_none().then(|| {
            let StatStream {
                application,
                name,
                address,
                ..
            } = stream;
            self.offer(&published, application, name, address)
        });
        Some(Seen {
            id: published.id,
            offer,
            stats: Some(stream.stats.clone()),
        })
    }
}

/// Seconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs().cast_signed())
}

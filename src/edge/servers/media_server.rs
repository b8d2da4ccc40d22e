use std::{path::Path, sync::Arc};

use http::Uri;

use super::{MediaMtx, NginxRtmp, Srs, http_api::HttpApi};
use crate::{
    config::MediaServerKind,
    edge::publisher::{ConnectionId, PublisherSnapshot},
};

/// A client of the media server. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) enum MediaServer {
    NginxRtmp(Arc<NginxRtmp>),
    MediaMtx(Arc<MediaMtx>),
    Srs(Arc<Srs>),
}

impl MediaServer {
    /// A client that connects at its first request. Reads the state files.
    ///
    /// - `api`: its HTTP API; `None` means its usual port on this machine.
    /// - `rtmp_url`: the URL from which relays read, without application and stream.
    pub(crate) fn new(
        kind: MediaServerKind,
        api: Option<Uri>,
        rtmp_url: String,
        state_dir: &Path,
    ) -> anyhow::Result<Self> {
        let usual_api = match kind {
            MediaServerKind::NginxRtmp => "http://127.0.0.1:8080",
            MediaServerKind::MediaMtx => "http://127.0.0.1:9997",
            MediaServerKind::Srs => "http://127.0.0.1:1985",
        };
        let api = HttpApi::new(&api.unwrap_or(Uri::from_static(usual_api)));
        Ok(match kind {
            MediaServerKind::NginxRtmp => {
                Self::NginxRtmp(Arc::new(NginxRtmp::new(api, rtmp_url, state_dir)?))
            }
            MediaServerKind::MediaMtx => {
                Self::MediaMtx(Arc::new(MediaMtx::new(api, rtmp_url, state_dir)?))
            }
            MediaServerKind::Srs => Self::Srs(Arc::new(Srs::new(api, rtmp_url))),
        })
    }

    /// The connections that publish now.
    pub(crate) async fn snapshot(&self) -> anyhow::Result<PublisherSnapshot> {
        match self {
            Self::NginxRtmp(server) => server.snapshot().await,
            Self::MediaMtx(server) => server.snapshot().await,
            Self::Srs(server) => server.snapshot().await,
        }
    }

    /// Asks to disconnect a publisher that does not exist: tests whether that is allowed.
    pub(crate) async fn kick_nobody(&self) -> anyhow::Result<()> {
        let id = match self {
            // The numbers of connections begin with 1.
            Self::NginxRtmp(_) => "0",
            Self::MediaMtx(_) => "00000000-0000-0000-0000-000000000000",
            Self::Srs(_) => "nobody",
        };
        match ConnectionId::parse(id) {
            Some(id) => self.kick(&id).await,
            None => Ok(()),
        }
    }

    /// Disconnects a publisher; one that is already gone is no error.
    pub(crate) async fn kick(&self, id: &ConnectionId) -> anyhow::Result<()> {
        match self {
            Self::NginxRtmp(server) => server.kick(id).await,
            Self::MediaMtx(server) => server.kick(id).await,
            Self::Srs(server) => server.kick(id).await,
        }
    }
}

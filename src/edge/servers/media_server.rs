use std::sync::Arc;

use http::Uri;

use super::{MediaMtx, NginxRtmp, Srs, http_api::HttpApi, settings::MediaServerSettings};
use crate::{
    config::MediaServerKind,
    edge::publisher::{ConnectionId, PublisherSnapshot},
};

/// A client of the media server. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) enum MediaServer {
    /// nginx with nginx-rtmp-module.
    NginxRtmp(Arc<NginxRtmp>),
    /// MediaMTX.
    MediaMtx(Arc<MediaMtx>),
    /// SRS.
    Srs(Arc<Srs>),
}

impl MediaServer {
    /// A client that connects at its first request. Reads the state files.
    pub(crate) fn new(settings: MediaServerSettings) -> anyhow::Result<Self> {
        let usual_api = match settings.kind {
            MediaServerKind::NginxRtmp => "http://127.0.0.1:8080",
            MediaServerKind::MediaMtx => "http://127.0.0.1:9997",
            MediaServerKind::Srs => "http://127.0.0.1:1985",
        };
        let usual_api = || Uri::from_static(usual_api);
        let api = HttpApi::new(&settings.api.clone().unwrap_or_else(usual_api));
        Ok(match settings.kind {
            MediaServerKind::NginxRtmp => {
                Self::NginxRtmp(Arc::new(NginxRtmp::new(api, &settings)?))
            }
            MediaServerKind::MediaMtx => Self::MediaMtx(Arc::new(MediaMtx::new(api, &settings)?)),
            MediaServerKind::Srs => Self::Srs(Arc::new(Srs::new(api, &settings))),
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

    /// Disconnects a publisher; one that is already gone is no error.
    pub(crate) async fn kick(&self, id: &ConnectionId) -> anyhow::Result<()> {
        match self {
            Self::NginxRtmp(server) => server.kick(id).await,
            Self::MediaMtx(server) => server.kick(id).await,
            Self::Srs(server) => server.kick(id).await,
        }
    }
}

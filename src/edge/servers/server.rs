use std::{path::PathBuf, sync::Arc, time::Duration};

use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{MediaMtx, NginxRtmp, Srs, api::Api};
use crate::{
    config::MediaServerKind,
    domain::Secret,
    edge::connection::{ConnectionId, Look},
};

/// What stands in the part of a URL as it is.
const PART: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// After how long servers that list whom they have accepted, with media or without, list
/// one at the latest.
pub(super) const AT_ONCE: Duration = Duration::from_secs(5);

/// Which media server there is, and where.
#[derive(Debug, Clone)]
pub struct ServerTerms {
    /// What it is.
    pub kind: MediaServerKind,
    /// Where it answers over HTTP; `None` means its usual port on this machine.
    pub api: Option<Uri>,
    /// Where relays read, without application and stream: `rtmp://host:port`.
    pub rtmp: String,
    /// Where the edge keeps what it must know after a restart.
    pub folder: PathBuf,
}

/// The media server. Cheap to clone.
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
    /// Nothing is asked yet. Reads what an earlier edge kept in the folder.
    pub(crate) fn new(terms: ServerTerms) -> anyhow::Result<Self> {
        let usual = match terms.kind {
            MediaServerKind::NginxRtmp => "http://127.0.0.1:8080",
            MediaServerKind::MediaMtx => "http://127.0.0.1:9997",
            MediaServerKind::Srs => "http://127.0.0.1:1985",
        };
        let usual = || Uri::from_static(usual);
        let api = Api::new(&terms.api.clone().unwrap_or_else(usual));
        Ok(match terms.kind {
            MediaServerKind::NginxRtmp => Self::NginxRtmp(Arc::new(NginxRtmp::new(api, &terms)?)),
            MediaServerKind::MediaMtx => Self::MediaMtx(Arc::new(MediaMtx::new(api, &terms)?)),
            MediaServerKind::Srs => Self::Srs(Arc::new(Srs::new(api, &terms))),
        })
    }

    /// Who publishes now.
    pub(crate) async fn look(&self) -> anyhow::Result<Look> {
        match self {
            Self::NginxRtmp(server) => server.look().await,
            Self::MediaMtx(server) => server.look().await,
            Self::Srs(server) => server.look().await,
        }
    }

    /// Disconnects a publisher. One that is gone already is no error.
    pub(crate) async fn kick(&self, id: &ConnectionId) -> anyhow::Result<()> {
        match self {
            Self::NginxRtmp(server) => server.kick(id).await,
            Self::MediaMtx(server) => server.kick(id).await,
            Self::Srs(server) => server.kick(id).await,
        }
    }
}

/// Where relays read what is published: the parts follow the server's address.
pub(super) fn play_url(rtmp: &str, parts: &[&str]) -> Secret {
    let parts = parts.iter().flat_map(|part| part.split('/'));
    let url = parts.fold(rtmp.to_owned(), |url, part| {
        format!("{url}/{}", utf8_percent_encode(part, PART))
    });
    Secret::new(url)
}

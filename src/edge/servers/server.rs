use std::path::PathBuf;

use http::Uri;

use crate::{
    config::MediaServerKind,
    edge::connection::{ConnectionId, Look},
};

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
pub(crate) struct MediaServer {}

impl MediaServer {
    /// Nothing is asked yet.
    pub(crate) fn new(_terms: ServerTerms) -> anyhow::Result<Self> {
        Ok(Self {})
    }

    /// Who publishes now.
    pub(crate) async fn look(&self) -> anyhow::Result<Look> {
        anyhow::bail!("no media server is known yet")
    }

    /// Disconnects a publisher. One that is gone already is no error.
    pub(crate) async fn kick(&self, _id: &ConnectionId) -> anyhow::Result<()> {
        Ok(())
    }
}

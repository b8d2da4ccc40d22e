use std::path::PathBuf;

use http::Uri;

use crate::config::MediaServerKind;

/// The media server beside an edge.
#[derive(Debug, Clone)]
pub(crate) struct MediaServerSettings {
    /// Its kind.
    pub(crate) kind: MediaServerKind,
    /// Its HTTP API; `None` means its usual port on this machine.
    pub(crate) api: Option<Uri>,
    /// The URL from which relays read, without application and stream: `rtmp://host:port`.
    pub(crate) rtmp_url: String,
    /// The directory in which the edge keeps its state across restarts.
    pub(crate) state_dir: PathBuf,
}

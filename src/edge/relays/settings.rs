use std::{path::PathBuf, time::Duration};

use crate::domain::UrlPolicy;

/// How relays run.
#[derive(Debug, Clone)]
pub(crate) struct RelaySettings {
    /// The most relays at once: 1 to 1000.
    pub(crate) capacity: u32,
    /// The ffmpeg program.
    pub(crate) ffmpeg: PathBuf,
    /// Time without progress after which a relay is stopped.
    pub(crate) progress_timeout: Duration,
    /// Time that relays continue while the control plane is unreachable.
    pub(crate) outage_grace: Duration,
    /// The allowed destinations.
    pub(crate) url_policy: UrlPolicy,
}

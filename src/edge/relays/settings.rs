use std::{path::PathBuf, time::Duration};

use crate::domain::UrlPolicy;

/// How relays run.
#[derive(Debug, Clone)]
pub struct RelayTerms {
    /// How many at most: 1 to 1000.
    pub capacity: u32,
    /// The program that they are run with.
    pub ffmpeg: PathBuf,
    /// After how long without progress one is ended.
    pub patience: Duration,
    /// For how long they go on while the control plane is away.
    pub outage_grace: Duration,
    /// Where they may be sent.
    pub policy: UrlPolicy,
}

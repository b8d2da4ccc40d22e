use std::{path::PathBuf, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{domain::UrlPolicy, edge::ControlPlane};

/// How relays run.
#[derive(Debug, Clone)]
pub struct RelayTerms {
    /// How many at most: 1 to 1000.
    pub capacity: u32,
    /// The program that they are run with.
    pub ffmpeg: PathBuf,
    /// After how long without progress one is ended.
    pub patience: Duration,
    /// Where they may be sent.
    pub policy: UrlPolicy,
}

/// Claims relays of a media server and runs them until `shutdown`; then stops them and
/// gives them back.
pub(crate) async fn run(
    _control: ControlPlane,
    _node_id: String,
    _terms: RelayTerms,
    shutdown: CancellationToken,
) {
    shutdown.cancelled().await;
}

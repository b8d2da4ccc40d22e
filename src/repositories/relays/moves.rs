//! Moves of relays away from media servers that drain.
//!
//! A relay can move only to a worker of any media server, because those of the media server drain
//! like itself; and only if the media server has told from where its media can be read.

use std::collections::HashMap;

use sqlx::FromRow;

use super::{
    RelayKey, RelayLeases,
    claims::used_capacity,
    progress::RelayProgress,
    rows::{load, relay_cost},
};
use crate::{
    domain::{MIN_RUN, NodeId, Time},
    error::Result,
    repositories::{projects::rows::take_revision, sql::for_share},
};

/// Workers that claim are recorded every minute.
const CLAIMS_NOW: chrono::TimeDelta = chrono::TimeDelta::minutes(2);

/// The most relays that are moved at once.
const BATCH_SIZE: i64 = 100;

/// A relay that has to move.
#[derive(Debug, Clone, FromRow)]
struct MovingRelay {
    #[sqlx(flatten)]
    key: RelayKey,
    /// What it takes of the capacity of a worker.
    cost: i64,
    allows_second_connection: bool,
}

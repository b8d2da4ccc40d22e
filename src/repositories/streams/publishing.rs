//! Streams, as media servers report them.

use super::{connections, node_boots};
use crate::{
    database::{Batch, Database, DeletedBatch},
    domain::{NodeId, StreamTimeouts, Time},
    error::Result,
    repositories::Refusals,
};

/// Streams, as media servers report them.
#[derive(Debug, Clone)]
pub struct Publishing {
    pub(crate) database: Database,
    pub(super) refusals: Refusals,
    pub(crate) timeouts: StreamTimeouts,
    /// The only media server that reports, if the caller is bound to one.
    pub(super) bound_node: Option<NodeId>,
}

impl Publishing {
    /// Streams in this database, with these timeouts.
    pub fn new(database: Database, timeouts: StreamTimeouts) -> Self {
        Self {
            refusals: Refusals::new(database.clone()),
            database,
            timeouts,
            bound_node: None,
        }
    }

    /// The same for a caller that reports for this media server only, if there is one. A report of
    /// a connection about a stream of others is a `NodeMismatch`.
    pub fn bound_to(&self, node: Option<&NodeId>) -> Self {
        Self {
            bound_node: node.cloned(),
            ..self.clone()
        }
    }

    /// Deletes a batch of connections from before a time.
    pub async fn purge_connections(
        database: &Database,
        before: Time,
        batch: Batch,
    ) -> Result<DeletedBatch> {
        connections::purge(database, before, batch).await
    }

    /// Deletes a batch of boots from before a time.
    pub async fn purge_boots(
        database: &Database,
        before: Time,
        batch: Batch,
    ) -> Result<DeletedBatch> {
        node_boots::purge(database, before, batch).await
    }
}

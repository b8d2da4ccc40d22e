//! The networks from which users signed in: a sign-in from another one is told to its user.

use chrono::TimeDelta;

use super::notices::Notices;
use crate::{
    database::{Batch, Database, DeletedBatch, Transaction},
    domain::{EmailKind, Session, Time, UserId},
    error::Result,
};

/// The time without a sign-in after which a network is forgotten.
const RETENTION: TimeDelta = TimeDelta::days(180);

/// The most networks that are remembered for a user: those of the last sign-ins.
const MAX_NETWORKS: i64 = 50;

/// The networks from which users signed in.
#[derive(Debug, Clone)]
pub struct KnownNetworks {
    database: Database,
}

impl KnownNetworks {
    /// The networks in this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Deletes a batch of networks without a recent sign-in.
    pub async fn purge(&self, now: Time, batch: Batch) -> Result<DeletedBatch> {
        const DELETE: &str = "delete from known_networks
             where (user_id, network) in (
                 select user_id, network
                 from known_networks
                 where last_sign_in_time < $1
                 order by last_sign_in_time
                 limit $2 offset $3)";
        self.database
            .delete_batch(DELETE, now - RETENTION, batch)
            .await
    }
}

/// Remembers the network of a new session. Queues a notice if it is a new one, unless it is the
/// user's first.
pub(super) async fn remember(
    tx: &mut Transaction,
    session: &Session,
    notices: Notices,
) -> Result<()> {
    let Some(peer) = session.origin.peer_address else {
        return Ok(());
    };
    let (user_id, network, now) = (session.user_id, peer.prefix(), session.create_time);
    let known = rows_affected!(
        tx,
        "update known_networks
         set last_sign_in_time = $3
         where user_id = $1 and network = $2",
        [user_id, &network, now]
    )?;
    if known > 0 {
        return Ok(());
    }
    let has_others = exists!(
        tx,
        "select user_id from known_networks where user_id = $1 limit 1",
        [user_id]
    )?;
    let added = rows_affected!(
        tx,
        "insert into known_networks (user_id, network, last_sign_in_time)
         values ($1, $2, $3)
         on conflict (user_id, network) do nothing",
        [user_id, &network, now]
    )?;
    forget_oldest(tx, user_id).await?;
    match has_others && added > 0 {
        true => {
            let kind = EmailKind::NewNetwork;
            notices.queue(tx, user_id, kind, &network, now).await
        }
        false => Ok(()),
    }
}

async fn forget_oldest(tx: &mut Transaction, user_id: UserId) -> Result<()> {
    execute!(
        tx,
        "delete from known_networks
         where user_id = $1 and network in (
             select network
             from known_networks
             where user_id = $1
             order by last_sign_in_time desc
             limit 1000 offset $2)",
        [user_id, MAX_NETWORKS]
    )
}

use crate::{
    database::{Database, Transaction},
    domain::{KeyPurpose, KeyRecord, Time},
    error::{Error, Result},
};

/// The records of signing and sealing keys, which all replicas share.
#[derive(Debug, Clone)]
pub struct KeyRecords {
    database: Database,
}

impl KeyRecords {
    /// The records of this database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// All records, those of the newest keys first.
    pub async fn list(&self) -> Result<Vec<KeyRecord>> {
        fetch_all!(
            self.database.reader(),
            "select purpose, id, secret_sealed, create_time, active_time, retire_time
             from keys
             order by create_time desc, id desc",
            []
        )
    }

    /// Records that a key of the settings seals from now on. If it was retired, it is not
    /// any more.
    pub async fn register_root(&self, id: &str, now: Time) -> Result<()> {
        execute!(
            self.database.writer(),
            "insert into keys (purpose, id, create_time, active_time, finish_time)
             values ($1, $2, $3, $3, $3)
             on conflict (purpose, id) do update
             set retire_time = null
             where keys.retire_time is not null",
            [KeyPurpose::Seal.as_str(), id, now]
        )
    }

    /// Adds a signing key. All others retire at `others_retire` at the latest, also those of
    /// the settings, whose ids are `of_settings`.
    pub async fn rotate_signing(
        &self,
        new: &KeyRecord,
        of_settings: &[String],
        others_retire: Time,
    ) -> Result<()> {
        self.database
            .transaction(|mut tx| async move {
                for id in of_settings {
                    register_signing(&mut tx, id, new.create_time).await?;
                }
                execute!(
                    tx,
                    "update keys
                     set retire_time = $2
                     where purpose = $1 and (retire_time is null or retire_time > $2)",
                    [KeyPurpose::Sign.as_str(), others_retire]
                )?;
                insert(&mut tx, new, Some(new.create_time)).await?;
                tx.commit(()).await
            })
            .await
    }

    /// Begins the rotation to a new sealing key, or continues an unfinished one. Returns the
    /// id of the key to which it rotates, and since when that key is active.
    pub async fn begin_sealing_rotation(&self, new: &KeyRecord) -> Result<(String, Time)> {
        self.database
            .transaction(|mut tx| async move {
                insert(&mut tx, new, None).await?;
                let (id, active_time): (String, Time) = fetch_optional!(
                    tx,
                    "select id, active_time from keys where purpose = $1 and finish_time is null",
                    [KeyPurpose::Seal.as_str()]
                )?
                // The unfinished rotation has finished meanwhile.
                .ok_or(Error::ConcurrentChange)?;
                tx.commit((id, active_time)).await
            })
            .await
    }

    /// Finishes the rotation to a sealing key. All others except the root key, which wraps
    /// it, retire at `others_retire` at the latest.
    pub async fn finish_sealing_rotation(
        &self,
        id: &str,
        root: &str,
        others_retire: Time,
        now: Time,
    ) -> Result<()> {
        self.database
            .transaction(|mut tx| async move {
                let finished = rows_affected!(
                    tx,
                    "update keys
                     set finish_time = $3
                     where purpose = $1 and id = $2 and finish_time is null",
                    [KeyPurpose::Seal.as_str(), id, now]
                )?;
                if finished == 0 {
                    // Another run has finished it. Newer keys may exist, which must stay.
                    return tx.rollback(()).await;
                }
                execute!(
                    tx,
                    "update keys
                     set retire_time = $4
                     where purpose = $1 and id <> $2 and id <> $3 and retire_time is null",
                    [KeyPurpose::Seal.as_str(), id, root, others_retire]
                )?;
                tx.commit(()).await
            })
            .await
    }

    /// Replaces a key by the same key, resealed. `false` if it has changed meanwhile.
    pub async fn rewrap(&self, record: &KeyRecord, sealed: &[u8]) -> Result<bool> {
        let rewrapped = rows_affected!(
            self.database.writer(),
            "update keys
             set secret_sealed = $4
             where purpose = $1 and id = $2 and secret_sealed = $3",
            [
                record.purpose.as_str(),
                &record.id,
                &record.secret_sealed,
                sealed
            ]
        )?;
        Ok(rewrapped == 1)
    }

    /// Deletes a retired key that a rotation created, unless a value is still sealed under
    /// it. `prefix` is the prefix of such values.
    pub async fn purge(&self, record: &KeyRecord, prefix: &[u8], now: Time) -> Result<()> {
        execute!(
            self.database.writer(),
            "delete from keys
             where purpose = $1 and id = $2 and secret_sealed is not null and retire_time <= $4
               and not exists (
                   select 1 from projects where substr(stream_key_sealed, 1, 4) = $3)
               and not exists (
                   select 1 from destinations
                   where substr(stream_key_sealed, 1, 4) = $3
                      or substr(srt_passphrase_sealed, 1, 4) = $3)
               and not exists (
                   select 1 from webhooks
                   where substr(secret_sealed, 1, 4) = $3
                      or substr(previous_secret_sealed, 1, 4) = $3)
               and not exists (
                   select 1 from streams where substr(play_url_sealed, 1, 4) = $3)
               and not exists (
                   select 1 from sessions where substr(refresh_seed, 1, 4) = $3)",
            [record.purpose.as_str(), &record.id, prefix, now]
        )
    }
}

/// Adds the key of a rotation, unless another rotation is unfinished.
async fn insert(tx: &mut Transaction, key: &KeyRecord, finish_time: Option<Time>) -> Result<()> {
    execute!(
        tx,
        "insert into keys (purpose, id, secret_sealed, create_time, active_time, finish_time)
         values ($1, $2, $3, $4, $5, $6)
         on conflict do nothing",
        [
            key.purpose.as_str(),
            &key.id,
            &key.secret_sealed,
            key.create_time,
            key.active_time,
            finish_time
        ]
    )
}

/// Adds the record of a signing key of the settings, if there is none.
async fn register_signing(tx: &mut Transaction, id: &str, now: Time) -> Result<()> {
    execute!(
        tx,
        "insert into keys (purpose, id, create_time, active_time, finish_time)
         values ($1, $2, $3, $3, $3)
         on conflict (purpose, id) do nothing",
        [KeyPurpose::Sign.as_str(), id, now]
    )
}

impl_from_row!(KeyRecord: purpose, id, secret_sealed, create_time, active_time, retire_time);

use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::json;
use tokio::time::sleep;
use uuid::Uuid;

use super::{
    admin_output::Output,
    error::CommandError,
    migrate::{require_database, with_database},
    progress::{countdown, counter},
    serve::prepare,
};
use crate::{
    auth::{AssociatedData, Keys, LEEWAY_SECONDS},
    config::{Config, Resolved},
    database::Database,
    domain::{Time, now},
    error::{Error, Result},
    jobs::KeyRefresh,
    repositories::{KeyRecords, SealedColumn, SealedValue},
};

/// Sealed values read at once.
const BATCH_SIZE: i64 = 200;

/// How long a key is used beyond its time, because clocks differ and calls take a while.
const CLOCK_MARGIN: Duration = Duration::from_secs(10);

/// How long request ids and page tokens, which depend on a sealing key, remain valid.
const SEALED_TOKEN_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Rotates the key that signs access tokens.
pub(super) fn signing_key(
    settings: &Resolved<Config>,
    activate_after: Duration,
    revoke_old: bool,
    output: Output,
) -> Result<(), CommandError> {
    run(settings, output, async |rotation| {
        rotation
            .rotate_signing_key(&settings.config, activate_after, revoke_old)
            .await
    })
}

/// Rotates the key that seals secrets, and seals all of them again.
pub(super) fn sealing_key(
    settings: &Resolved<Config>,
    activate_after: Duration,
    output: Output,
) -> Result<(), CommandError> {
    run(settings, output, async |rotation| {
        rotation.rotate_sealing_key(activate_after).await
    })
}

struct Rotation {
    database: Database,
    keys: Keys,
    key_refresh: KeyRefresh,
    records: KeyRecords,
    output: Output,
}

/// The counts of one pass through sealed values.
#[derive(Default)]
struct ResealCounts {
    /// Values that an earlier key sealed.
    found: u64,
    /// Values among these that cannot be opened.
    unreadable: u64,
}

fn run(
    settings: &Resolved<Config>,
    output: Output,
    rotate: impl AsyncFnOnce(&mut Rotation) -> anyhow::Result<()>,
) -> Result<(), CommandError> {
    let config = &settings.config;
    prepare(settings)?;
    require_database(config)?;
    let keys = Keys::load(&config.existing_keys())?;
    with_database(config, async |database| {
        let mut rotation = Rotation {
            key_refresh: KeyRefresh::new(database.clone(), keys.clone()),
            records: KeyRecords::new(database.clone()),
            database: database.clone(),
            keys,
            output,
        };
        rotation.key_refresh.refresh().await?;
        Ok(rotate(&mut rotation).await?)
    })
}

impl Rotation {
    async fn rotate_signing_key(
        &self,
        config: &Config,
        activate_after: Duration,
        revoke_old: bool,
    ) -> anyhow::Result<()> {
        let new = self.keys.new_signing_key(now(), activate_after);
        let new = new.context("cannot generate a key")?;
        let last_token = config.access_token_lifetime + Duration::from_secs(LEEWAY_SECONDS);
        let others_retire = match revoke_old {
            true => new.active_time,
            false => new.active_time + last_token + CLOCK_MARGIN,
        };

        self.register_root_key().await?;
        let configured_ids = self.keys.signing.configured_ids();
        self.records
            .rotate_signing(&new, &configured_ids, others_retire)
            .await?;

        let (active, retire) = (rfc3339(new.active_time), rfc3339(others_retire));
        let lines = [
            format!("the key {} signs from {active}", new.id),
            format!("all other keys are accepted until {retire}"),
        ];
        let document = json!({
            "keyId": new.id,
            "activeTime": active,
            "othersRetireTime": retire,
        });
        self.output.print(&lines, &document);
        Ok(())
    }

    async fn rotate_sealing_key(&mut self, activate_after: Duration) -> anyhow::Result<()> {
        let new = self.keys.new_sealing_key(now(), activate_after);
        self.register_root_key().await?;
        let (id, active_time) = self.records.begin_sealing_rotation(&new).await?;
        if id != new.id {
            eprintln!("continuing an unfinished rotation");
        }

        eprintln!("the key {id} seals from {}", rfc3339(active_time));
        // By then, values sealed with the old key have been written.
        let settled = active_time + CLOCK_MARGIN;
        let wait = (settled - now()).to_std().unwrap_or_default();
        countdown("waiting until all servers seal with the key", wait).await;
        self.key_refresh.refresh().await?;
        let sealed = self.reseal().await?;

        let others_retire = now() + SEALED_TOKEN_LIFETIME + CLOCK_MARGIN;
        let root = self.keys.sealer.first_root_id().to_string();
        self.records
            .finish_sealing_rotation(&id, &root, others_retire, now())
            .await?;
        let retire = rfc3339(others_retire);
        let lines = [
            format!(
                "{} values were sealed again with the key {id}",
                sealed.found
            ),
            format!("no other key is needed after {retire}"),
        ];
        let document = json!({
            "keyId": id,
            "sealedValues": sealed.found,
            "unreadableValues": sealed.unreadable,
            "othersRetireTime": retire,
        });
        self.output.print(&lines, &document);
        if sealed.unreadable > 0 {
            anyhow::bail!("{} values cannot be opened, see above", sealed.unreadable);
        }
        Ok(())
    }

    /// Seals all values again, until a pass finds none that it can.
    async fn reseal(&self) -> Result<ResealCounts> {
        self.rewrap_keys().await?;
        let mut total = ResealCounts::default();
        loop {
            let mut pass = ResealCounts::default();
            for column in SealedColumn::ALL {
                let ResealCounts { found, unreadable } = self.reseal_column(column).await?;
                eprintln!("{found} values of {column:?} were sealed with an earlier key");
                pass.found += found;
                pass.unreadable += unreadable;
            }
            total.found += pass.found - pass.unreadable;
            total.unreadable = pass.unreadable;
            if pass.found == pass.unreadable {
                return Ok(total);
            }
        }
    }

    /// Reseals once the values of a column that an earlier key sealed. It changes only the
    /// sealed column of a row. A concurrent change of the value wins.
    async fn reseal_column(&self, column: SealedColumn) -> Result<ResealCounts> {
        let key = self.keys.sealer.active_key_id();
        let progress = counter(&format!("sealing {column:?} again"));
        let mut counts = ResealCounts::default();
        let mut after = Uuid::nil();
        loop {
            let started_at = Instant::now();
            let values =
                column.list_not_sealed_under(&self.database, key.bytes(), after, BATCH_SIZE);
            let values = values.await?;
            let Some(last) = values.last() else {
                progress.finish_and_clear();
                return Ok(counts);
            };
            after = last.id;
            for value in &values {
                counts.found += 1;
                progress.inc(1);
                if !self.reseal_value(column, value).await? {
                    counts.unreadable += 1;
                }
            }
            // Leaves the database to calls for half of the time.
            sleep(started_at.elapsed()).await;
        }
    }

    /// Rewraps the database keys with the first root key.
    async fn rewrap_keys(&self) -> Result<()> {
        for record in self.records.list().await? {
            let rewrapped = self.keys.rewrap(&record).map_err(Error::internal)?;
            if let Some(rewrapped) = rewrapped {
                self.records.rewrap(&record, &rewrapped).await?;
            }
        }
        Ok(())
    }

    async fn reseal_value(&self, column: SealedColumn, value: &SealedValue) -> Result<bool> {
        let aad = match column {
            SealedColumn::StreamKeys => AssociatedData::stream_key(value.id.into()),
            SealedColumn::DestinationKeys => AssociatedData::destination_key(value.id.into()),
            SealedColumn::SrtPassphrases => AssociatedData::srt_passphrase(value.id.into()),
            SealedColumn::RefreshSeeds => AssociatedData::refresh_seed(value.id.into()),
            SealedColumn::PlayUrls => AssociatedData::play_url(value.id),
            SealedColumn::RepeatedSecrets => AssociatedData::api_key_secret(value.id.into()),
            SealedColumn::TotpSecrets => AssociatedData::totp_secret(value.id.into()),
            SealedColumn::WebhookSecrets | SealedColumn::PreviousWebhookSecrets => {
                AssociatedData::webhook_secret(value.id.into())
            }
        };
        let secret = match self.keys.sealer.open(&aad, &value.sealed) {
            Ok(secret) => secret,
            Err(error) => {
                let error = error.with_causes();
                tracing::warn!(id = %value.id, error, "cannot reseal a value");
                return Ok(false);
            }
        };
        let resealed = self.keys.sealer.seal(&aad, &secret);
        column.replace(&self.database, value, &resealed).await?;
        Ok(true)
    }

    /// Requires the first root key on every server from now on, because it seals the new key.
    async fn register_root_key(&self) -> Result<(), Error> {
        let root = self.keys.sealer.first_root_id().to_string();
        self.records.register_root(&root, now()).await
    }
}

fn rfc3339(time: Time) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

use std::time::Duration;

use anyhow::Context;
use tokio::time::sleep;

use super::{
    failure::Failure,
    serve::{load_keys, prepare},
};
use crate::{
    auth::{Keys, LEEWAY_SECONDS},
    config::Config,
    database::Database,
    domain::{Time, now},
    error::{Error, Result},
    jobs::{KeyWatch, Pass, Resealing},
    repositories::{KeyRecords, SealedValues},
};

/// How long a key signs or seals beyond its time: clocks differ, and what was
/// begun with it comes to its end.
const MARGIN: Duration = Duration::from_secs(10);

/// How long request ids and page tokens count, which are made under a sealing key.
const SEALING_MEMORY: Duration = Duration::from_secs(24 * 60 * 60);

/// Makes a new key that signs access tokens.
pub(super) fn signing_key(
    config: &Config,
    activate_after: Duration,
    revoke_old: bool,
) -> Result<(), Failure> {
    run(config, async |rotation| {
        rotation.signing(config, activate_after, revoke_old).await
    })
}

/// Makes a new key that seals secrets, and seals all of them anew.
pub(super) fn sealing_key(config: &Config, activate_after: Duration) -> Result<(), Failure> {
    run(config, async |rotation| {
        rotation.sealing(activate_after).await
    })
}

struct Rotation {
    database: Database,
    keys: Keys,
    watch: KeyWatch,
    records: KeyRecords,
}

fn run(
    config: &Config,
    rotate: impl AsyncFnOnce(&mut Rotation) -> anyhow::Result<()>,
) -> Result<(), Failure> {
    prepare(config)?;
    let keys = load_keys(config)?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let database = Database::open(&config.database());
        database.migrate().await?;
        let mut rotation = Rotation {
            watch: KeyWatch::new(database.clone(), keys.clone()),
            records: KeyRecords::new(database.clone()),
            database: database.clone(),
            keys,
        };
        rotation.watch.refresh().await?;
        rotate(&mut rotation).await?;
        database.close().await;
        Ok(())
    })
}

impl Rotation {
    async fn signing(
        &self,
        config: &Config,
        activate_after: Duration,
        revoke_old: bool,
    ) -> anyhow::Result<()> {
        let new = self.keys.new_signing_key(now(), activate_after);
        let new = new.context("cannot make a key")?;
        let last_token = config.access_token_lifetime + Duration::from_secs(LEEWAY_SECONDS);
        let others_retire = match revoke_old {
            true => new.active_time,
            false => new.active_time + last_token + MARGIN,
        };

        self.need_root().await?;
        let of_settings = self.keys.signing.ids_of_settings();
        self.records
            .rotate_signing(&new, &of_settings, others_retire)
            .await?;

        println!("the key {} signs from {}", new.id, text(new.active_time));
        println!("all others are accepted until {}", text(others_retire));
        Ok(())
    }

    async fn sealing(&mut self, activate_after: Duration) -> anyhow::Result<()> {
        let new = self.keys.new_sealing_key(now(), activate_after);
        self.need_root().await?;
        let (id, active_time) = self.records.begin_sealing_rotation(&new).await?;
        if id != new.id {
            eprintln!("going on with a rotation that has not come to its end");
        }

        eprintln!("the key {id} seals from {}", text(active_time));
        // Also what was sealed before under the old key has been written by then.
        let settled = active_time + MARGIN;
        sleep((settled - now()).to_std().unwrap_or_default()).await;
        self.watch.refresh().await?;
        let sealed = self.reseal().await?;

        let others_retire = now() + SEALING_MEMORY + MARGIN;
        let root = self.keys.sealer.first_root().to_string();
        self.records
            .finish_sealing_rotation(&id, &root, others_retire, now())
            .await?;
        println!(
            "{} values were sealed anew under the key {id}",
            sealed.found
        );
        println!("no other is needed after {}", text(others_retire));
        if sealed.unreadable > 0 {
            anyhow::bail!("{} values cannot be opened, see above", sealed.unreadable);
        }
        Ok(())
    }

    /// Until a whole pass finds nothing that it could seal anew.
    async fn reseal(&self) -> Result<Pass> {
        let resealing = Resealing::new(self.database.clone(), self.keys.clone());
        resealing.rewrap().await?;
        let mut total = Pass::default();
        loop {
            let mut pass = Pass::default();
            for column in SealedValues::ALL {
                let Pass { found, unreadable } = resealing.pass(column).await?;
                eprintln!("{found} values of {column:?} were under an earlier key");
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

    /// The first root key wraps the new one: from now on no server starts without it.
    async fn need_root(&self) -> Result<(), Error> {
        let root = self.keys.sealer.first_root().to_string();
        self.records.register_root(&root, now()).await
    }
}

fn text(time: Time) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

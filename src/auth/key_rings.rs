//! The rings of keys, as the database has them.
//!
//! A rotation adds a key to the table `keys`. Every replica looks there once a
//! second, and one that could not look for 4 seconds refuses calls. A new key is
//! active only after some seconds, so by then every replica that still serves
//! knows it: no token and no secret is made that another replica cannot read.

use std::{sync::Arc, time::Duration};

use zeroize::Zeroizing;

use super::{
    Keys, LoadKeysError, Place, Sealer,
    sealing::KeptKey,
    sealing_key::SealingKeyId,
    signing_keys::{SigningKey, Timed},
};
use crate::{
    domain::{KeyPurpose, KeyRecord, Time},
    random::random_bytes,
};

impl Keys {
    /// Takes the rings as these records say, the newest first. Fails, and leaves
    /// them as they are, if a key cannot be opened with the keys of the settings.
    pub fn update(&self, records: &[KeyRecord]) -> Result<(), LoadKeysError> {
        let mut sealing = Vec::new();
        let mut signing = Vec::new();
        for record in records {
            let Some(sealed) = &record.secret_sealed else {
                continue;
            };
            match record.purpose {
                KeyPurpose::Seal => sealing.push(self.sealing_key(record, sealed)?),
                KeyPurpose::Sign => signing.push(self.signing_key(record, sealed)?),
            }
        }

        self.sealer.keep(sealing);
        self.signing.keep(signing, |id| {
            let mut of_settings = records.iter().filter(|record| {
                record.purpose == KeyPurpose::Sign && record.secret_sealed.is_none()
            });
            of_settings.find(|record| record.id == id)?.retire_time
        });
        Ok(())
    }

    /// Fails if a root key is needed that does not stand in the settings.
    pub fn check_roots(&self, records: &[KeyRecord], now: Time) -> Result<(), LoadKeysError> {
        let missing = records.iter().find(|record| {
            record.purpose == KeyPurpose::Seal
                && record.secret_sealed.is_none()
                && !record.is_retired(now)
                && !self.sealer.has_root(&record.id)
        });
        match missing {
            None => Ok(()),
            Some(record) => Err(LoadKeysError::Setting(format!(
                "SLUICE_SEALING_KEYS lacks the key {}, under which secrets are sealed",
                record.id
            ))),
        }
    }

    /// A new sealing key.
    pub fn new_sealing_key(&self, now: Time, activate_after: Duration) -> KeyRecord {
        let secret = Zeroizing::new(random_bytes::<32>());
        let id = SealingKeyId::of(&secret).to_string();
        self.record(KeyPurpose::Seal, id, &secret[..], now, activate_after)
    }

    /// A new signing key.
    pub fn new_signing_key(&self, now: Time, activate_after: Duration) -> Option<KeyRecord> {
        let (id, secret) = SigningKey::generate()?;
        Some(self.record(KeyPurpose::Sign, id, &secret, now, activate_after))
    }

    fn record(
        &self,
        purpose: KeyPurpose,
        id: String,
        secret: &[u8],
        now: Time,
        activate_after: Duration,
    ) -> KeyRecord {
        KeyRecord {
            secret_sealed: Some(self.sealer.wrap_key(&Place::kept_key(purpose, &id), secret)),
            purpose,
            id,
            create_time: now,
            active_time: now + activate_after,
            retire_time: None,
        }
    }

    /// The same key sealed under the first root key; `None` if it is already.
    pub fn rewrapped(&self, record: &KeyRecord) -> Result<Option<Vec<u8>>, LoadKeysError> {
        let Some(sealed) = &record.secret_sealed else {
            return Ok(None);
        };
        if SealingKeyId::of_sealed(sealed) == Some(self.sealer.first_root()) {
            return Ok(None);
        }
        let secret = open(&self.sealer, record, sealed)?;
        let place = Place::kept_key(record.purpose, &record.id);
        Ok(Some(self.sealer.wrap_key(&place, &secret)))
    }

    fn sealing_key(&self, record: &KeyRecord, sealed: &[u8]) -> Result<KeptKey, LoadKeysError> {
        if let Some(known) = self.sealer.known(&record.id, record.active_time) {
            return Ok(known);
        }
        let secret = open(&self.sealer, record, sealed)?;
        let secret = <&[u8; 32]>::try_from(&secret[..]).map_err(|_| damaged(record))?;
        Ok(KeptKey::new(secret, record.active_time))
    }

    fn signing_key(&self, record: &KeyRecord, sealed: &[u8]) -> Result<Timed, LoadKeysError> {
        let key = match self.signing.known(&record.id) {
            Some(known) => known,
            None => {
                let secret = open(&self.sealer, record, sealed)?;
                let key = SigningKey::from_der(&secret);
                Arc::new(key.ok_or_else(|| damaged(record))?)
            }
        };
        Ok(Timed {
            key,
            active_time: Some(record.active_time),
            retire_time: record.retire_time,
        })
    }
}

fn open(
    sealer: &Sealer,
    record: &KeyRecord,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, LoadKeysError> {
    let place = Place::kept_key(record.purpose, &record.id);
    match SealingKeyId::of_sealed(sealed) {
        Some(root) if !sealer.has_root(&root.to_string()) => {
            let (purpose, id) = (noun(record.purpose), &record.id);
            Err(LoadKeysError::Setting(format!(
                "SLUICE_SEALING_KEYS lacks the key {root}, under which the {purpose} key {id} is sealed"
            )))
        }
        _ => sealer.open_key(&place, sealed).map_err(|_| damaged(record)),
    }
}

fn damaged(record: &KeyRecord) -> LoadKeysError {
    let (purpose, id) = (noun(record.purpose), &record.id);
    LoadKeysError::Setting(format!(
        "SLUICE_SEALING_KEYS does not open the {purpose} key {id} of the database"
    ))
}

fn noun(purpose: KeyPurpose) -> &'static str {
    match purpose {
        KeyPurpose::Sign => "signing",
        KeyPurpose::Seal => "sealing",
    }
}

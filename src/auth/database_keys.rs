//! Loading of the key rings from the table `keys`.
//!
//! A rotation adds a key to the table. Every replica reads the table once a second, and
//! refuses calls if it could not do so for 4 seconds. A new key becomes active only
//! some seconds later. By then every serving replica has it, so no replica issues a
//! token or seals a secret that another cannot read.

use std::{fs, sync::Arc, time::Duration};

use zeroize::Zeroizing;

use super::{
    AssociatedData, Keys, LoadKeysError,
    key_ring::RingKey,
    keys::SealingKeySource,
    sealing_key::{SealingKey, SealingKeyId},
    signing_keys::SigningKey,
};
use crate::{
    domain::{KeyPurpose, KeyRecord, Time},
    random::random_bytes,
};

impl Keys {
    /// Sets the rings to these records, newest first. Fails without a change if a root
    /// key of the settings does not unwrap a key.
    pub fn update(&self, records: &[KeyRecord]) -> Result<(), LoadKeysError> {
        let find = |id: &str| {
            self.sealer
                .ring
                .find(|entry| entry.key.id.to_string() == id)
        };
        let parse = |secret: &[u8]| Some(SealingKey::new(secret.try_into().ok()?));
        let sealing = self.ring_keys(records, KeyPurpose::Seal, find, parse)?;
        let find = |id: &str| self.signing.ring.find(|entry| entry.key.id == id);
        let signing = self.ring_keys(records, KeyPurpose::Sign, find, SigningKey::from_der)?;

        self.sealer.ring.set_database_keys(sealing, |_| None);
        self.signing.ring.set_database_keys(signing, |key| {
            let mut configured = records.iter().filter(|record| {
                record.purpose == KeyPurpose::Sign && record.secret_sealed.is_none()
            });
            configured.find(|record| record.id == key.id)?.retire_time
        });
        Ok(())
    }

    /// The keys of a purpose. Those that a ring has already are not unwrapped again.
    fn ring_keys<K>(
        &self,
        records: &[KeyRecord],
        purpose: KeyPurpose,
        find: impl Fn(&str) -> Option<Arc<K>>,
        parse: impl Fn(&[u8]) -> Option<K>,
    ) -> Result<Vec<RingKey<K>>, LoadKeysError> {
        let records = records.iter().filter(|record| record.purpose == purpose);
        let wrapped = records.filter_map(|record| Some((record, record.secret_sealed.as_ref()?)));
        let keys = wrapped.map(|(record, sealed)| {
            let key = match find(&record.id) {
                Some(loaded) => loaded,
                None => {
                    let secret = self.unwrap_key(record, sealed)?;
                    Arc::new(parse(&secret).ok_or_else(|| damaged(record))?)
                }
            };
            Ok(RingKey {
                key,
                active_time: Some(record.active_time),
                // A sealing key is used until its record is deleted.
                retire_time: match purpose {
                    KeyPurpose::Seal => None,
                    KeyPurpose::Sign => record.retire_time,
                },
            })
        });
        keys.collect()
    }

    /// Fails if the settings lack a root key that has not retired.
    pub fn check_roots(&self, records: &[KeyRecord], now: Time) -> Result<(), LoadKeysError> {
        let missing = records
            .iter()
            .find(|record| record.is_needed_root(now) && !self.sealer.has_root(&record.id));
        match missing {
            None => Ok(()),
            Some(record) => Err(self.missing_root(&record.id, "secrets are sealed")),
        }
    }

    /// Removes the sealing key that this process has generated, unless it is in use: the database
    /// needs another one, which an operator is to put into its place.
    pub fn withdraw_generated(&self, records: &[KeyRecord]) {
        let SealingKeySource::Generated(path) = &self.sealing_key_source else {
            return;
        };
        let id = self.sealer.first_root_id().to_string();
        if records.iter().any(|record| record.id == id) {
            return;
        }
        if let Err(error) = fs::remove_file(path) {
            tracing::warn!(path = %path.display(), %error, "cannot remove the generated key");
        }
    }

    /// The error for a root key that is missing.
    fn missing_root(&self, id: &str, use_of_key: &str) -> LoadKeysError {
        let sentence = match &self.sealing_key_source {
            SealingKeySource::Settings => {
                format!("SLUICE_SEALING_KEYS lacks the key {id}, with which {use_of_key}")
            }
            SealingKeySource::Generated(path) => format!(
                "{} was missing, and the database needs the key {id}, with which {use_of_key}: put \
                 the file back, or set SLUICE_SEALING_KEYS",
                path.display()
            ),
            SealingKeySource::File(path) => format!(
                "{} has another key than {id}, with which {use_of_key}: put the right file back, or \
                 set SLUICE_SEALING_KEYS",
                path.display()
            ),
        };
        LoadKeysError::Setting(sentence)
    }

    /// Creates a sealing key, wrapped for the database.
    pub fn new_sealing_key(&self, now: Time, activate_after: Duration) -> KeyRecord {
        let secret = Zeroizing::new(random_bytes::<32>());
        let id = SealingKeyId::of(&secret).to_string();
        self.record(KeyPurpose::Seal, id, &secret[..], now, activate_after)
    }

    /// Creates a signing key, wrapped for the database; `None` if that fails.
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
        let aad = AssociatedData::wrapped_key(purpose, &id);
        KeyRecord {
            secret_sealed: Some(self.sealer.wrap_key(&aad, secret)),
            purpose,
            id,
            create_time: now,
            active_time: now + activate_after,
            retire_time: None,
        }
    }

    /// A key wrapped with the first root key; `None` if it already is.
    pub fn rewrap(&self, record: &KeyRecord) -> Result<Option<Vec<u8>>, LoadKeysError> {
        let Some(sealed) = &record.secret_sealed else {
            return Ok(None);
        };
        if SealingKeyId::of_sealed(sealed) == Some(self.sealer.first_root_id()) {
            return Ok(None);
        }
        let secret = self.unwrap_key(record, sealed)?;
        let aad = AssociatedData::wrapped_key(record.purpose, &record.id);
        Ok(Some(self.sealer.wrap_key(&aad, &secret)))
    }

    fn unwrap_key(
        &self,
        record: &KeyRecord,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, LoadKeysError> {
        let aad = AssociatedData::wrapped_key(record.purpose, &record.id);
        match SealingKeyId::of_sealed(sealed) {
            Some(root) if !self.sealer.has_root(&root.to_string()) => {
                let (purpose, id) = (noun(record.purpose), &record.id);
                let use_of_key = format!("the {purpose} key {id} is wrapped");
                Err(self.missing_root(&root.to_string(), &use_of_key))
            }
            _ => self
                .sealer
                .unwrap_key(&aad, sealed)
                .map_err(|_| damaged(record)),
        }
    }
}

fn damaged(record: &KeyRecord) -> LoadKeysError {
    let (purpose, id) = (noun(record.purpose), &record.id);
    LoadKeysError::Setting(format!(
        "SLUICE_SEALING_KEYS does not unwrap the {purpose} key {id} of the database"
    ))
}

fn noun(purpose: KeyPurpose) -> &'static str {
    match purpose {
        KeyPurpose::Sign => "signing",
        KeyPurpose::Seal => "sealing",
    }
}

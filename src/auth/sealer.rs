//! Encryption of secrets at rest.
//!
//! A secret that must be shown again is sealed with XChaCha20-Poly1305. A sealed value
//! is the key's id (4 bytes), a random nonce (24 bytes) and the ciphertext with its tag.
//! Its [`AssociatedData`] names the row and column, so a value cannot be moved.
//!
//! The ring has root keys, which the settings name, and data keys. A rotation creates a
//! data key and stores it in the database, wrapped with a root key. The newest active
//! data key seals, or else the first root key. All keys open.

use std::{fmt, sync::Arc};

use parking_lot::RwLock;
use zeroize::Zeroizing;

use super::sealing_key::{AssociatedData, SealingKey, SealingKeyId, SealingSecret};
use crate::{
    domain::{Secret, Time, now},
    error::{Error, Result},
};

/// Seals and opens secrets under a ring of keys. A clone shares the ring.
#[derive(Clone)]
pub struct Sealer {
    roots: Arc<[SealingKey]>,
    /// Newest first.
    data_keys: Arc<RwLock<Arc<[DataKey]>>>,
}

/// A sealing key of the database.
#[derive(Clone)]
pub(super) struct DataKey {
    key: SealingKey,
    active_time: Time,
}

impl Sealer {
    /// A sealer with these root keys, at least one. The first one seals.
    pub fn new(roots: &[SealingSecret]) -> Self {
        Self {
            roots: roots.iter().map(|key| SealingKey::new(key)).collect(),
            data_keys: Arc::default(),
        }
    }

    /// Seals a secret with the active key.
    pub fn seal(&self, aad: &AssociatedData, secret: &[u8]) -> Vec<u8> {
        active_key(&self.data_keys(), &self.roots).seal(aad, secret)
    }

    /// Wraps a key for the database with the first root key.
    pub fn wrap_key(&self, aad: &AssociatedData, secret: &[u8]) -> Vec<u8> {
        self.roots[0].seal(aad, secret)
    }

    /// Opens a sealed value. Fails if its key is not in the ring, or if the value was
    /// changed or has other associated data.
    pub fn open(&self, aad: &AssociatedData, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        open(all_keys(&self.data_keys(), &self.roots), aad, sealed)
            .map_err(|error| Error::internal(anyhow::anyhow!(error).context(aad.0.clone())))
    }

    /// Unwraps a key of the database.
    pub fn unwrap_key(
        &self,
        aad: &AssociatedData,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, &'static str> {
        open(self.roots.iter(), aad, sealed)
    }

    /// Opens a sealed text.
    pub fn open_text(&self, aad: &AssociatedData, sealed: &[u8]) -> Result<Secret> {
        let bytes = self.open(aad, sealed)?;
        str::from_utf8(&bytes)
            .map(Secret::new)
            .map_err(Error::internal)
    }

    /// Keyed digests of data: one with each key of the ring, the active key's first.
    pub fn digests(&self, purpose: &str, data: &[u8]) -> impl Iterator<Item = [u8; 32]> + use<> {
        let message = [purpose.as_bytes(), &[0], data].concat();
        let data_keys = self.data_keys();
        let first = active_key(&data_keys, &self.roots);
        let others = all_keys(&data_keys, &self.roots).filter(|key| key.id != first.id);
        let keys = std::iter::once(first).chain(others);
        let digests: Vec<_> = keys.map(|key| key.digest(&message)).collect();
        digests.into_iter()
    }

    /// The id of the key that seals now.
    pub fn active_key_id(&self) -> SealingKeyId {
        active_key(&self.data_keys(), &self.roots).id
    }

    /// The id of the root key that wraps keys.
    pub fn first_root_id(&self) -> SealingKeyId {
        self.roots[0].id
    }

    /// Whether the settings have a root key with this id.
    pub fn has_root(&self, id: &str) -> bool {
        self.roots.iter().any(|key| key.id.to_string() == id)
    }

    /// The data key with this id, with a new time of activation.
    pub(super) fn find_data_key(&self, id: &str, active_time: Time) -> Option<DataKey> {
        let data_keys = self.data_keys();
        let found = data_keys
            .iter()
            .find(|data| data.key.id.to_string() == id)?;
        let key = found.key.clone();
        Some(DataKey { key, active_time })
    }

    /// Replaces the data keys; `data_keys` has the newest first.
    pub(super) fn set_data_keys(&self, data_keys: Vec<DataKey>) {
        *self.data_keys.write() = data_keys.into();
    }

    fn data_keys(&self) -> Arc<[DataKey]> {
        Arc::clone(&self.data_keys.read())
    }
}

impl DataKey {
    pub fn new(secret: &[u8; 32], active_time: Time) -> Self {
        let key = SealingKey::new(secret);
        Self { key, active_time }
    }
}

fn active_key<'a>(data_keys: &'a [DataKey], roots: &'a [SealingKey]) -> &'a SealingKey {
    let now = now();
    let newest = data_keys.iter().find(|data| data.active_time <= now);
    newest.map_or(&roots[0], |data| &data.key)
}

fn all_keys<'a>(
    data_keys: &'a [DataKey],
    roots: &'a [SealingKey],
) -> impl Iterator<Item = &'a SealingKey> {
    data_keys.iter().map(|data| &data.key).chain(roots)
}

fn open<'a>(
    mut keys: impl Iterator<Item = &'a SealingKey>,
    aad: &AssociatedData,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    let id = SealingKeyId::of_sealed(sealed).ok_or("too short")?;
    let key = keys
        .find(|key| key.id == id)
        .ok_or("sealed with a key that is neither in SLUICE_SEALING_KEYS nor in the database")?;
    key.open(aad, sealed)
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(***)")
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::Sealer;
    use crate::{auth::AssociatedData, domain::ProjectId};

    fn sealer(keys: &[u8]) -> Sealer {
        Sealer::new(
            &keys
                .iter()
                .map(|byte| Zeroizing::new([*byte; 32]))
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn a_sealed_value_opens_also_after_the_root_key_changed() {
        let aad = AssociatedData::stream_key(ProjectId::generate());
        let sealed = sealer(&[1]).seal(&aad, b"secret");

        assert_eq!(&**sealer(&[2, 1]).open(&aad, &sealed).unwrap(), b"secret");
        assert!(sealer(&[2]).open(&aad, &sealed).is_err());
    }

    #[test]
    fn a_moved_or_changed_value_does_not_open() {
        let aad = AssociatedData::stream_key(ProjectId::generate());
        let sealed = sealer(&[1]).seal(&aad, b"secret");

        assert!(
            sealer(&[1])
                .open(&AssociatedData::stream_key(ProjectId::generate()), &sealed)
                .is_err()
        );
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(sealer(&[1]).open(&aad, &changed).is_err(), "byte {at}");
            assert!(
                sealer(&[1]).open(&aad, &sealed[..at]).is_err(),
                "cut at {at}"
            );
        }
    }

    #[test]
    fn sealing_a_secret_twice_gives_different_values() {
        let aad = AssociatedData::stream_key(ProjectId::generate());
        assert_ne!(
            sealer(&[1]).seal(&aad, b"secret"),
            sealer(&[1]).seal(&aad, b"secret")
        );
    }
}

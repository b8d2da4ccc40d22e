//! Encryption of secrets at rest.
//!
//! A secret that must be shown again is sealed with XChaCha20-Poly1305. A sealed value
//! is the key's id (4 bytes), a random nonce (24 bytes) and the ciphertext with its tag.
//! Its [`AssociatedData`] names the row and column, so a value cannot be moved.
//!
//! The ring has root keys, which the settings name, and data keys. A rotation creates a
//! data key and stores it in the database, wrapped with a root key. The newest active
//! data key seals, or else the first root key. All keys open.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::{
    key_ring::KeyRing,
    sealing_key::{AssociatedData, SealingKey, SealingKeyId, SealingSecret},
};
use crate::{
    domain::Secret,
    error::{Error, Result},
};

/// Seals and opens secrets under a ring of keys. A clone shares the ring.
#[derive(Debug, Clone)]
pub struct Sealer {
    /// The root keys are its configured keys, and the data keys its database keys.
    pub(super) ring: KeyRing<SealingKey>,
}

impl Sealer {
    /// A sealer with these root keys, at least one. The first one seals.
    pub fn new(roots: &[SealingSecret]) -> Self {
        let roots = roots.iter().map(|key| SealingKey::new(key));
        Self {
            ring: KeyRing::new(roots.collect()),
        }
    }

    /// Seals a secret with the active key.
    pub fn seal(&self, aad: &AssociatedData, secret: &[u8]) -> Vec<u8> {
        self.active_key().seal(aad, secret)
    }

    /// Wraps a key for the database with the first root key.
    pub fn wrap_key(&self, aad: &AssociatedData, secret: &[u8]) -> Vec<u8> {
        self.ring.configured()[0].seal(aad, secret)
    }

    /// Opens a sealed value. Fails if its key is not in the ring, or if the value was
    /// changed or has other associated data.
    pub fn open(&self, aad: &AssociatedData, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let find = |id| self.ring.find(|entry| entry.key.id == id);
        open(find, aad, sealed)
            .map_err(|error| Error::internal(anyhow::anyhow!(error).context(aad.0.clone())))
    }

    /// Unwraps a key of the database.
    pub fn unwrap_key(
        &self,
        aad: &AssociatedData,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, &'static str> {
        let roots = self.ring.configured();
        let find = |id| roots.iter().find(|key| key.id == id).cloned();
        open(find, aad, sealed)
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
        let active = self.active_key();
        let keys = self.ring.keys();
        let others = keys.iter().filter(|entry| entry.key.id != active.id);
        let others = others.map(|entry| entry.key.digest(&message));
        let mut digests = vec![active.digest(&message)];
        digests.extend(others);
        digests.into_iter()
    }

    /// The id of the key that seals now.
    pub fn active_key_id(&self) -> SealingKeyId {
        self.active_key().id
    }

    /// The id of the root key that wraps keys.
    pub fn first_root_id(&self) -> SealingKeyId {
        self.ring.configured()[0].id
    }

    /// Whether the settings have a root key with this id.
    pub fn has_root(&self, id: &str) -> bool {
        let mut roots = self.ring.configured().iter();
        roots.any(|key| key.id.to_string() == id)
    }

    fn active_key(&self) -> Arc<SealingKey> {
        self.ring.active().expect("a root key does not retire")
    }
}

fn open(
    find_key: impl FnOnce(SealingKeyId) -> Option<Arc<SealingKey>>,
    aad: &AssociatedData,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    let id = SealingKeyId::of_sealed(sealed).ok_or("too short")?;
    let key = find_key(id)
        .ok_or("sealed with a key that is neither in SLUICE_SEALING_KEYS nor in the database")?;
    key.open(aad, sealed)
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::Sealer;
    use crate::{auth::AssociatedData, domain::ProjectId};

    fn sealer(keys: &[u8]) -> Sealer {
        let keys: Vec<_> = keys
            .iter()
            .map(|byte| Zeroizing::new([*byte; 32]))
            .collect();
        Sealer::new(&keys)
    }

    fn aad() -> AssociatedData {
        AssociatedData::stream_key(ProjectId::generate())
    }

    #[test]
    fn a_sealed_value_opens_also_after_the_root_key_changed() {
        let aad = aad();
        let sealed = sealer(&[1]).seal(&aad, b"secret");

        assert_eq!(&**sealer(&[2, 1]).open(&aad, &sealed).unwrap(), b"secret");
        assert!(sealer(&[2]).open(&aad, &sealed).is_err());
    }

    #[test]
    fn a_moved_or_changed_value_does_not_open() {
        let (sealer, own) = (sealer(&[1]), aad());
        let sealed = sealer.seal(&own, b"secret");

        assert!(sealer.open(&aad(), &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(sealer.open(&own, &changed).is_err(), "byte {at}");
            assert!(sealer.open(&own, &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn sealing_a_secret_twice_gives_different_values() {
        let (sealer, aad) = (sealer(&[1]), aad());
        assert_ne!(sealer.seal(&aad, b"secret"), sealer.seal(&aad, b"secret"));
    }

    #[test]
    fn debug_output_has_no_key() {
        let shown = format!("{:?}", sealer(&[77]));
        assert!(
            shown.contains("SealingKey") && !shown.contains("77, 77"),
            "{shown}"
        );
    }
}

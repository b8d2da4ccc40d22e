//! Secrets at rest.
//!
//! What must be shown again is sealed with XChaCha20-Poly1305. A sealed value
//! is the key's id (4 bytes), a random nonce (24 bytes) and the ciphertext with
//! its tag; the associated data is the place where it stands, so that a value
//! cannot be moved to another row or column.
//!
//! The ring has the root keys, those of the settings, and kept keys, which
//! rotations made and which stand in the database, sealed under a root key. The
//! newest kept key that is active seals, or else the first root key; all open.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use zeroize::Zeroizing;

use super::sealing_key::{SealingKey, SealingKeyId, SealingSecret};
use crate::{
    domain::{DestinationId, KeyPurpose, ProjectId, Secret, SessionId, Time, now},
    error::{Error, Result},
};
use uuid::Uuid;

/// The column and row in which a sealed value stands.
#[derive(Debug, Clone)]
pub struct Place(String);

impl Place {
    /// The stream key of a project.
    pub fn stream_key(id: ProjectId) -> Self {
        Self(format!("projects/stream_key/{id}"))
    }

    /// The stream key of a destination.
    pub fn destination_key(id: DestinationId) -> Self {
        Self(format!("destinations/stream_key/{id}"))
    }

    /// The seed of a session's refresh tokens.
    pub fn refresh_seed(id: SessionId) -> Self {
        Self(format!("sessions/refresh_seed/{id}"))
    }

    /// Where the media of a stream can be read.
    pub fn play_url(id: Uuid) -> Self {
        Self(format!("streams/play_url/{id}"))
    }

    /// A key that a rotation made.
    pub fn kept_key(purpose: KeyPurpose, id: &str) -> Self {
        Self(format!("keys/secret/{}/{id}", purpose.as_str()))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Seals and opens secrets under a ring of keys. A clone shares the ring.
#[derive(Clone)]
pub struct Sealer {
    roots: Arc<[SealingKey]>,
    /// The newest first.
    kept: Arc<RwLock<Arc<[KeptKey]>>>,
}

/// A key that a rotation made.
#[derive(Clone)]
pub(super) struct KeptKey {
    key: SealingKey,
    active_time: Time,
}

impl Sealer {
    /// A sealer under these root keys, of which the first one seals.
    pub fn new(roots: &[SealingSecret]) -> Self {
        Self {
            roots: roots.iter().map(|key| SealingKey::new(key)).collect(),
            kept: Arc::new(RwLock::new(Arc::default())),
        }
    }

    /// Seals a secret for its place.
    pub fn seal(&self, place: &Place, secret: &[u8]) -> Vec<u8> {
        let kept = self.kept();
        sealing_key(&kept, &self.roots).seal(place, secret)
    }

    /// Seals a key that is to be kept for its place, under the first root key.
    pub fn wrap_key(&self, place: &Place, secret: &[u8]) -> Vec<u8> {
        self.roots[0].seal(place, secret)
    }

    /// Opens a sealed value; fails if its key is not in the ring, or if it was
    /// made for another place or changed.
    pub fn open(&self, place: &Place, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let kept = self.kept();
        open(ring(&kept, &self.roots), place, sealed)
            .map_err(|fault| Error::internal(anyhow::anyhow!(fault).context(place.0.clone())))
    }

    /// Opens a key that is kept, which is sealed under a root key.
    pub fn open_key(
        &self,
        place: &Place,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, &'static str> {
        open(self.roots.iter(), place, sealed)
    }

    /// Opens a sealed text.
    pub fn open_text(&self, place: &Place, sealed: &[u8]) -> Result<Secret> {
        let bytes = self.open(place, sealed)?;
        str::from_utf8(&bytes)
            .map(Secret::new)
            .map_err(Error::internal)
    }

    /// Digests that only holders of the ring can make: one under each key, that
    /// of the sealing key first.
    pub fn digests(&self, purpose: &str, data: &[u8]) -> impl Iterator<Item = [u8; 32]> + use<> {
        let message = [purpose.as_bytes(), &[0], data].concat();
        let kept = self.kept();
        let first = sealing_key(&kept, &self.roots);
        let others = ring(&kept, &self.roots).filter(|key| key.id != first.id);
        let keys = std::iter::once(first).chain(others);
        let digests: Vec<_> = keys.map(|key| key.digest(&message)).collect();
        digests.into_iter()
    }

    /// The key that seals now.
    pub fn sealing_key(&self) -> SealingKeyId {
        sealing_key(&self.kept(), &self.roots).id
    }

    /// The root key that kept keys are sealed under.
    pub fn first_root(&self) -> SealingKeyId {
        self.roots[0].id
    }

    /// Whether a key stands in the settings.
    pub fn has_root(&self, id: &str) -> bool {
        self.roots.iter().any(|key| key.id.to_string() == id)
    }

    /// A kept key that is in the ring, active from another moment on perhaps.
    pub(super) fn known(&self, id: &str, active_time: Time) -> Option<KeptKey> {
        let kept = self.kept();
        let known = kept.iter().find(|kept| kept.key.id.to_string() == id)?;
        let key = known.key.clone();
        Some(KeptKey { key, active_time })
    }

    /// Takes these kept keys, the newest first, for those that it had.
    pub(super) fn keep(&self, kept: Vec<KeptKey>) {
        *self.kept.write().unwrap_or_else(PoisonError::into_inner) = kept.into();
    }

    fn kept(&self) -> Arc<[KeptKey]> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&kept)
    }
}

impl KeptKey {
    pub fn new(secret: &[u8; 32], active_time: Time) -> Self {
        let key = SealingKey::new(secret);
        Self { key, active_time }
    }
}

fn sealing_key<'a>(kept: &'a [KeptKey], roots: &'a [SealingKey]) -> &'a SealingKey {
    let now = now();
    let newest = kept.iter().find(|kept| kept.active_time <= now);
    newest.map_or(&roots[0], |kept| &kept.key)
}

fn ring<'a>(kept: &'a [KeptKey], roots: &'a [SealingKey]) -> impl Iterator<Item = &'a SealingKey> {
    kept.iter().map(|kept| &kept.key).chain(roots)
}

fn open<'a>(
    mut keys: impl Iterator<Item = &'a SealingKey>,
    place: &Place,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    let id = SealingKeyId::of_sealed(sealed).ok_or("too short")?;
    let key = keys
        .find(|key| key.id == id)
        .ok_or("sealed under a key that is not in SLUICE_SEALING_KEYS, nor kept")?;
    key.open(place, sealed)
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(***)")
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::{Place, Sealer};
    use crate::domain::ProjectId;

    fn sealer(keys: &[u8]) -> Sealer {
        Sealer::new(
            &keys
                .iter()
                .map(|byte| Zeroizing::new([*byte; 32]))
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn opens_what_it_sealed_also_after_a_new_key_took_over() {
        let place = Place::stream_key(ProjectId::generate());
        let sealed = sealer(&[1]).seal(&place, b"secret");

        assert_eq!(&**sealer(&[2, 1]).open(&place, &sealed).unwrap(), b"secret");
        assert!(sealer(&[2]).open(&place, &sealed).is_err());
    }

    #[test]
    fn refuses_a_value_that_was_moved_or_changed() {
        let place = Place::stream_key(ProjectId::generate());
        let sealed = sealer(&[1]).seal(&place, b"secret");

        assert!(
            sealer(&[1])
                .open(&Place::stream_key(ProjectId::generate()), &sealed)
                .is_err()
        );
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(sealer(&[1]).open(&place, &changed).is_err(), "byte {at}");
            assert!(
                sealer(&[1]).open(&place, &sealed[..at]).is_err(),
                "cut at {at}"
            );
        }
    }

    #[test]
    fn never_seals_the_same_twice() {
        let place = Place::stream_key(ProjectId::generate());
        assert_ne!(
            sealer(&[1]).seal(&place, b"secret"),
            sealer(&[1]).seal(&place, b"secret")
        );
    }
}

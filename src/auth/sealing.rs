//! Secrets at rest.
//!
//! What must be shown again is sealed with XChaCha20-Poly1305. A sealed value
//! is the key's id (4 bytes), a random nonce (24 bytes) and the ciphertext with
//! its tag; the associated data is the place where it stands, so that a value
//! cannot be moved to another row or column. The first key seals, all open.

use std::sync::Arc;

use chacha20poly1305::{
    XChaCha20Poly1305, XNonce,
    aead::{Aead, KeyInit, Payload},
};
use ring::{digest, hmac};
use zeroize::Zeroizing;

use super::random::random_bytes;
use crate::{
    domain::{DestinationId, ProjectId, Secret, SessionId},
    error::{Error, Result},
};

const KEY_ID: usize = 4;
const NONCE: usize = 24;

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
}

/// Seals and opens secrets under a ring of keys. A clone shares the ring.
#[derive(Clone)]
pub struct Sealer {
    ring: Arc<[RingKey]>,
}

struct RingKey {
    id: [u8; KEY_ID],
    cipher: XChaCha20Poly1305,
    mac: hmac::Key,
}

impl Sealer {
    /// A sealer under these keys, of which the first one seals.
    pub fn new(keys: &[Zeroizing<[u8; 32]>]) -> Self {
        Self {
            ring: keys.iter().map(|key| RingKey::new(key)).collect(),
        }
    }

    /// Seals a secret for its place.
    pub fn seal(&self, place: &Place, secret: &[u8]) -> Vec<u8> {
        let key = &self.ring[0];
        let nonce = random_bytes::<NONCE>();
        let payload = Payload {
            msg: secret,
            aad: place.0.as_bytes(),
        };
        let ciphertext = key
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .expect("a secret is shorter than the cipher's limit of 256 GiB");

        [&key.id[..], &nonce, &ciphertext].concat()
    }

    /// Opens a sealed value; fails if its key is not in the ring, or if it was
    /// made for another place or changed.
    pub fn open(&self, place: &Place, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let fault = |text| Error::internal(anyhow::anyhow!("{text}").context(place.0.clone()));
        let (id, rest) = sealed
            .split_first_chunk::<KEY_ID>()
            .ok_or_else(|| fault("too short"))?;
        let (nonce, ciphertext) = rest
            .split_first_chunk::<NONCE>()
            .ok_or_else(|| fault("too short"))?;
        let key = self
            .ring
            .iter()
            .find(|key| key.id == *id)
            .ok_or_else(|| fault("sealed under a key that is not in SLUICE_SEALING_KEYS"))?;

        let payload = Payload {
            msg: ciphertext,
            aad: place.0.as_bytes(),
        };
        key.cipher
            .decrypt(&XNonce::from(*nonce), payload)
            .map(Zeroizing::new)
            .map_err(|_| fault("a sealed value was changed or moved"))
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
    pub fn digests(&self, purpose: &str, data: &[u8]) -> impl Iterator<Item = [u8; 32]> + use<'_> {
        let message = [purpose.as_bytes(), &[0], data].concat();
        self.ring.iter().map(move |key| {
            let mut digest = [0; 32];
            digest.copy_from_slice(hmac::sign(&key.mac, &message).as_ref());
            digest
        })
    }
}

impl RingKey {
    fn new(key: &[u8; 32]) -> Self {
        let mut id = [0; KEY_ID];
        id.copy_from_slice(&digest::digest(&digest::SHA256, key).as_ref()[..KEY_ID]);
        // The MAC's key is derived, so that no key serves two algorithms.
        let root = hmac::Key::new(hmac::HMAC_SHA256, key);
        let derived = hmac::sign(&root, b"sluice/mac");
        Self {
            id,
            cipher: XChaCha20Poly1305::new(&(*key).into()),
            mac: hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()),
        }
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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

use std::fmt;

use chacha20poly1305::{
    XChaCha20Poly1305, XNonce,
    aead::{Aead, KeyInit, Payload},
};
use ring::{digest, hmac};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{
    domain::{
        ApiKeyId, DestinationId, KeyPurpose, ProjectId, SecondFactorId, SessionId, WebhookId,
    },
    random::{hex, random_bytes},
};

const KEY_ID_LENGTH: usize = 4;
const NONCE_LENGTH: usize = 24;

/// The bytes of a sealing key.
pub type SealingSecret = Zeroizing<[u8; 32]>;

/// The id of a sealing key, a hash of it. Every sealed value begins with the id of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealingKeyId([u8; KEY_ID_LENGTH]);

/// A key that seals and opens values, and makes keyed digests. The `Debug` of its parts shows
/// only their algorithms.
#[derive(Debug)]
pub(super) struct SealingKey {
    pub id: SealingKeyId,
    cipher: XChaCha20Poly1305,
    mac: hmac::Key,
}

impl SealingKeyId {
    /// The id of a key.
    pub fn of(secret: &[u8; 32]) -> Self {
        let mut id = [0; KEY_ID_LENGTH];
        id.copy_from_slice(&digest::digest(&digest::SHA256, secret).as_ref()[..KEY_ID_LENGTH]);
        Self(id)
    }

    /// The id that a sealed value begins with.
    pub fn of_sealed(sealed: &[u8]) -> Option<Self> {
        sealed.first_chunk().copied().map(Self)
    }

    /// Parses 8 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let number = u32::from_str_radix(text, 16).ok()?;
        (text.len() == 2 * KEY_ID_LENGTH).then_some(Self(number.to_be_bytes()))
    }

    /// The bytes that sealed values begin with.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for SealingKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl SealingKey {
    pub fn new(key: &[u8; 32]) -> Self {
        // The MAC key is derived, so that no key serves two algorithms.
        let root = hmac::Key::new(hmac::HMAC_SHA256, key);
        let derived = hmac::sign(&root, b"sluice/mac");
        Self {
            id: SealingKeyId::of(key),
            cipher: XChaCha20Poly1305::new(&(*key).into()),
            mac: hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()),
        }
    }

    /// Seals a secret with associated data.
    pub fn seal(&self, aad: &AssociatedData, secret: &[u8]) -> Vec<u8> {
        let nonce = random_bytes::<NONCE_LENGTH>();
        let payload = Payload {
            msg: secret,
            aad: aad.0.as_bytes(),
        };
        let ciphertext = self
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .expect("a secret is shorter than the cipher's limit of 256 GiB");

        [self.id.bytes(), &nonce, &ciphertext].concat()
    }

    /// Opens a value that was sealed with this key and the same associated data.
    pub fn open(
        &self,
        aad: &AssociatedData,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, &'static str> {
        let (nonce, ciphertext) = sealed
            .split_at_checked(KEY_ID_LENGTH)
            .and_then(|(_, rest)| rest.split_first_chunk::<NONCE_LENGTH>())
            .ok_or("too short")?;
        let payload = Payload {
            msg: ciphertext,
            aad: aad.0.as_bytes(),
        };
        self.cipher
            .decrypt(&XNonce::from(*nonce), payload)
            .map(Zeroizing::new)
            .map_err(|_| "changed or moved to another row or column")
    }

    /// A keyed digest (HMAC-SHA-256).
    pub fn digest(&self, message: &[u8]) -> [u8; 32] {
        let mut digest = [0; 32];
        digest.copy_from_slice(hmac::sign(&self.mac, message).as_ref());
        digest
    }
}

/// The associated data (AAD) of a sealed value: the table, column and row that hold it.
///
/// A sealed value that is moved to another row or column cannot be opened.
#[derive(Debug, Clone)]
pub struct AssociatedData(pub(super) String);

impl AssociatedData {
    /// For the stream key of a project.
    pub fn stream_key(id: ProjectId) -> Self {
        Self(format!("projects/stream_key/{id}"))
    }

    /// For the stream key of a destination.
    pub fn destination_key(id: DestinationId) -> Self {
        Self(format!("destinations/stream_key/{id}"))
    }

    /// For the SRT passphrase of a destination.
    pub fn srt_passphrase(id: DestinationId) -> Self {
        Self(format!("destinations/srt_passphrase/{id}"))
    }

    /// For the seed of a session's refresh tokens.
    pub fn refresh_seed(id: SessionId) -> Self {
        Self(format!("sessions/refresh_seed/{id}"))
    }

    /// For the URL from which a stream's media can be read.
    pub fn play_url(id: Uuid) -> Self {
        Self(format!("streams/play_url/{id}"))
    }

    /// For the secret of an API key that was created with a request id.
    pub fn api_key_secret(id: ApiKeyId) -> Self {
        Self(format!("idempotent_creates/secret/{id}"))
    }

    /// For the secret of a user's authenticator.
    pub fn totp_secret(id: SecondFactorId) -> Self {
        Self(format!("second_factors/secret/{id}"))
    }

    /// For a secret of a webhook, the current one and the one before.
    pub fn webhook_secret(id: WebhookId) -> Self {
        Self(format!("webhooks/secret/{id}"))
    }

    /// For a key of the `keys` table.
    pub fn wrapped_key(purpose: KeyPurpose, id: &str) -> Self {
        Self(format!("keys/secret/{}/{id}", purpose.as_str()))
    }
}

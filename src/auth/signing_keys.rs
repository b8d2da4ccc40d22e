//! The ring of keys that sign access tokens. The active key signs. Each key verifies until
//! it retires. A rotation can retire a configured key too.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use ring::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use zeroize::Zeroizing;

use super::{jwt_backend, key_ring::KeyRing};
use crate::{
    domain::{Secret, now},
    random::sha256,
};

/// The `typ` of an access token (RFC 9068 section 2.1).
pub(super) const TOKEN_TYPE: &str = "at+jwt";

/// The keys that sign access tokens. A clone shares the ring.
#[derive(Debug, Clone)]
pub struct SigningKeys {
    pub(super) ring: KeyRing<SigningKey>,
}

/// A key with its one algorithm.
#[derive(Debug)]
pub(super) struct SigningKey {
    pub(super) id: String,
    pub(super) algorithm: Algorithm,
    pub(super) header: Header,
    pub(super) encoding: EncodingKey,
    pub(super) decoding: DecodingKey,
    public: Option<PublicKey>,
}

/// The public half of an Ed25519 key, as in a JWK set (RFC 8037).
#[derive(Debug, Clone)]
pub struct PublicKey {
    /// The key's id.
    pub id: String,
    /// The key, base64url without padding.
    pub x: String,
}

impl SigningKeys {
    /// A ring of one shared secret (HS256).
    ///
    /// # Panics
    ///
    /// If the secret is empty.
    pub fn from_secret(secret: &Secret) -> Self {
        const NOT_EMPTY: &str = "the secret is not empty";
        jwt_backend::install();
        let bytes = secret.expose().as_bytes();
        let digest = sha256(&format!("sluice/kid/{}", secret.expose()));
        let id = URL_SAFE_NO_PAD.encode(&digest[..12]);
        let key = SigningKey {
            header: header(&id, Algorithm::HS256),
            id,
            algorithm: Algorithm::HS256,
            encoding: EncodingKey::from_secret(bytes).expect(NOT_EMPTY),
            decoding: DecodingKey::from_secret(bytes).expect(NOT_EMPTY),
            public: None,
        };
        let ring = KeyRing::new(vec![key]);
        Self { ring }
    }

    /// A ring of Ed25519 private keys (PKCS #8, PEM). The first one signs. The error is
    /// the position of an invalid key.
    pub fn from_pem(files: &[Secret]) -> Result<Self, usize> {
        jwt_backend::install();
        let keys = files.iter().enumerate().map(|(at, pem)| {
            let encoding = EncodingKey::from_ed_pem(pem.expose().as_bytes());
            encoding.ok().and_then(SigningKey::ed25519).ok_or(at)
        });
        let ring = KeyRing::new(keys.collect::<Result<_, _>>()?);
        Ok(Self { ring })
    }

    /// The ids of the configured keys.
    pub fn configured_ids(&self) -> Vec<String> {
        let configured = self.ring.configured().iter();
        configured.map(|key| key.id.clone()).collect()
    }

    /// The public keys of all accepted keys; a shared secret has none.
    pub fn public_keys(&self) -> Vec<PublicKey> {
        let (keys, now) = (self.ring.keys(), now());
        let accepted = keys.iter().filter(|entry| entry.is_accepted(now));
        let public = accepted.filter_map(|entry| entry.key.public.clone());
        public.collect()
    }

    /// The id of the key that signs now; `None` if all have retired.
    pub fn active_key_id(&self) -> Option<String> {
        self.ring.active().map(|key| key.id.clone())
    }

    /// The accepted key with an id.
    pub(super) fn verification_key(&self, id: &str) -> Option<Arc<SigningKey>> {
        let now = now();
        self.ring
            .find(|entry| entry.is_accepted(now) && entry.key.id == id)
    }
}

impl SigningKey {
    /// A new Ed25519 key: its id and the private key (PKCS #8).
    pub fn generate() -> Option<(String, Zeroizing<Vec<u8>>)> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).ok()?;
        let document = Zeroizing::new(document.as_ref().to_vec());
        let key = Self::from_der(&document)?;
        Some((key.id, document))
    }

    /// An Ed25519 private key (PKCS #8).
    pub fn from_der(document: &[u8]) -> Option<Self> {
        jwt_backend::install();
        Self::ed25519(EncodingKey::from_ed_der(document))
    }

    fn ed25519(encoding: EncodingKey) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(encoding.as_bytes()).ok()?;
        let x = URL_SAFE_NO_PAD.encode(pair.public_key());
        // RFC 7638: the key's members in lexical order.
        let thumbprint = sha256(&format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#));
        let id = URL_SAFE_NO_PAD.encode(thumbprint);
        Some(Self {
            header: header(&id, Algorithm::EdDSA),
            decoding: DecodingKey::from_ed_components(&x).ok()?,
            public: Some(PublicKey { id: id.clone(), x }),
            id,
            algorithm: Algorithm::EdDSA,
            encoding,
        })
    }
}

fn header(key_id: &str, algorithm: Algorithm) -> Header {
    Header {
        typ: Some(TOKEN_TYPE.to_owned()),
        kid: Some(key_id.to_owned()),
        ..Header::new(algorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::SigningKeys;
    use crate::domain::Secret;

    #[test]
    fn debug_output_has_no_key() {
        let shown = format!(
            "{:?}",
            SigningKeys::from_secret(&Secret::new("M".repeat(48)))
        );
        assert!(shown.contains("SigningKey"), "{shown}");
        for key in ["77, 77", "MMM", "TU1N"] {
            assert!(!shown.contains(key), "{shown}");
        }
    }
}

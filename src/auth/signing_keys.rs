//! The ring of keys of access tokens.
//!
//! It has the keys of the settings, and kept keys, which rotations made and
//! which stand in the database, sealed under a root key. The newest kept key
//! that is active signs, or else the first of the settings; each verifies until
//! it retires. A key of the settings retires too, once a rotation says so.

use std::sync::{Arc, PoisonError, RwLock};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use ring::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use zeroize::Zeroizing;

use super::jwt_backend;
use crate::{
    domain::{Secret, Time, now},
    random::sha256,
};

/// The type of an access token (RFC 9068 section 2.1).
pub(super) const TYPE: &str = "at+jwt";

/// The keys of access tokens. A clone shares the ring.
#[derive(Clone)]
pub struct SigningKeys {
    of_settings: Arc<[Arc<SigningKey>]>,
    /// In the order of preference.
    ring: Arc<RwLock<Arc<[Timed]>>>,
}

/// A key with the time in which it counts.
#[derive(Clone)]
pub(super) struct Timed {
    pub key: Arc<SigningKey>,
    /// From when it signs; `None` if ever since.
    pub active_time: Option<Time>,
    /// From when it is not accepted any more.
    pub retire_time: Option<Time>,
}

/// One key, whose algorithm is pinned to it.
pub(super) struct SigningKey {
    pub(super) id: String,
    pub(super) algorithm: Algorithm,
    /// The header of the tokens that it signs, and how it stands in them.
    pub(super) header: Header,
    encoded_header: String,
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
    pub fn from_secret(secret: &Secret) -> Self {
        jwt_backend::install();
        let bytes = secret.expose().as_bytes();
        let digest = sha256(&format!("sluice/kid/{}", secret.expose()));
        let id = URL_SAFE_NO_PAD.encode(&digest[..12]);
        let (header, encoded_header) = header(&id, Algorithm::HS256);
        let key = SigningKey {
            id,
            algorithm: Algorithm::HS256,
            header,
            encoded_header,
            encoding: EncodingKey::from_secret(bytes),
            decoding: DecodingKey::from_secret(bytes),
            public: None,
        };
        Self::of_settings(vec![Arc::new(key)])
    }

    /// A ring of Ed25519 private keys (PKCS #8, PEM), of which the first one
    /// signs. Tells the position of one that is not such a key.
    pub fn from_pem(files: &[Secret]) -> Result<Self, usize> {
        jwt_backend::install();
        let keys = files.iter().enumerate().map(|(at, pem)| {
            let encoding = EncodingKey::from_ed_pem(pem.expose().as_bytes());
            let key = encoding.ok().and_then(SigningKey::ed25519);
            key.map(Arc::new).ok_or(at)
        });
        Ok(Self::of_settings(keys.collect::<Result<_, _>>()?))
    }

    fn of_settings(keys: Vec<Arc<SigningKey>>) -> Self {
        let ring: Vec<_> = keys.iter().cloned().map(Timed::always).collect();
        Self {
            of_settings: keys.into(),
            ring: Arc::new(RwLock::new(ring.into())),
        }
    }

    /// The ids of the keys of the settings.
    pub fn ids_of_settings(&self) -> Vec<String> {
        self.of_settings.iter().map(|key| key.id.clone()).collect()
    }

    /// The public keys of all that are accepted; none for a shared secret.
    pub fn public(&self) -> Vec<PublicKey> {
        let (ring, now) = (self.ring(), now());
        let accepted = ring.iter().filter(|timed| timed.is_accepted(now));
        accepted
            .filter_map(|timed| timed.key.public.clone())
            .collect()
    }

    /// The id of the key that signs now.
    pub fn signing_key(&self) -> Option<String> {
        self.signer().map(|key| key.id.clone())
    }

    /// The key that signs now; `None` if all have retired.
    pub(super) fn signer(&self) -> Option<Arc<SigningKey>> {
        let (ring, now) = (self.ring(), now());
        let mut signing = ring.iter().filter(|timed| timed.is_accepted(now));
        let signer = signing.find(|timed| timed.active_time.is_none_or(|time| time <= now))?;
        Some(Arc::clone(&signer.key))
    }

    /// The key with an id, if it is accepted.
    pub(super) fn verifier(&self, id: &str) -> Option<Arc<SigningKey>> {
        self.accepted(|key| key.id == id)
    }

    /// The key of tokens whose first part is this, if it is one of those that are made
    /// here: to know it by sight takes less time than to read it.
    pub(super) fn verifier_of(&self, encoded_header: &str) -> Option<Arc<SigningKey>> {
        self.accepted(|key| key.encoded_header == encoded_header)
    }

    fn accepted(&self, is_it: impl Fn(&SigningKey) -> bool) -> Option<Arc<SigningKey>> {
        let (ring, now) = (self.ring(), now());
        let mut accepted = ring.iter().filter(|timed| timed.is_accepted(now));
        let verifier = accepted.find(|timed| is_it(&timed.key))?;
        Some(Arc::clone(&verifier.key))
    }

    /// A key that is in the ring, whether it is accepted or not.
    pub(super) fn known(&self, id: &str) -> Option<Arc<SigningKey>> {
        let ring = self.ring();
        let known = ring.iter().find(|timed| timed.key.id == id)?;
        Some(Arc::clone(&known.key))
    }

    /// Takes these kept keys, the newest first, for those that it had, and the
    /// times from which keys of the settings are not accepted any more.
    pub(super) fn keep(&self, kept: Vec<Timed>, retired: impl Fn(&str) -> Option<Time>) {
        let of_settings = self.of_settings.iter().map(|key| Timed {
            retire_time: retired(&key.id),
            ..Timed::always(Arc::clone(key))
        });
        let ring: Vec<_> = kept.into_iter().chain(of_settings).collect();
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = ring.into();
    }

    fn ring(&self) -> Arc<[Timed]> {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&ring)
    }
}

impl Timed {
    fn always(key: Arc<SigningKey>) -> Self {
        Self {
            key,
            active_time: None,
            retire_time: None,
        }
    }

    fn is_accepted(&self, now: Time) -> bool {
        self.retire_time.is_none_or(|time| time > now)
    }
}

impl SigningKey {
    /// A new Ed25519 key: its id, and the key itself (PKCS #8).
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
        // RFC 7638: the members of the key in lexical order.
        let thumbprint = sha256(&format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#));
        let id = URL_SAFE_NO_PAD.encode(thumbprint);
        let (header, encoded_header) = header(&id, Algorithm::EdDSA);
        Some(Self {
            header,
            encoded_header,
            decoding: DecodingKey::from_ed_components(&x).ok()?,
            public: Some(PublicKey { id: id.clone(), x }),
            id,
            algorithm: Algorithm::EdDSA,
            encoding,
        })
    }
}

/// The header of the tokens of a key, and how it stands in them.
fn header(key_id: &str, algorithm: Algorithm) -> (Header, String) {
    let header = Header {
        typ: Some(TYPE.to_owned()),
        kid: Some(key_id.to_owned()),
        ..Header::new(algorithm)
    };
    let encoded = serde_json::to_vec(&header).map(|json| URL_SAFE_NO_PAD.encode(json));
    (header, encoded.unwrap_or_default())
}

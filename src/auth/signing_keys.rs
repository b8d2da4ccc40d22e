use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use ring::signature::{Ed25519KeyPair, KeyPair};

use super::{jwt_backend, random::sha256};
use crate::domain::Secret;

/// The keys of access tokens: the first one signs, all verify.
pub struct SigningKeys {
    pub(super) ring: Vec<SigningKey>,
}

/// One key, whose algorithm is pinned to it.
pub(super) struct SigningKey {
    pub(super) id: String,
    pub(super) algorithm: Algorithm,
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
        let key = SigningKey {
            id: URL_SAFE_NO_PAD.encode(&digest[..12]),
            algorithm: Algorithm::HS256,
            encoding: EncodingKey::from_secret(bytes),
            decoding: DecodingKey::from_secret(bytes),
            public: None,
        };
        Self { ring: vec![key] }
    }

    /// A ring of Ed25519 private keys (PKCS #8, PEM), of which the first one
    /// signs. Tells the position of one that is not such a key.
    pub fn from_pem(files: &[Secret]) -> Result<Self, usize> {
        jwt_backend::install();
        let keys = files.iter().enumerate();
        let ring = keys
            .map(|(at, pem)| SigningKey::from_pem(pem).ok_or(at))
            .collect::<Result<_, _>>();
        Ok(Self { ring: ring? })
    }

    /// The public keys of the ring; none for a shared secret.
    pub fn public(&self) -> impl Iterator<Item = &PublicKey> {
        self.ring.iter().filter_map(|key| key.public.as_ref())
    }
}

impl SigningKey {
    fn from_pem(pem: &Secret) -> Option<Self> {
        let encoding = EncodingKey::from_ed_pem(pem.expose().as_bytes()).ok()?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(encoding.as_bytes()).ok()?;
        let x = URL_SAFE_NO_PAD.encode(pair.public_key());
        // RFC 7638: the members of the key in lexical order.
        let thumbprint = sha256(&format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#));
        let id = URL_SAFE_NO_PAD.encode(thumbprint);
        Some(Self {
            decoding: DecodingKey::from_ed_components(&x).ok()?,
            public: Some(PublicKey { id: id.clone(), x }),
            id,
            algorithm: Algorithm::EdDSA,
            encoding,
        })
    }
}

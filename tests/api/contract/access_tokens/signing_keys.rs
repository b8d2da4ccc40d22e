//! Signing keys, of the server and of a forger.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use tempfile::TempDir;

use crate::harness::{Engine, TestServer};

/// No rate limit.
const FLAGS: &[&str] = &["--address-rate=0"];

const SECRET: &str = "the secret of this server, of 32 bytes or more";

/// A key that signs tokens.
pub enum Key {
    Hmac(hmac::Algorithm, Vec<u8>),
    Ed25519(Ed25519KeyPair),
    /// No signature at all.
    None,
}

impl Key {
    /// HMAC-SHA-256 with a secret.
    pub fn secret(secret: impl AsRef<[u8]>) -> Self {
        Self::Hmac(hmac::HMAC_SHA256, secret.as_ref().to_vec())
    }

    /// A new Ed25519 key.
    pub fn generate() -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::pkcs8(document.as_ref())
    }

    /// An Ed25519 key as in a key file.
    pub fn pkcs8(document: &[u8]) -> Self {
        Self::Ed25519(Ed25519KeyPair::from_pkcs8_maybe_unchecked(document).unwrap())
    }

    /// The public half, for a key that has one.
    pub fn public(&self) -> Option<Vec<u8>> {
        match self {
            Self::Ed25519(pair) => Some(pair.public_key().as_ref().to_vec()),
            Self::Hmac(..) | Self::None => None,
        }
    }

    pub fn sign(&self, message: &str) -> Vec<u8> {
        let message = message.as_bytes();
        match self {
            Self::Hmac(algorithm, secret) => {
                let key = hmac::Key::new(*algorithm, secret);
                hmac::sign(&key, message).as_ref().to_vec()
            }
            Self::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Self::None => Vec::new(),
        }
    }
}

/// The signature algorithm of a server.
#[derive(Debug, Clone, Copy)]
pub enum Signing {
    Hs256,
    Ed25519,
}

/// A server, and its signing key.
pub async fn server(engine: Engine, signing: Signing) -> (TestServer, Key, TempDir) {
    let directory = TempDir::new().unwrap();
    let (flag, key) = match signing {
        Signing::Hs256 => (format!("--jwt-secret={SECRET}"), Key::secret(SECRET)),
        Signing::Ed25519 => {
            let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
            let path = directory.path().join("key.pem");
            let body = STANDARD.encode(&document);
            let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
            std::fs::write(&path, pem).unwrap();
            let flag = format!("--jwt-key-files={}", path.display());
            (flag, Key::pkcs8(document.as_ref()))
        }
    };
    let flags: Vec<_> = FLAGS.iter().copied().chain([&*flag]).collect();
    (TestServer::start_with(engine, &flags).await, key, directory)
}

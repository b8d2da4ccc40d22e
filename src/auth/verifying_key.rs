//! Public keys that verify signatures of others: of OpenID Connect issuers, and of passkeys.

use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RsaPublicKeyComponents, UnparsedPublicKey,
};

/// The accepted lengths of RSA keys, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The length of an Ed25519 key, and of a coordinate of a point on P-256, in bytes.
const COORDINATE_LENGTH: usize = 32;

/// A public key; its type determines its algorithm.
#[derive(Debug)]
pub(super) enum VerifyingKey {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
    /// ECDSA on P-256 with SHA-256: an uncompressed point.
    P256(Vec<u8>),
    /// Ed25519.
    Ed25519(Vec<u8>),
}

/// How an ECDSA signature is encoded.
#[derive(Debug, Clone, Copy)]
pub(super) enum EcdsaEncoding {
    /// The two numbers one after the other (RFC 7518 section 3.4).
    Fixed,
    /// An ASN.1 sequence of the two numbers (RFC 3279 section 2.2.3).
    Asn1,
}

impl VerifyingKey {
    /// An RSA key of 2048 to 8192 bits; its numbers are big-endian, without leading zeros.
    pub fn rsa(n: Vec<u8>, e: Vec<u8>) -> Option<Self> {
        let unused = usize::try_from(n.first()?.leading_zeros()).ok()?;
        let is_minimal = unused < 8;
        (is_minimal && RSA_BITS.contains(&(8 * n.len() - unused)))
            .then_some(Self::Rsa(RsaPublicKeyComponents { n, e }))
    }

    /// A key on P-256 with these coordinates.
    pub fn p256(x: Vec<u8>, y: Vec<u8>) -> Option<Self> {
        let are_coordinates = [&x, &y]
            .iter()
            .all(|coordinate| coordinate.len() == COORDINATE_LENGTH);
        are_coordinates.then(|| Self::P256([vec![4], x, y].concat()))
    }

    /// An Ed25519 key.
    pub fn ed25519(x: Vec<u8>) -> Option<Self> {
        (x.len() == COORDINATE_LENGTH).then_some(Self::Ed25519(x))
    }

    /// Whether the key has signed a message.
    pub fn has_signed(&self, message: &[u8], signature: &[u8], ecdsa: EcdsaEncoding) -> bool {
        match self {
            Self::Rsa(key) => key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature),
            Self::P256(point) => {
                let algorithm = match ecdsa {
                    EcdsaEncoding::Fixed => &ECDSA_P256_SHA256_FIXED,
                    EcdsaEncoding::Asn1 => &ECDSA_P256_SHA256_ASN1,
                };
                UnparsedPublicKey::new(algorithm, point).verify(message, signature)
            }
            Self::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(message, signature),
        }
        .is_ok()
    }
}

use anyhow::Context;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::Value;

use super::jws::{Algorithm, Jws, RejectReason};

/// The accepted lengths of RSA keys, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The usable keys of an issuer.
#[derive(Debug)]
pub(super) struct KeySet(Vec<IssuerKey>);

#[derive(Debug)]
struct IssuerKey {
    id: Option<String>,
    public: VerifyingKey,
}

/// A public key; its type determines its algorithm.
#[derive(Debug)]
enum VerifyingKey {
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
    /// An uncompressed point.
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// A published key (RFC 7517, RFC 7518 section 6, RFC 8037).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<Value>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Parses a JWK set. Unusable keys are skipped: issuers publish keys of many kinds.
    pub fn parse(json: &[u8]) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Jwks {
            keys: Vec<Value>,
        }

        let Jwks { keys } = serde_json::from_slice(json).context("not a JWK set")?;
        let keys = keys.into_iter().filter_map(|key| {
            let key: Jwk = serde_json::from_value(key).ok()?;
            IssuerKey::of(key)
        });
        Ok(Self(keys.collect()))
    }

    /// Whether there is a key with this id, or any key for a token without a key id.
    pub fn has(&self, kid: Option<&str>) -> bool {
        match kid {
            Some(_) => self.0.iter().any(|key| key.id.as_deref() == kid),
            None => !self.0.is_empty(),
        }
    }

    /// Verifies the signature of a token.
    pub fn verify(&self, jws: &Jws<'_>) -> Result<(), RejectReason> {
        let has_id = |key: &&IssuerKey| jws.kid.is_none() || key.id == jws.kid;
        let has_algorithm = |key: &&IssuerKey| key.public.algorithm() == jws.algorithm;
        let mut keys = self.0.iter().filter(has_id).filter(has_algorithm);
        let key = keys.next().ok_or("no key with this key id and algorithm")?;
        // OpenID Connect Core section 10.1: with several keys, `kid` is required.
        if keys.next().is_some() {
            return Err("several possible keys, but no kid");
        }

        match key.public.has_signed(jws) {
            true => Ok(()),
            false => Err("wrong signature"),
        }
    }
}

impl IssuerKey {
    fn of(jwk: Jwk) -> Option<Self> {
        let public = VerifyingKey::of(&jwk)?;
        let signs = jwk.usage.is_none_or(|usage| usage == "sig");
        let of_algorithm = jwk.alg.is_none_or(|alg| {
            Algorithm::deserialize(&alg).is_ok_and(|alg| alg == public.algorithm())
        });
        (signs && of_algorithm).then_some(Self {
            id: jwk.kid,
            public,
        })
    }
}

impl VerifyingKey {
    fn of(jwk: &Jwk) -> Option<Self> {
        let bytes = |member: &Option<String>| URL_SAFE_NO_PAD.decode(member.as_ref()?).ok();
        let coordinate = |member| bytes(member).filter(|bytes| bytes.len() == 32);
        match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => {
                let (n, e) = (bytes(&jwk.n)?, bytes(&jwk.e)?);
                let unused = usize::try_from(n.first()?.leading_zeros()).ok()?;
                let is_minimal = unused < 8;
                (is_minimal && RSA_BITS.contains(&(8 * n.len() - unused)))
                    .then_some(Self::Rsa(RsaPublicKeyComponents { n, e }))
            }
            ("EC", Some("P-256")) => {
                let (x, y) = (coordinate(&jwk.x)?, coordinate(&jwk.y)?);
                Some(Self::P256([vec![4], x, y].concat()))
            }
            ("OKP", Some("Ed25519")) => Some(Self::Ed25519(coordinate(&jwk.x)?)),
            _ => None,
        }
    }

    fn algorithm(&self) -> Algorithm {
        match self {
            Self::Rsa(_) => Algorithm::RS256,
            Self::P256(_) => Algorithm::ES256,
            Self::Ed25519(_) => Algorithm::EdDSA,
        }
    }

    fn has_signed(&self, jws: &Jws<'_>) -> bool {
        let (message, signature) = (jws.message, &jws.signature);
        match self {
            Self::Rsa(key) => key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature),
            Self::P256(key) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).verify(message, signature)
            }
            Self::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(message, signature),
        }
        .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use serde_json::{Value, json};

    use super::KeySet;

    fn rsa(bytes: usize, first: u8) -> Value {
        let mut n = vec![0xff; bytes];
        n[0] = first;
        json!({"kty": "RSA", "kid": "k", "n": URL_SAFE_NO_PAD.encode(n), "e": "AQAB"})
    }

    fn octets(kty: &str, crv: &str, bytes: usize) -> Value {
        let octets = URL_SAFE_NO_PAD.encode(vec![1; bytes]);
        json!({"kty": kty, "crv": crv, "kid": "k", "x": octets, "y": octets})
    }

    fn with(key: &Value, member: &str, value: &str) -> Value {
        let mut key = key.clone();
        key[member] = json!(value);
        key
    }

    #[test]
    fn signing_keys_of_accepted_types_and_lengths_are_used_and_others_skipped() {
        let (rsa_key, p256) = (rsa(256, 0x80), octets("EC", "P-256", 32));
        let ed25519 = octets("OKP", "Ed25519", 32);
        for (key, expected) in [
            (rsa_key.clone(), true),
            (rsa(512, 0xff), true),
            (p256.clone(), true),
            (ed25519.clone(), true),
            (with(&rsa_key, "use", "sig"), true),
            (with(&rsa_key, "alg", "RS256"), true),
            (with(&p256, "alg", "ES256"), true),
            (with(&ed25519, "alg", "EdDSA"), true),
            (rsa(128, 0x80), false),
            (rsa(256, 0x7f), false),
            (rsa(257, 0x00), false),
            (rsa(2048, 0x80), false),
            (with(&rsa_key, "n", ""), false),
            (with(&rsa_key, "n", "not base64url!"), false),
            (with(&rsa_key, "use", "enc"), false),
            (with(&rsa_key, "alg", "RS512"), false),
            (with(&rsa_key, "alg", "HS256"), false),
            (with(&rsa_key, "alg", "ES256"), false),
            (octets("EC", "P-256", 31), false),
            (octets("EC", "P-384", 48), false),
            (octets("EC", "P-384", 32), false),
            (octets("OKP", "Ed25519", 33), false),
            (octets("OKP", "X25519", 32), false),
            (octets("oct", "", 32), false),
        ] {
            let set = json!({"keys": [17, key]}).to_string();
            let set = KeySet::parse(set.as_bytes()).unwrap();
            assert_eq!(set.has(Some("k")), expected, "{key}");
        }
    }

    #[test]
    fn a_malformed_key_set_is_refused() {
        for json in ["", "[]", "{}", r#"{"keys": {}}"#, r#"{"keys": []"#] {
            assert!(KeySet::parse(json.as_bytes()).is_err(), "{json}");
        }
    }
}

use anyhow::Context;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::Value;

use super::jws::{Algorithm, Jws, RejectReason};
use crate::auth::verifying_key::{EcdsaEncoding, VerifyingKey};

/// The usable keys of an issuer.
#[derive(Debug)]
pub(super) struct KeySet(Vec<IssuerKey>);

#[derive(Debug)]
struct IssuerKey {
    id: Option<String>,
    public: VerifyingKey,
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
        let has_algorithm = |key: &&IssuerKey| key.algorithm() == jws.algorithm;
        let mut keys = self.0.iter().filter(has_id).filter(has_algorithm);
        let key = keys.next().ok_or("no key with this key id and algorithm")?;
        // OpenID Connect Core section 10.1: with several keys, `kid` is required.
        if keys.next().is_some() {
            return Err("several possible keys, but no kid");
        }

        let Jws {
            message, signature, ..
        } = jws;
        match key
            .public
            .has_signed(message, signature, EcdsaEncoding::Fixed)
        {
            true => Ok(()),
            false => Err("wrong signature"),
        }
    }
}

impl IssuerKey {
    fn of(jwk: Jwk) -> Option<Self> {
        let key = Self {
            public: public_key(&jwk)?,
            id: jwk.kid,
        };
        let signs = jwk.usage.is_none_or(|usage| usage == "sig");
        let of_algorithm = jwk
            .alg
            .is_none_or(|alg| Algorithm::deserialize(&alg).is_ok_and(|alg| alg == key.algorithm()));
        (signs && of_algorithm).then_some(key)
    }

    fn algorithm(&self) -> Algorithm {
        match self.public {
            VerifyingKey::Rsa(_) => Algorithm::RS256,
            VerifyingKey::P256(_) => Algorithm::ES256,
            VerifyingKey::Ed25519(_) => Algorithm::EdDSA,
        }
    }
}

/// The public key, if its type and length are accepted.
fn public_key(jwk: &Jwk) -> Option<VerifyingKey> {
    let bytes = |member: &Option<String>| URL_SAFE_NO_PAD.decode(member.as_ref()?).ok();
    match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => VerifyingKey::rsa(bytes(&jwk.n)?, bytes(&jwk.e)?),
        ("EC", Some("P-256")) => VerifyingKey::p256(bytes(&jwk.x)?, bytes(&jwk.y)?),
        ("OKP", Some("Ed25519")) => VerifyingKey::ed25519(bytes(&jwk.x)?),
        _ => None,
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

    fn with(mut key: Value, member: &str, value: &str) -> Value {
        key[member] = json!(value);
        key
    }

    fn is_used(key: &Value) -> bool {
        let set = json!({"keys": [17, key]}).to_string();
        KeySet::parse(set.as_bytes()).unwrap().has(Some("k"))
    }

    #[test]
    fn signing_keys_of_accepted_types_and_lengths_are_used() {
        for key in [
            rsa(256, 0x80),
            rsa(512, 0xff),
            octets("EC", "P-256", 32),
            octets("OKP", "Ed25519", 32),
            with(rsa(256, 0x80), "use", "sig"),
            with(rsa(256, 0x80), "alg", "RS256"),
            with(octets("EC", "P-256", 32), "alg", "ES256"),
            with(octets("OKP", "Ed25519", 32), "alg", "EdDSA"),
        ] {
            assert!(is_used(&key), "{key}");
        }
    }

    #[test]
    fn other_keys_are_skipped() {
        for key in [
            rsa(128, 0x80),
            rsa(256, 0x7f),
            rsa(257, 0x00),
            rsa(2048, 0x80),
            with(rsa(256, 0x80), "n", ""),
            with(rsa(256, 0x80), "n", "not base64url!"),
            with(rsa(256, 0x80), "use", "enc"),
            with(rsa(256, 0x80), "alg", "RS512"),
            with(rsa(256, 0x80), "alg", "HS256"),
            with(rsa(256, 0x80), "alg", "ES256"),
            octets("EC", "P-256", 31),
            octets("EC", "P-384", 48),
            octets("EC", "P-384", 32),
            octets("OKP", "Ed25519", 33),
            octets("OKP", "X25519", 32),
            octets("oct", "", 32),
        ] {
            assert!(!is_used(&key), "{key}");
        }
    }

    #[test]
    fn a_malformed_key_set_is_refused() {
        for json in ["", "[]", "{}", r#"{"keys": {}}"#, r#"{"keys": []"#] {
            assert!(KeySet::parse(json.as_bytes()).is_err(), "{json}");
        }
    }
}

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
        RsaKeyPair, RsaPublicKeyComponents,
    },
};
use serde_json::{Value, json};

/// A signing key of an issuer.
pub struct IssuerKey {
    pub kid: String,
    key_pair: SigningKeyPair,
}

enum SigningKeyPair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl IssuerKey {
    /// The RSA key of `rsa_test_key.txt`.
    pub fn rsa(kid: &str) -> Self {
        let lines = include_str!("../auth/rsa_test_key.txt").lines();
        let text: String = lines.filter(|line| !line.starts_with('#')).collect();
        let pair = RsaKeyPair::from_pkcs8(&STANDARD.decode(text).unwrap()).unwrap();
        Self::new(kid, SigningKeyPair::Rsa(pair))
    }

    /// A new P-256 key.
    pub fn p256(kid: &str) -> Self {
        let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
        Self::new(kid, SigningKeyPair::P256(pair))
    }

    /// A new Ed25519 key.
    pub fn ed25519(kid: &str) -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        Self::new(kid, SigningKeyPair::Ed25519(pair))
    }

    fn new(kid: &str, key_pair: SigningKeyPair) -> Self {
        let kid = kid.to_owned();
        Self { kid, key_pair }
    }

    /// The JWS algorithm of the key.
    pub fn algorithm(&self) -> &'static str {
        match self.key_pair {
            SigningKeyPair::Rsa(_) => "RS256",
            SigningKeyPair::P256(_) => "ES256",
            SigningKeyPair::Ed25519(_) => "EdDSA",
        }
    }

    /// The public key as a JWK.
    pub fn jwk(&self) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match &self.key_pair {
            SigningKeyPair::Rsa(pair) => {
                let RsaPublicKeyComponents { n, e } =
                    RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({"kty": "RSA", "kid": self.kid, "n": encode(&n), "e": encode(&e)})
            }
            SigningKeyPair::P256(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "kid": self.kid,
                       "x": encode(x), "y": encode(y)})
            }
            SigningKeyPair::Ed25519(pair) => {
                let x = encode(pair.public_key().as_ref());
                json!({"kty": "OKP", "crv": "Ed25519", "kid": self.kid, "x": x})
            }
        }
    }

    /// Signs a token with this header.
    pub fn sign_with(&self, header: &Value, claims: &Value) -> String {
        let encode = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = self.signature(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Signs a token.
    pub fn sign(&self, claims: &Value) -> String {
        let header = json!({"alg": self.algorithm(), "kid": self.kid, "typ": "JWT"});
        self.sign_with(&header, claims)
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.key_pair {
            SigningKeyPair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .unwrap();
                signature
            }
            SigningKeyPair::P256(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            SigningKeyPair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }
}

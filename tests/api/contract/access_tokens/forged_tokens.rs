//! Forges access tokens from public knowledge and one valid token.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use serde_json::{Value, json};

use super::signing_keys::Key;

/// A valid token, decoded.
pub struct Token {
    pub text: String,
    pub header: Value,
    pub claims: Value,
    /// The server's signing key, for forgeries with a valid signature.
    pub key: Key,
}

impl Token {
    /// Decodes a valid token.
    pub fn decode(text: &str, key: Key) -> Self {
        let part = |at| {
            let part: &str = text.split('.').nth(at).unwrap();
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
        };
        let token = Self {
            text: text.to_owned(),
            header: part(0),
            claims: part(1),
            key,
        };
        let parts = [URL_SAFE_NO_PAD
            .decode(text.split('.').nth(2).unwrap())
            .unwrap()];
        let signed = text.rsplit_once('.').unwrap().0;
        assert_eq!(parts[0], token.key.sign(signed), "it is the server's key");
        token
    }

    /// A token with these parts, signed with a key.
    pub fn signed(header: &Value, claims: &Value, key: &Key) -> String {
        let part = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = URL_SAFE_NO_PAD.encode(key.sign(&signed));
        format!("{signed}.{signature}")
    }

    /// A token with a changed header, signed with a key.
    fn with_header(&self, key: &Key, change: impl FnOnce(&mut Value)) -> String {
        let mut header = self.header.clone();
        change(&mut header);
        Self::signed(&header, &self.claims, key)
    }

    /// A token with a changed claim and a valid signature.
    fn with_claim(&self, claim: &str, value: Option<Value>) -> String {
        let mut claims = self.claims.clone();
        match value {
            Some(value) => claims[claim] = value,
            None => drop(claims.as_object_mut().unwrap().remove(claim)),
        }
        Self::signed(&self.header, &claims, &self.key)
    }

    /// All forgeries, with their descriptions.
    pub fn forgeries(&self) -> Vec<(String, String)> {
        let mut all = self.without_signature();
        all.extend(self.under_wrong_keys());
        all.extend(self.with_wrong_headers());
        all.extend(self.with_wrong_claims());
        all.extend(self.with_flipped_bits());
        all.extend(self.with_wrong_segments());
        all
    }

    fn without_signature(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for alg in [
            json!("none"),
            json!("None"),
            json!("NONE"),
            json!("nOnE"),
            json!("none "),
            json!(""),
            json!(null),
            json!(0),
            json!(["none"]),
        ] {
            let token = self.with_header(&Key::None, |header| header["alg"] = alg.clone());
            let signature = self.text.rsplit_once('.').unwrap().1;
            all.push((format!("alg {alg}, empty signature"), token.clone()));
            all.push((
                format!("alg {alg}, old signature"),
                token.clone() + signature,
            ));
            let cut = token.trim_end_matches('.').to_owned();
            all.push((format!("alg {alg}, two segments"), cut));
        }
        let absent = |header: &mut Value| drop(header.as_object_mut().unwrap().remove("alg"));
        all.push(("no alg".into(), self.with_header(&Key::None, absent)));
        all
    }

    fn under_wrong_keys(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        // Algorithm confusion: public knowledge as the secret of an HMAC.
        let public = self.key.public().unwrap_or_else(|| b"sluice".to_vec());
        let x = URL_SAFE_NO_PAD.encode(&public);
        let spki = [
            &b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00"[..],
            &public,
        ]
        .concat();
        let base64 = base64::engine::general_purpose::STANDARD.encode(&spki);
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{base64}\n-----END PUBLIC KEY-----\n");
        let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        let known = [
            ("raw public key", public.clone()),
            ("public key in base64url", x.into_bytes()),
            ("public key in DER", spki),
            ("public key in PEM", pem.clone().into_bytes()),
            (
                "public key in PEM, one line",
                pem.trim().as_bytes().to_vec(),
            ),
            ("public key as JWK", jwk.into_bytes()),
            (
                "key id",
                self.header["kid"].as_str().unwrap().as_bytes().to_vec(),
            ),
            ("empty secret", Vec::new()),
            ("zeros", vec![0; 32]),
        ];
        for (what, secret) in known {
            for (alg, algorithm) in [
                ("HS256", hmac::HMAC_SHA256),
                ("HS384", hmac::HMAC_SHA384),
                ("HS512", hmac::HMAC_SHA512),
            ] {
                let key = Key::Hmac(algorithm, secret.clone());
                let token = self.with_header(&key, |header| header["alg"] = json!(alg));
                all.push((format!("{alg} under the {what}"), token));
            }
        }

        let own = Key::generate();
        for alg in ["EdDSA", "Ed25519", "HS256", "RS256", "ES256", "PS256"] {
            let token = self.with_header(&own, |header| header["alg"] = json!(alg));
            all.push((format!("another Ed25519 key, right kid, {alg}"), token));
        }
        for alg in ["HS384", "HS512", "RS256", "ES256", "PS512", "ES256K", "dir"] {
            let token = self.with_header(&self.key, |header| header["alg"] = json!(alg));
            all.push((format!("the server's key under the name of {alg}"), token));
        }
        all
    }

    fn with_wrong_headers(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        let mut add = |what: String, token| all.push((what, token));
        for typ in [
            json!("JWT"),
            json!("jwt"),
            json!("ID+JWT"),
            json!("logout+jwt"),
            json!("at"),
            json!(""),
            json!(null),
            json!(["at+jwt"]),
        ] {
            let token = self.with_header(&self.key, |header| header["typ"] = typ.clone());
            add(format!("typ {typ}"), token);
        }
        for kid in [
            json!(""),
            json!(null),
            json!(1),
            json!("../../../../../../dev/null"),
            json!("/proc/self/environ"),
            json!("' or 1 = 1 --"),
            json!("x' union select 'sluice' --"),
            json!("https://attacker.example/keys.json"),
            json!("x".repeat(2000)),
            json!(format!("{}\u{0}", self.header["kid"].as_str().unwrap())),
            json!(self.header["kid"].as_str().unwrap().to_uppercase() + "A"),
        ] {
            let token = self.with_header(&self.key, |header| header["kid"] = kid.clone());
            add(format!("kid {kid}, the server's key"), token);
        }
        for crit in [
            json!(["exp"]),
            json!(["b64"]),
            json!(["urn:example:extension"]),
            json!([]),
            json!("exp"),
            json!(true),
        ] {
            let token = self.with_header(&self.key, |header| {
                header["crit"] = crit.clone();
                header["exp"] = json!(1);
                // The only extension that the decoder knows.
                header["b64"] = json!(true);
                header["urn:example:extension"] = json!(true);
            });
            add(format!("crit {crit}, the server's key"), token);
        }
        for name in ["typ", "kid"] {
            let token = self.with_header(&self.key, |header| {
                header.as_object_mut().unwrap().remove(name);
            });
            add(format!("no {name}"), token);
        }

        let own = Key::generate();
        let x = URL_SAFE_NO_PAD.encode(own.public().unwrap());
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": "own", "use": "sig"});
        for (name, value) in [
            ("jku", json!("https://attacker.example/keys.json")),
            ("x5u", json!("https://attacker.example/cert.pem")),
            ("x5c", json!(["MIIB"])),
            ("jwk", jwk),
        ] {
            for kid in [self.header["kid"].clone(), json!("own")] {
                let token = self.with_header(&own, |header| {
                    header["alg"] = json!("EdDSA");
                    header["kid"] = kid.clone();
                    header[name] = value.clone();
                });
                add(format!("{name} names another key, kid {kid}"), token);
            }
        }
        all
    }

    fn with_wrong_claims(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for claim in [
            "iss", "aud", "sub", "exp", "nbf", "sid", "iat", "jti", "scope",
        ] {
            all.push((format!("no {claim}"), self.with_claim(claim, None)));
            for value in [
                json!(true),
                json!(null),
                json!([]),
                json!({}),
                json!("x"),
                json!(""),
                json!(1),
                json!(1.5),
                json!(u64::MAX),
            ] {
                // Valid values of this claim.
                let is_right = match claim {
                    "scope" => value.is_string(),
                    "iat" => value == json!(1),
                    "nbf" => value == json!(1),
                    _ => false,
                };
                if !is_right {
                    let token = self.with_claim(claim, Some(value.clone()));
                    all.push((format!("{claim} {value}"), token));
                }
            }
        }
        let now = self.claims["iat"].as_i64().unwrap();
        for (claim, value) in [
            ("iss", json!("another")),
            ("iss", json!("Sluice")),
            ("iss", json!(["sluice"])),
            ("aud", json!("another")),
            ("aud", json!(["sluice", "another"])),
            ("aud", json!(["sluice"])),
            ("exp", json!(now - 60)),
            ("exp", json!(-1)),
            ("exp", json!((now + 600).to_string())),
            ("nbf", json!(now + 600)),
            ("sub", json!("root")),
            ("sid", json!("01890a5d")),
        ] {
            let token = self.with_claim(claim, Some(value.clone()));
            all.push((format!("{claim} {value}"), token));
        }
        all
    }
}

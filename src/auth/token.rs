//! Access tokens: JWTs in the profile of RFC 9068, checked without the database.
//!
//! The key is found by `kid` in the ring and pins the algorithm; the header's
//! own word on the algorithm is only compared with it (RFC 8725 section 3.1).
//! Every claim is required and typed.

use std::sync::Arc;

use super::{
    Caller, SigningKeys, TokenSettings,
    checked_tokens::{CheckedToken, CheckedTokens, hash_of},
    claims::Claims,
    signing_keys::{SigningKey, TYPE},
};
use crate::{
    domain::{Secret, Time},
    error::{Error, Result},
};
use jsonwebtoken::{Algorithm, Validation, decode, decode_header, encode};

/// Ours have less than 700 bytes; nothing longer is even parsed.
const MAX_BYTES: usize = 4096;

/// Makes and checks access tokens. A clone shares the keys.
#[derive(Clone)]
pub struct AccessTokens {
    shared: Arc<Shared>,
}

struct Shared {
    keys: SigningKeys,
    hs256: Validation,
    ed25519: Validation,
    settings: TokenSettings,
    checked: CheckedTokens,
}

/// A token and when it stops working.
#[derive(Debug)]
pub struct AccessToken {
    /// The JWT.
    pub token: Secret,
    /// Its `exp`.
    pub expire_time: Time,
}

impl AccessTokens {
    /// Tokens under these keys.
    pub fn new(keys: SigningKeys, settings: TokenSettings) -> Self {
        let shared = Shared {
            keys,
            hs256: settings.validation(Algorithm::HS256),
            ed25519: settings.validation(Algorithm::EdDSA),
            settings,
            checked: CheckedTokens::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The keys of the tokens.
    pub fn keys(&self) -> &SigningKeys {
        &self.shared.keys
    }

    /// Makes a token for a caller.
    pub fn issue(&self, caller: &Caller, now: Time) -> Result<AccessToken> {
        let Shared { keys, settings, .. } = &*self.shared;
        let expire_time = now + settings.lifetime;
        let claims = Claims::of(caller, settings, now, expire_time);

        let key = keys.signer();
        let key = key.ok_or_else(|| Error::internal(anyhow::anyhow!("all keys have retired")))?;
        let token = encode(&key.header, &claims, &key.encoding).map_err(Error::internal)?;
        Ok(AccessToken {
            token: Secret::new(token),
            expire_time,
        })
    }

    /// The caller that a token was made for, and when it expires.
    pub fn verify(&self, token: &str) -> Result<(Caller, Time)> {
        self.read(token).ok_or(Error::AccessTokenInvalid)
    }

    fn read(&self, token: &str) -> Option<(Caller, Time)> {
        let Shared {
            keys,
            hs256,
            ed25519,
            checked,
            ..
        } = &*self.shared;
        if token.len() > MAX_BYTES {
            return None;
        }
        let hash = hash_of(token);
        if let Some(found) = checked.find(&hash, keys) {
            return Some(found);
        }
        let key = key_of(token, keys)?;
        let validation = match key.algorithm {
            Algorithm::HS256 => hs256,
            _ => ed25519,
        };
        let claims: Claims = decode(token, &key.decoding, validation).ok()?.claims;

        let (caller, expire_time) = (claims.caller(), claims.expire_time()?);
        let token = CheckedToken {
            caller,
            expire_time,
            key_id: key.id.as_str().into(),
        };
        checked.remember(hash, token);
        Some((caller, expire_time))
    }
}

/// The key that an access token names.
fn key_of(token: &str, keys: &SigningKeys) -> Option<Arc<SigningKey>> {
    let (encoded_header, _) = token.split_once('.')?;
    if let Some(key) = keys.verifier_of(encoded_header) {
        return Some(key);
    }
    let header = decode_header(token).ok()?;
    let key_id = header.kid.filter(|_| header.typ.as_deref() == Some(TYPE))?;
    keys.verifier(&key_id)
}

impl std::fmt::Debug for AccessTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AccessTokens(***)")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
    use serde_json::{Value, json};

    use super::{AccessTokens, TokenSettings};
    use crate::{
        auth::{Caller, SigningKeys, Subject},
        domain::{ApiKeyId, Scope, Secret, SessionId, UserId, now},
    };

    const SECRET: &str = "a secret of at least thirty-two bytes";
    const PEM: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
        -----END PRIVATE KEY-----\n";

    fn tokens(keys: SigningKeys) -> AccessTokens {
        let lifetime = Duration::from_secs(60);
        let settings = TokenSettings {
            issuer: "sluice".into(),
            audience: "sluice".into(),
            lifetime,
        };
        AccessTokens::new(keys, settings)
    }

    fn shared() -> AccessTokens {
        tokens(SigningKeys::from_secret(&Secret::new(SECRET)))
    }

    fn caller() -> Caller {
        let subject = Subject::User {
            user: UserId::generate(),
            session: SessionId::generate(),
        };
        Caller {
            subject,
            scopes: [Scope::ProjectsRead].into_iter().collect(),
        }
    }

    fn claims() -> Value {
        let time = now().timestamp();
        json!({
            "iss": "sluice", "aud": "sluice", "scope": "projects:read",
            "sub": UserId::generate().uuid(), "sid": SessionId::generate().uuid(),
            "iat": time, "nbf": time, "exp": time + 60, "jti": UserId::generate().uuid(),
        })
    }

    fn forge(change: impl FnOnce(&mut Header, &mut Value)) -> String {
        let kid = shared().keys().signing_key().unwrap();
        let mut header = Header {
            typ: Some("at+jwt".into()),
            kid: Some(kid),
            ..Header::new(Algorithm::HS256)
        };
        let mut claims = claims();
        change(&mut header, &mut claims);
        encode(
            &header,
            &claims,
            &EncodingKey::from_secret(SECRET.as_bytes()),
        )
        .unwrap()
    }

    #[test]
    fn a_token_tells_whom_it_was_made_for() {
        let pem = SigningKeys::from_pem(&[Secret::new(PEM)]).unwrap();
        for tokens in [shared(), tokens(pem)] {
            let user = UserId::generate();
            let key = ApiKeyId::generate();
            for subject in [
                caller().subject,
                Subject::Program {
                    user,
                    key,
                    restricted: true,
                },
                Subject::Operator { key },
            ] {
                let caller = Caller {
                    subject,
                    ..caller()
                };
                let token = tokens.issue(&caller, now()).unwrap().token;
                assert_eq!(tokens.verify(token.expose()).unwrap().0, caller);
            }
        }
    }

    #[test]
    fn tokens_that_are_made_here_are_known_by_sight_while_their_key_is_accepted() {
        let secret = SigningKeys::from_secret(&Secret::new(SECRET));
        for keys in [secret, SigningKeys::from_pem(&[Secret::new(PEM)]).unwrap()] {
            let token = tokens(keys.clone()).issue(&caller(), now()).unwrap().token;
            let (header, _) = token.expose().split_once('.').unwrap();
            let known = keys.verifier_of(header).map(|key| key.id.clone());
            assert_eq!(known, keys.signing_key());

            keys.keep(vec![], |_| Some(now()));
            assert!(keys.verifier_of(header).is_none());
            assert!(tokens(keys).verify(token.expose()).is_err());
        }
    }

    #[test]
    fn an_old_key_of_the_ring_still_verifies() {
        let new = EncodingKeyPem::generate();
        let old = tokens(SigningKeys::from_pem(&[Secret::new(PEM)]).unwrap());
        let token = old.issue(&caller(), now()).unwrap().token;

        let ring = SigningKeys::from_pem(&[new.clone(), Secret::new(PEM)]).unwrap();
        assert!(tokens(ring).verify(token.expose()).is_ok());
        assert!(
            tokens(SigningKeys::from_pem(&[new]).unwrap())
                .verify(token.expose())
                .is_err()
        );
    }

    struct EncodingKeyPem;

    impl EncodingKeyPem {
        fn generate() -> Secret {
            use base64::{Engine, engine::general_purpose::STANDARD};
            let pkcs8 =
                ring::signature::Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new());
            let body = STANDARD.encode(pkcs8.unwrap());
            Secret::new(format!(
                "-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n"
            ))
        }
    }

    #[test]
    fn the_forger_of_these_tests_makes_good_tokens_when_it_changes_nothing() {
        assert!(shared().verify(&forge(|_, _| {})).is_ok());
    }

    #[test]
    fn every_claim_is_required_and_typed() {
        for claim in [
            "iss", "aud", "sub", "sid", "scope", "iat", "nbf", "exp", "jti",
        ] {
            let missing = forge(|_, claims| {
                claims.as_object_mut().unwrap().remove(claim);
            });
            assert!(shared().verify(&missing).is_err(), "without {claim}");
            for value in [
                json!(true),
                json!(null),
                json!([]),
                json!({}),
                json!("x"),
                json!(1),
            ] {
                if claim == "scope" && value == json!("x")
                    || ["iat", "nbf"].contains(&claim) && value == json!(1)
                {
                    continue;
                }
                let wrong = forge(|_, claims| claims[claim] = value.clone());
                assert!(shared().verify(&wrong).is_err(), "{claim} = {value}");
            }
        }
    }

    #[test]
    fn another_issuer_audience_time_type_key_or_algorithm_is_refused() {
        let time = now().timestamp();
        let forged = [
            forge(|_, claims| claims["iss"] = json!("someone")),
            forge(|_, claims| claims["aud"] = json!("something")),
            forge(|_, claims| claims["aud"] = json!(["sluice", "something"])),
            forge(|_, claims| claims["exp"] = json!(time - 60)),
            forge(|_, claims| claims["nbf"] = json!(time + 60)),
            forge(|header, _| header.typ = Some("JWT".into())),
            forge(|header, _| header.typ = None),
            forge(|header, _| header.kid = None),
            forge(|header, _| header.kid = Some("../../dev/null".into())),
        ];
        for token in forged {
            assert!(shared().verify(&token).is_err(), "{token}");
        }
    }

    #[test]
    fn an_hs256_token_under_the_public_key_is_refused() {
        let tokens = tokens(SigningKeys::from_pem(&[Secret::new(PEM)]).unwrap());
        let public = tokens.keys().public().remove(0);
        let header = Header {
            typ: Some("at+jwt".into()),
            kid: Some(public.id),
            ..Header::new(Algorithm::HS256)
        };
        let key = EncodingKey::from_secret(public.x.as_bytes());
        let token = encode(&header, &claims(), &key).unwrap();

        assert!(tokens.verify(&token).is_err());
    }

    #[test]
    fn no_flipped_bit_goes_unnoticed() {
        let token = forge(|_, _| {}).into_bytes();
        for at in 0..token.len() {
            let mut flipped = token.clone();
            flipped[at] ^= 1;
            let Ok(text) = str::from_utf8(&flipped) else {
                continue;
            };
            assert!(shared().verify(text).is_err(), "byte {at}");
        }
    }
}

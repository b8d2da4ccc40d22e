//! Access tokens: JWTs in the profile of RFC 9068, verified without the database.
//!
//! `kid` selects the key in the ring, and the key determines the algorithm. The header's
//! `alg` must match it (RFC 8725 section 3.1). A header with `crit` is refused, as no
//! extension is supported (RFC 7515 section 4.1.11). Every claim is required and typed.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, Validation, decode, decode_header, encode};
use serde_json::Value;

use super::{
    Caller, SigningKeys, TokenSettings,
    claims::Claims,
    signing_keys::{SigningKey, TOKEN_TYPE},
    token_cache::{CachedToken, TokenCache, token_hash},
};
use crate::{
    domain::{Secret, Time, now},
    error::{Error, FoundInstead, Result},
};

/// The longest token that is parsed, in bytes. Tokens of this server are shorter than 1000.
const MAX_TOKEN_BYTES: usize = 4096;

/// Issues and verifies access tokens. A clone shares the keys and the cache.
#[derive(Debug, Clone)]
pub struct AccessTokens {
    inner: Arc<AccessTokensInner>,
}

#[derive(Debug)]
struct AccessTokensInner {
    keys: SigningKeys,
    hs256: Validation,
    ed25519: Validation,
    settings: TokenSettings,
    cache: TokenCache,
}

/// A token and its expiry.
#[derive(Debug)]
pub struct AccessToken {
    /// The JWT.
    pub token: Secret,
    /// When it expires. The `exp` claim is less than a second later, in whole seconds.
    pub expire_time: Time,
}

impl AccessTokens {
    /// Access tokens signed and verified with these keys.
    pub fn new(keys: SigningKeys, settings: TokenSettings) -> Self {
        let inner = AccessTokensInner {
            keys,
            hs256: settings.validation(Algorithm::HS256),
            ed25519: settings.validation(Algorithm::EdDSA),
            settings,
            cache: TokenCache::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The ring of signing keys.
    pub fn keys(&self) -> &SigningKeys {
        &self.inner.keys
    }

    /// Issues a token for a caller. It expires with its session or API key at the latest, if
    /// that expires at `source_expire_time`.
    pub fn issue(
        &self,
        caller: &Caller,
        source_expire_time: Option<Time>,
        now: Time,
    ) -> Result<AccessToken> {
        let AccessTokensInner { keys, settings, .. } = &*self.inner;
        let longest = now + settings.lifetime;
        let expire_time = source_expire_time.map_or(longest, |source| source.min(longest));
        let claims = Claims::of(caller, settings, now, expire_time);

        let key = keys.ring.active();
        let key = key.ok_or_else(|| Error::internal(anyhow::anyhow!("all keys have retired")))?;
        let token = encode(&key.header, &claims, &key.encoding).map_err(Error::internal)?;
        Ok(AccessToken {
            token: Secret::new(token),
            expire_time,
        })
    }

    /// The caller and the expiry of a valid token.
    ///
    /// The error for any other depends on its form and its unverified `exp` claim only: what the
    /// token says, the caller knows. It does not tell whether a signature is valid.
    pub fn verify(&self, token: &str) -> Result<(Caller, Time)> {
        self.caller_of(token).ok_or_else(|| error_of(token))
    }

    fn caller_of(&self, token: &str) -> Option<(Caller, Time)> {
        let AccessTokensInner { keys, cache, .. } = &*self.inner;
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let hash = token_hash(token);
        if let Some(found) = cache.get(&hash, keys) {
            return Some(found);
        }
        let key = verification_key(token, keys)?;
        let validation = match key.algorithm {
            Algorithm::HS256 => &self.inner.hs256,
            _ => &self.inner.ed25519,
        };
        let claims: Claims = decode(token, &key.decoding, validation).ok()?.claims;
        if !claims.are_valid(now()) {
            return None;
        }

        let (caller, expire_time) = (claims.caller()?, claims.expire_time()?);
        let token = CachedToken {
            caller: caller.clone(),
            expire_time,
            key_id: key.id.as_str().into(),
        };
        cache.insert(hash, token);
        Some((caller, expire_time))
    }
}

/// Why a token is not valid, as its text tells.
fn error_of(token: &str) -> Error {
    if token.starts_with("slk_") {
        return Error::AccessTokenMalformed(FoundInstead::ApiKey);
    }
    if token.starts_with("slr_") {
        return Error::AccessTokenMalformed(FoundInstead::RefreshToken);
    }
    let mut parts = token.split('.');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(header), Some(claims), Some(signature), None)
            if ![header, claims, signature].contains(&"") =>
        {
            match token.len() <= MAX_TOKEN_BYTES && has_expired(claims) {
                true => Error::AccessTokenExpired,
                false => Error::AccessTokenInvalid,
            }
        }
        _ => Error::AccessTokenMalformed(FoundInstead::NoJwt),
    }
}

/// Whether unverified claims say that their token has expired.
fn has_expired(claims: &str) -> bool {
    let json = URL_SAFE_NO_PAD.decode(claims).ok();
    let claims: Option<Value> = json.and_then(|json| serde_json::from_slice(&json).ok());
    let expiry = claims.and_then(|claims| claims.get("exp")?.as_i64());
    expiry.is_some_and(|expiry| expiry <= now().timestamp())
}

/// The accepted key that an access token names.
fn verification_key(token: &str, keys: &SigningKeys) -> Option<Arc<SigningKey>> {
    let header = decode_header(token).ok()?;
    let is_supported = header.typ.as_deref() == Some(TOKEN_TYPE) && header.crit.is_none();
    keys.verification_key(&header.kid.filter(|_| is_supported)?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::TimeDelta;
    use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
    use serde_json::{Value, json};

    use super::{AccessTokens, TokenSettings};
    use crate::{
        auth::{Caller, SigningKeys, Subject},
        domain::{ApiKeyId, NodeId, OrganizationId, Scope, Secret, SessionId, UserId, now},
    };

    const SECRET: &str = "a secret of at least thirty-two bytes";
    const PEM: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
        -----END PRIVATE KEY-----\n";
    const NEW_PEM: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEIIxtyNOVFv/G8KPPUic9zPZvzplp9NU+4iUVO3qxp5Gk\n\
        -----END PRIVATE KEY-----\n";

    fn tokens(keys: SigningKeys) -> AccessTokens {
        let settings = TokenSettings {
            issuer: "sluice".into(),
            audience: "sluice".into(),
            lifetime: Duration::from_secs(60),
        };
        AccessTokens::new(keys, settings)
    }

    fn secret_key() -> SigningKeys {
        SigningKeys::from_secret(&Secret::new(SECRET))
    }

    fn pem_keys<const N: usize>(files: [&str; N]) -> SigningKeys {
        SigningKeys::from_pem(&files.map(Secret::new)).unwrap()
    }

    fn caller() -> Caller {
        Caller {
            scopes: [Scope::ProjectsRead].into_iter().collect(),
            ..Caller::signed_in(UserId::generate())
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

    /// A token under the shared secret, after a change.
    fn forge(change: impl FnOnce(&mut Header, &mut Value)) -> String {
        let mut header = Header {
            typ: Some("at+jwt".into()),
            kid: secret_key().active_key_id(),
            ..Header::new(Algorithm::HS256)
        };
        let mut claims = claims();
        change(&mut header, &mut claims);
        let key = EncodingKey::from_secret(SECRET.as_bytes()).unwrap();
        encode(&header, &claims, &key).unwrap()
    }

    fn is_accepted(token: &str) -> bool {
        tokens(secret_key()).verify(token).is_ok()
    }

    #[test]
    fn a_token_names_the_caller_that_it_was_issued_for() {
        let (user, key) = (UserId::generate(), ApiKeyId::generate());
        let program = Subject::Program {
            user,
            key,
            restricted: true,
            organization: Some(OrganizationId::generate()),
        };
        for keys in [secret_key(), pem_keys([PEM])] {
            let [operator, bound] = [None, Some("node-1")].map(|node| Subject::Operator {
                key,
                node: node.map(|node| NodeId::parse(node).unwrap()),
            });
            for subject in [caller().subject, program.clone(), operator, bound] {
                let caller = Caller {
                    subject,
                    ..caller()
                };
                let tokens = tokens(keys.clone());
                let token = tokens.issue(&caller, None, now()).unwrap().token;
                assert_eq!(tokens.verify(token.expose()).unwrap().0, caller);
            }
        }
    }

    #[test]
    fn a_token_expires_with_what_it_was_issued_for_but_never_later_than_its_lifetime() {
        let (tokens, now) = (tokens(secret_key()), now());
        let expiry = |source| {
            let issued = tokens.issue(&caller(), source, now).unwrap();
            let (_, exp) = tokens.verify(issued.token.expose()).unwrap();
            assert!(exp >= issued.expire_time && exp - issued.expire_time < TimeDelta::seconds(1));
            issued.expire_time - now
        };
        let seconds = TimeDelta::seconds;
        assert_eq!(expiry(None), seconds(60));
        assert_eq!(expiry(Some(now + seconds(30))), seconds(30));
        assert_eq!(expiry(Some(now + seconds(90))), seconds(60));

        let past = tokens
            .issue(&caller(), Some(now - seconds(1)), now)
            .unwrap();
        assert!(tokens.verify(past.token.expose()).is_err());
    }

    #[test]
    fn a_token_is_refused_once_its_key_has_retired() {
        for keys in [secret_key(), pem_keys([PEM])] {
            let token = tokens(keys.clone())
                .issue(&caller(), None, now())
                .unwrap()
                .token;
            assert!(tokens(keys.clone()).verify(token.expose()).is_ok());

            keys.ring.set_database_keys(vec![], |_| Some(now()));
            assert!(tokens(keys).verify(token.expose()).is_err());
        }
    }

    #[test]
    fn a_token_of_an_older_key_of_the_ring_is_valid() {
        let old = tokens(pem_keys([PEM]));
        let token = old.issue(&caller(), None, now()).unwrap().token;

        let ring = tokens(pem_keys([NEW_PEM, PEM]));
        assert!(ring.verify(token.expose()).is_ok());
        let new = tokens(pem_keys([NEW_PEM]));
        assert!(new.verify(token.expose()).is_err());
    }

    #[test]
    fn a_forged_token_without_changes_is_valid() {
        assert!(is_accepted(&forge(|_, _| {})));
    }

    #[test]
    fn every_claim_is_required_and_typed() {
        for claim in [
            "iss", "aud", "sub", "sid", "scope", "iat", "nbf", "exp", "jti",
        ] {
            let missing = forge(|_, claims| {
                claims.as_object_mut().unwrap().remove(claim);
            });
            assert!(!is_accepted(&missing), "without {claim}");
            for value in json!([true, null, [], {}, "x", 1]).as_array().unwrap() {
                if claim == "scope" && value == "x" || ["iat", "nbf"].contains(&claim) && value == 1
                {
                    continue;
                }
                let wrong = forge(|_, claims| claims[claim] = value.clone());
                assert!(!is_accepted(&wrong), "{claim} = {value}");
            }
        }
    }

    #[test]
    fn a_node_of_an_operator_key_must_be_well_formed() {
        let of_node = |node_id: &Value| {
            forge(|_, claims| {
                claims["client_id"] = claims["sub"].clone();
                claims["node_id"] = node_id.clone();
            })
        };
        assert!(is_accepted(&of_node(&json!("n1"))));
        for node_id in [json!(1), json!(true), json!(""), json!("a b"), json!([])] {
            assert!(!is_accepted(&of_node(&node_id)), "{node_id}");
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
            forge(|_, claims| claims["exp"] = json!(time)),
            forge(|_, claims| claims["nbf"] = json!(time + 60)),
            forge(|header, _| header.typ = Some("JWT".into())),
            forge(|header, _| header.typ = None),
            forge(|header, _| header.kid = None),
            forge(|header, _| header.crit = Some(vec!["exp".into()])),
            forge(|header, _| header.crit = Some(vec![])),
            forge(|header, _| header.kid = Some("../../dev/null".into())),
        ];
        for token in forged {
            assert!(!is_accepted(&token), "{token}");
        }
    }

    #[test]
    fn an_hs256_token_under_the_public_key_is_refused() {
        let tokens = tokens(pem_keys([PEM]));
        let public = tokens.keys().public_keys().remove(0);
        let header = Header {
            typ: Some("at+jwt".into()),
            kid: Some(public.id),
            ..Header::new(Algorithm::HS256)
        };
        let key = EncodingKey::from_secret(public.x.as_bytes()).unwrap();
        let token = encode(&header, &claims(), &key).unwrap();

        assert!(tokens.verify(&token).is_err());
    }

    #[test]
    fn a_token_with_any_flipped_bit_is_refused() {
        let token = forge(|_, _| {}).into_bytes();
        for at in 0..token.len() {
            let mut flipped = token.clone();
            flipped[at] ^= 1;
            let Ok(text) = str::from_utf8(&flipped) else {
                continue;
            };
            assert!(!is_accepted(text), "byte {at}");
        }
    }
}

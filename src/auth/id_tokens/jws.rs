use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, de::IgnoredAny};

/// Why a token is refused, for the debug log. It never contains parts of the token.
pub(super) type RejectReason = &'static str;

/// The accepted signature algorithms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// Ed25519.
    EdDSA,
}

/// A decoded JWS (RFC 7515 section 3.1), not yet verified.
pub(super) struct Jws<'a> {
    pub algorithm: Algorithm,
    /// The id of the signing key.
    pub kid: Option<String>,
    /// The signed bytes.
    pub message: &'a [u8],
    pub payload: Vec<u8>,
    pub signature: Vec<u8>,
}

#[derive(Deserialize)]
struct Header {
    alg: Algorithm,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<IgnoredAny>,
}

impl<'a> Jws<'a> {
    /// Decodes a token.
    pub fn parse(token: &'a str) -> Result<Self, RejectReason> {
        let (message, signature) = token.rsplit_once('.').ok_or("no signature")?;
        let (header, payload) = message.split_once('.').ok_or("no payload")?;
        // A fourth part would be in the payload, which then is not base64.
        let decode = |part| URL_SAFE_NO_PAD.decode(part).map_err(|_| "not base64url");
        let (header, payload, signature) = (decode(header)?, decode(payload)?, decode(signature)?);

        let Header {
            alg,
            kid,
            typ,
            crit,
        } = serde_json::from_slice(&header)
            .map_err(|_| "malformed header or unaccepted algorithm")?;
        // For example, an access token has `at+jwt` (RFC 9068).
        if typ.is_some_and(|typ| !typ.eq_ignore_ascii_case("JWT")) {
            return Err("another token type");
        }
        if crit.is_some() {
            return Err("unsupported critical header parameter");
        }
        Ok(Self {
            algorithm: alg,
            kid,
            message: message.as_bytes(),
            payload,
            signature,
        })
    }
}

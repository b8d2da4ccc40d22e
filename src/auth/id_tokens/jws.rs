use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, de::IgnoredAny};

/// Why a token is refused, for the log at debug level: it never repeats what is
/// in the token.
pub(super) type Fault = &'static str;

/// How a token is signed. What is not listed is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// Ed25519.
    EdDSA,
}

/// A signed token, taken apart and not yet verified (RFC 7515 section 3.1).
pub(super) struct Jws<'a> {
    pub algorithm: Algorithm,
    /// The id of the key.
    pub kid: Option<String>,
    /// What is signed.
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
    /// Takes a token apart.
    pub fn parse(token: &'a str) -> Result<Self, Fault> {
        let (message, signature) = token.rsplit_once('.').ok_or("it has no signature")?;
        let (header, payload) = message.split_once('.').ok_or("it has no payload")?;
        // A further part would be in the payload, which then is not base64.
        let decode = |part| {
            URL_SAFE_NO_PAD
                .decode(part)
                .map_err(|_| "it is not base64url")
        };
        let (header, payload, signature) = (decode(header)?, decode(payload)?, decode(signature)?);

        let Header {
            alg,
            kid,
            typ,
            crit,
        } = serde_json::from_slice(&header)
            .map_err(|_| "its header is not well formed, or its algorithm is not accepted")?;
        // An access token says `at+jwt` (RFC 9068), and is about something else.
        if typ.is_some_and(|typ| !typ.eq_ignore_ascii_case("JWT")) {
            return Err("it is of another type");
        }
        if crit.is_some() {
            return Err("it must be understood in a way that is not known here");
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

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, de::Error as _};

use crate::domain::Invalid;

/// The longest response, in bytes of JSON.
const MAX_BYTES: usize = 16 * 1024;

/// The most transports of a credential, and the longest name of one.
const MAX_TRANSPORTS: usize = 8;
const MAX_TRANSPORT_LENGTH: usize = 32;

/// What an authenticator returned for its registration: RegistrationResponseJSON (WebAuthn Level 3
/// section 5.1).
#[derive(Debug)]
pub struct RegistrationResponse {
    /// The id of the credential.
    pub(super) credential_id: Vec<u8>,
    /// The client data, which are JSON.
    pub(super) client_data: Vec<u8>,
    /// The attestation object, which is CBOR.
    pub(super) attestation_object: Vec<u8>,
    /// How the authenticator can be reached.
    pub(super) transports: Vec<String>,
}

/// What an authenticator returned for a sign-in: AuthenticationResponseJSON (WebAuthn Level 3
/// section 5.1). It prints as `***`.
#[derive(Clone)]
pub struct AssertionResponse {
    /// The id of the credential.
    pub credential_id: Vec<u8>,
    /// The client data, which are JSON.
    pub(super) client_data: Vec<u8>,
    /// The authenticator data.
    pub(super) authenticator_data: Vec<u8>,
    /// The signature.
    pub(super) signature: Vec<u8>,
    /// The user handle of the registration.
    pub(super) user_handle: Option<Vec<u8>>,
}

/// Bytes in base64url.
struct Octets(Vec<u8>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResponseJson<R> {
    raw_id: Octets,
    r#type: String,
    response: R,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AttestationJson {
    #[serde(rename = "clientDataJSON")]
    client_data: Octets,
    attestation_object: Octets,
    #[serde(default)]
    transports: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AssertionJson {
    #[serde(rename = "clientDataJSON")]
    client_data: Octets,
    authenticator_data: Octets,
    signature: Octets,
    user_handle: Option<Octets>,
}

impl RegistrationResponse {
    /// Parses JSON. Unknown members are ignored.
    pub fn parse(json: &str) -> Result<Self, Invalid> {
        let ResponseJson {
            raw_id, response, ..
        } = parse(
            json,
            "must be the JSON of a RegistrationResponseJSON of WebAuthn, which \
             JSON.stringify(credential) makes",
        )?;
        let AttestationJson {
            client_data,
            attestation_object,
            transports,
        } = response;
        let is_name = |name: &String| {
            let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
            (1..=MAX_TRANSPORT_LENGTH).contains(&name.len()) && name.bytes().all(is_letter)
        };
        let transports = transports.into_iter().filter(is_name).take(MAX_TRANSPORTS);
        Ok(Self {
            credential_id: raw_id.0,
            client_data: client_data.0,
            attestation_object: attestation_object.0,
            transports: transports.collect(),
        })
    }
}

impl AssertionResponse {
    /// Parses JSON. Unknown members are ignored.
    pub fn parse(json: &str) -> Result<Self, Invalid> {
        let ResponseJson {
            raw_id, response, ..
        } = parse(
            json,
            "must be the JSON of an AuthenticationResponseJSON of WebAuthn, which \
             JSON.stringify(credential) makes",
        )?;
        let AssertionJson {
            client_data,
            authenticator_data,
            signature,
            user_handle,
        } = response;
        Ok(Self {
            credential_id: raw_id.0,
            client_data: client_data.0,
            authenticator_data: authenticator_data.0,
            signature: signature.0,
            user_handle: user_handle.map(|handle| handle.0),
        })
    }
}

impl fmt::Debug for AssertionResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = URL_SAFE_NO_PAD.decode(text);
        bytes
            .map(Self)
            .map_err(|_| D::Error::custom("not base64url"))
    }
}

fn parse<R: for<'de> Deserialize<'de>>(
    json: &str,
    requirement: &'static str,
) -> Result<ResponseJson<R>, Invalid> {
    if json.is_empty() {
        return Err(Invalid::because("must not be empty"));
    }
    if json.len() > MAX_BYTES {
        return Err(Invalid::because("must have at most 16 KiB"));
    }
    // The error of the parser may quote the text.
    let parsed: Option<ResponseJson<R>> = serde_json::from_str(json).ok();
    let parsed = parsed.filter(|parsed| parsed.r#type == "public-key");
    parsed.ok_or_else(|| Invalid::because(requirement))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{AssertionResponse, RegistrationResponse};

    fn registration() -> Value {
        json!({
            "id": "AQI", "rawId": "AQI", "type": "public-key", "clientExtensionResults": {},
            "response": {
                "clientDataJSON": "e30", "attestationObject": "oA",
                "transports": ["internal", "HYBRID", "x y", ""], "authenticatorData": "AA",
            },
        })
    }

    fn assertion() -> Value {
        json!({
            "id": "AQI", "rawId": "AQI", "type": "public-key", "clientExtensionResults": {},
            "response": {
                "clientDataJSON": "e30", "authenticatorData": "AA", "signature": "Aw",
                "userHandle": "BA",
            },
        })
    }

    #[test]
    fn the_members_of_a_response_are_read_and_unknown_ones_ignored() {
        let parsed = RegistrationResponse::parse(&registration().to_string()).unwrap();
        assert_eq!(parsed.credential_id, [1, 2]);
        assert_eq!(parsed.client_data, b"{}");
        assert_eq!(parsed.attestation_object, [0xa0]);
        assert_eq!(parsed.transports, ["internal"]);

        let parsed = AssertionResponse::parse(&assertion().to_string()).unwrap();
        assert_eq!(parsed.authenticator_data, [0]);
        assert_eq!(parsed.signature, [3]);
        assert_eq!(parsed.user_handle, Some(vec![4]));
        assert_eq!(format!("{parsed:?}"), "***");
        for absent in [json!(null), json!({})] {
            let mut json = assertion();
            match absent.is_null() {
                true => json["response"]["userHandle"] = absent,
                false => drop(
                    json["response"]
                        .as_object_mut()
                        .unwrap()
                        .remove("userHandle"),
                ),
            }
            let parsed = AssertionResponse::parse(&json.to_string()).unwrap();
            assert_eq!(parsed.user_handle, None);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let with = |mut json: Value, member: &str, value: Value| {
            json[member] = value;
            json.to_string()
        };
        for text in [
            String::new(),
            "{}".to_owned(),
            "[".repeat(1000),
            with(assertion(), "type", json!("password")),
            with(assertion(), "rawId", json!("A=")),
            with(assertion(), "rawId", json!("+/")),
            with(assertion(), "response", json!({})),
            with(assertion(), "padding", json!("x".repeat(16 * 1024))),
            registration().to_string(),
        ] {
            assert!(AssertionResponse::parse(&text).is_err(), "{text}");
        }
        assert!(RegistrationResponse::parse(&assertion().to_string()).is_err());
    }
}

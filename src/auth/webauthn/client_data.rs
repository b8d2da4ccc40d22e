use serde::Deserialize;

use super::{challenge::ChallengeHash, origin::PasskeyOrigin};
use crate::error::PasskeyFault;

/// A ceremony, as client data name it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ceremony {
    Registration,
    Authentication,
}

/// What the browser signed with (WebAuthn Level 3 section 5.8.1).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientData {
    r#type: String,
    challenge: String,
    origin: String,
    #[serde(default)]
    cross_origin: bool,
}

/// Checks client data; returns the hash of their challenge.
pub(super) fn check(
    json: &[u8],
    ceremony: Ceremony,
    origins: &[PasskeyOrigin],
) -> Result<ChallengeHash, PasskeyFault> {
    let data: ClientData = serde_json::from_slice(json).map_err(|_| PasskeyFault::Unsupported)?;
    let expected = match ceremony {
        Ceremony::Registration => "webauthn.create",
        Ceremony::Authentication => "webauthn.get",
    };
    if data.r#type != expected {
        return Err(PasskeyFault::Unsupported);
    }
    // A page of ours within a page of somebody else.
    if data.cross_origin || !origins.iter().any(|own| own.as_str() == data.origin) {
        return Err(PasskeyFault::Origin);
    }
    Ok(ChallengeHash::of(&data.challenge))
}

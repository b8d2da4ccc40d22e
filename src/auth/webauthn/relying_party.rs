use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ciborium::Value;
use ring::digest::{SHA256, digest};
use serde_json::json;

use super::{
    authenticator_data::AuthenticatorData,
    challenge::{Challenge, ChallengeHash},
    client_data::{self, Ceremony},
    cose_key,
    origin::{PasskeyOrigin, RelyingPartyId},
    responses::{AssertionResponse, RegistrationResponse},
};
use crate::{auth::verifying_key::EcdsaEncoding, error::PasskeyFault};

/// The name of this service, which authenticators may show.
const NAME: &str = "Sluice";

/// How long the browser waits for the user, in milliseconds: as long as a challenge lasts.
const TIMEOUT_MILLIS: u32 = 5 * 60 * 1000;

/// The service as passkeys know it.
#[derive(Debug, Clone)]
pub struct RelyingParty {
    id: RelyingPartyId,
    id_hash: [u8; 32],
    origins: Vec<PasskeyOrigin>,
}

/// A registration that begins.
#[derive(Debug)]
pub struct NewRegistration<'a> {
    /// The challenge.
    pub challenge: &'a Challenge,
    /// By which the passkey identifies its user: random bytes, the same for all passkeys of a user.
    pub user_handle: &'a [u8],
    /// The user's e-mail address, which authenticators show.
    pub email: &'a str,
    /// The user's name, which authenticators show.
    pub display_name: &'a str,
    /// The ids and transports of the user's credentials.
    pub existing: &'a [(Vec<u8>, Vec<String>)],
}

/// A credential to register.
#[derive(Debug)]
pub struct RegisteredCredential {
    /// The challenge that it answers.
    pub challenge: ChallengeHash,
    /// The id of the credential.
    pub credential_id: Vec<u8>,
    /// The public key, a COSE_Key.
    pub public_key: Vec<u8>,
    /// How the authenticator can be reached.
    pub transports: Vec<String>,
    /// The signature counter; zero if the authenticator has none.
    pub sign_count: u32,
    /// Whether the credential can be synchronised to other devices.
    pub backup_eligible: bool,
    /// Whether it is synchronised.
    pub backed_up: bool,
}

/// What verifies an assertion of a registered credential.
#[derive(Debug)]
pub struct StoredCredential {
    /// The public key, a COSE_Key.
    pub public_key: Vec<u8>,
    /// The user handle of its registration.
    pub user_handle: Vec<u8>,
    /// Whether the credential can be synchronised to other devices.
    pub backup_eligible: bool,
}

/// A verified assertion, whose challenge and signature counter the database has yet to accept.
#[derive(Debug)]
pub struct VerifiedAssertion {
    /// The challenge that it answers.
    pub challenge: ChallengeHash,
    /// The signature counter; zero if the authenticator has none.
    pub sign_count: u32,
    /// Whether the credential is synchronised to other devices.
    pub backed_up: bool,
}

impl RelyingParty {
    /// The relying party with this id, whose pages have these origins.
    pub fn new(id: RelyingPartyId, origins: Vec<PasskeyOrigin>) -> Self {
        Self {
            id_hash: sha256(id.as_str().as_bytes()),
            id,
            origins,
        }
    }

    /// The options of a registration: PublicKeyCredentialCreationOptionsJSON.
    pub fn creation_options(&self, new: &NewRegistration<'_>) -> String {
        let algorithms = cose_key::ALGORITHMS;
        let algorithms = algorithms.map(|alg| json!({"type": "public-key", "alg": alg}));
        let existing = new.existing.iter().map(|(id, transports)| {
            json!({
                "type": "public-key",
                "id": URL_SAFE_NO_PAD.encode(id),
                "transports": transports,
            })
        });
        json!({
            "rp": {"id": self.id.as_str(), "name": NAME},
            "user": {
                "id": URL_SAFE_NO_PAD.encode(new.user_handle),
                "name": new.email,
                "displayName": new.display_name,
            },
            "challenge": new.challenge.as_str(),
            "pubKeyCredParams": algorithms,
            "timeout": TIMEOUT_MILLIS,
            "excludeCredentials": existing.collect::<Vec<_>>(),
            "authenticatorSelection": {
                "residentKey": "required",
                "requireResidentKey": true,
                "userVerification": "required",
            },
            "attestation": "none",
        })
        .to_string()
    }

    /// The options of an authentication: PublicKeyCredentialRequestOptionsJSON.
    pub fn request_options(&self, challenge: &Challenge) -> String {
        json!({
            "challenge": challenge.as_str(),
            "timeout": TIMEOUT_MILLIS,
            "rpId": self.id.as_str(),
            "allowCredentials": [],
            "userVerification": "required",
        })
        .to_string()
    }

    /// Verifies a registration (section 7.1), except that its challenge was issued.
    pub fn verify_registration(
        &self,
        response: RegistrationResponse,
    ) -> Result<RegisteredCredential, PasskeyFault> {
        let RegistrationResponse {
            credential_id,
            client_data,
            attestation_object,
            transports,
        } = response;
        let challenge = client_data::check(&client_data, Ceremony::Registration, &self.origins)?;
        let bytes = authenticator_data(&attestation_object).ok_or(PasskeyFault::Unsupported)?;
        let data = self.check(&bytes)?;
        let credential = data.credential.as_ref();
        let credential = credential
            .filter(|new| new.id == credential_id && cose_key::parse(new.public_key).is_some());
        let public_key = credential.ok_or(PasskeyFault::Unsupported)?.public_key;
        Ok(RegisteredCredential {
            challenge,
            public_key: public_key.to_vec(),
            sign_count: data.sign_count,
            backup_eligible: data.is_backup_eligible(),
            backed_up: data.is_backed_up(),
            credential_id,
            transports,
        })
    }

    /// Verifies an assertion (section 7.2), except that its challenge was issued and that its
    /// signature counter has grown.
    pub fn verify_assertion(
        &self,
        response: &AssertionResponse,
        credential: &StoredCredential,
    ) -> Result<VerifiedAssertion, PasskeyFault> {
        let AssertionResponse {
            client_data,
            authenticator_data,
            signature,
            user_handle,
            ..
        } = response;
        let origins = &self.origins;
        let challenge = client_data::check(client_data, Ceremony::Authentication, origins)?;
        let data = self.check(authenticator_data)?;
        let handle = user_handle.as_ref();
        if handle.is_some_and(|handle| *handle != credential.user_handle) {
            return Err(PasskeyFault::UnknownPasskey);
        }
        let key = cose_key::parse(&credential.public_key).ok_or(PasskeyFault::Unsupported)?;
        let message = [&authenticator_data[..], &sha256(client_data)].concat();
        if !key.has_signed(&message, signature, EcdsaEncoding::Asn1) {
            return Err(PasskeyFault::Signature);
        }
        match data.is_backup_eligible() == credential.backup_eligible {
            true => Ok(VerifiedAssertion {
                challenge,
                sign_count: data.sign_count,
                backed_up: data.is_backed_up(),
            }),
            false => Err(PasskeyFault::Unsupported),
        }
    }

    /// Parses authenticator data of this relying party and a verified user.
    fn check<'a>(&self, bytes: &'a [u8]) -> Result<AuthenticatorData<'a>, PasskeyFault> {
        let data = AuthenticatorData::parse(bytes).ok_or(PasskeyFault::Unsupported)?;
        if data.rp_id_hash != self.id_hash {
            return Err(PasskeyFault::RelyingParty);
        }
        match data.has_verified_user() {
            true => Ok(data),
            false => Err(PasskeyFault::UserVerification),
        }
    }
}

/// The authenticator data of an attestation object (section 6.5).
fn authenticator_data(attestation_object: &[u8]) -> Option<Vec<u8>> {
    let object = ciborium::from_reader(attestation_object).ok()?;
    let Value::Map(members) = object else {
        return None;
    };
    let mut members = members.into_iter();
    let (_, data) = members.find(|(key, _)| key.as_text() == Some("authData"))?;
    data.into_bytes().ok()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

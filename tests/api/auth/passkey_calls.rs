//! A passkey in software, and calls about passkeys that many tests make.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ciborium::Value as Cbor;
use ring::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair},
};
use serde_json::{Value, json};
use sluice::proto::v1 as pb;
use tonic::{Code, Response, Status, transport::Channel};

use crate::harness::{Client, Refusal, User, refused};

/// The relying party of test servers, and the origin of its pages.
pub const RP_ID: &str = "example.com";
pub const ORIGIN: &str = "https://app.example.com";

/// The class of a refused response of a passkey.
pub const INVALID: (Code, &str) = (Code::Unauthenticated, "PASSKEY_INVALID");

/// The flags of authenticator data.
pub const USER_PRESENT: u8 = 1;
pub const USER_VERIFIED: u8 = 1 << 2;
pub const BACKUP_ELIGIBLE: u8 = 1 << 3;
pub const BACKED_UP: u8 = 1 << 4;
const HAS_CREDENTIAL: u8 = 1 << 6;

/// A passkey in software (ES256), with everything that a dishonest one may change.
pub struct SoftPasskey {
    key: EcdsaKeyPair,
    pub credential_id: Vec<u8>,
    pub user_handle: Vec<u8>,
    /// Grows with each assertion, unless it is zero.
    pub sign_count: u32,
    pub flags: u8,
    pub rp_id: &'static str,
    pub origin: &'static str,
    pub cross_origin: bool,
    /// The algorithm in its public key.
    pub algorithm: i64,
    /// The id of the registered passkey.
    pub id: String,
}

impl SoftPasskey {
    /// A new passkey with a key of its own.
    pub fn new() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
        Self {
            credential_id: sha256(key.public_key().as_ref()),
            key,
            user_handle: Vec::new(),
            sign_count: 1,
            flags: USER_PRESENT | USER_VERIFIED,
            rp_id: RP_ID,
            origin: ORIGIN,
            cross_origin: false,
            algorithm: -7,
            id: String::new(),
        }
    }

    /// What it returns for the options of a registration.
    pub fn register(&mut self, creation_options: &str) -> Value {
        let options: Value = serde_json::from_str(creation_options).unwrap();
        self.user_handle = octets(&options["user"]["id"]);
        let client_data = self.client_data("webauthn.create", &options["challenge"]);
        let data = self.authenticator_data(HAS_CREDENTIAL);
        let id_length = u16::try_from(self.credential_id.len()).unwrap();
        let data = [
            &data[..],
            &[0; 16],
            &id_length.to_be_bytes(),
            &self.credential_id,
            &self.cose_key(),
        ]
        .concat();
        let attestation = cbor_map([
            (Cbor::from("fmt"), Cbor::from("none")),
            (Cbor::from("attStmt"), Cbor::Map(Vec::new())),
            (Cbor::from("authData"), Cbor::from(data)),
        ]);
        json!({
            "id": base64(&self.credential_id),
            "rawId": base64(&self.credential_id),
            "type": "public-key",
            "clientExtensionResults": {},
            "response": {
                "clientDataJSON": base64(client_data.as_bytes()),
                "attestationObject": base64(&attestation),
                "transports": ["internal", "hybrid"],
            },
        })
    }

    /// What it returns for the options of an authentication.
    pub fn assert(&mut self, request_options: &str) -> String {
        if self.sign_count > 0 {
            self.sign_count += 1;
        }
        let options: Value = serde_json::from_str(request_options).unwrap();
        let client_data = self.client_data("webauthn.get", &options["challenge"]);
        let data = self.authenticator_data(0);
        let message = [&data[..], &sha256(client_data.as_bytes())].concat();
        let signature = self.key.sign(&SystemRandom::new(), &message).unwrap();
        json!({
            "id": base64(&self.credential_id),
            "rawId": base64(&self.credential_id),
            "type": "public-key",
            "clientExtensionResults": {},
            "response": {
                "clientDataJSON": base64(client_data.as_bytes()),
                "authenticatorData": base64(&data),
                "signature": base64(signature.as_ref()),
                "userHandle": base64(&self.user_handle),
            },
        })
        .to_string()
    }

    fn client_data(&self, kind: &str, challenge: &Value) -> String {
        let members = [
            ("type", json!(kind)),
            ("challenge", challenge.clone()),
            ("origin", json!(self.origin)),
            ("crossOrigin", json!(self.cross_origin)),
        ];
        json!(BTreeMap::from(members)).to_string()
    }

    fn authenticator_data(&self, more_flags: u8) -> Vec<u8> {
        let rp_id_hash = sha256(self.rp_id.as_bytes());
        let flags = [self.flags | more_flags];
        [&rp_id_hash[..], &flags, &self.sign_count.to_be_bytes()].concat()
    }

    fn cose_key(&self) -> Vec<u8> {
        let point = self.key.public_key().as_ref();
        cbor_map([
            (Cbor::from(1), Cbor::from(2)),
            (Cbor::from(3), Cbor::from(self.algorithm)),
            (Cbor::from(-1), Cbor::from(1)),
            (Cbor::from(-2), Cbor::from(point[1..33].to_vec())),
            (Cbor::from(-3), Cbor::from(point[33..].to_vec())),
        ])
    }
}

fn cbor_map<const N: usize>(members: [(Cbor, Cbor); N]) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(&Cbor::Map(members.into()), &mut bytes).unwrap();
    bytes
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}

fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes of a member in base64url.
pub fn octets(member: &Value) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(member.as_str().unwrap()).unwrap()
}

/// BeginPasskeyRegistration of a user without a second factor.
pub async fn begin_registration(
    user: &User,
) -> Result<Response<pb::BeginPasskeyRegistrationResponse>, Status> {
    let request = pb::BeginPasskeyRegistrationRequest {
        password: user.password.to_owned(),
        ..Default::default()
    };
    begin_registration_with(user, request).await
}

/// BeginPasskeyRegistration.
pub async fn begin_registration_with(
    user: &User,
    request: pb::BeginPasskeyRegistrationRequest,
) -> Result<Response<pb::BeginPasskeyRegistrationResponse>, Status> {
    let mut auth = user.client.auth.clone();
    auth.begin_passkey_registration(request).await
}

/// The options of a registration of a user without a second factor.
pub async fn creation_options(user: &User) -> String {
    let begun = begin_registration(user).await.unwrap();
    begun.into_inner().creation_options
}

/// The options of a registration of a user who has a recovery code.
pub async fn creation_options_with_code(user: &User, code: &str) -> String {
    let request = pb::BeginPasskeyRegistrationRequest {
        password: user.password.to_owned(),
        second_factor_code: code.to_owned(),
        ..Default::default()
    };
    let begun = begin_registration_with(user, request).await.unwrap();
    begun.into_inner().creation_options
}

/// FinishPasskeyRegistration.
pub async fn finish_registration(
    client: &Client,
    credential: &Value,
) -> Result<Response<pb::FinishPasskeyRegistrationResponse>, Status> {
    let request = pb::FinishPasskeyRegistrationRequest {
        display_name: "Laptop".to_owned(),
        credential: credential.to_string(),
    };
    client
        .auth
        .clone()
        .finish_passkey_registration(request)
        .await
}

/// Registers a passkey for these options; returns the recovery codes.
pub async fn finish(user: &User, passkey: &mut SoftPasskey, options: &str) -> Vec<String> {
    let credential = passkey.register(options);
    let finished = finish_registration(&user.client, &credential).await;
    let finished = finished.unwrap().into_inner();
    passkey.id = finished.passkey.unwrap().id;
    finished.recovery_codes
}

/// A registered passkey, the first second factor of a user, and the recovery codes.
pub async fn register(user: &User) -> (SoftPasskey, Vec<String>) {
    let mut passkey = SoftPasskey::new();
    let options = creation_options(user).await;
    let codes = finish(user, &mut passkey, &options).await;
    assert_eq!(codes.len(), 10);
    (passkey, codes)
}

/// A registered passkey of a user who has a recovery code.
pub async fn register_another(user: &User, code: &str) -> SoftPasskey {
    let mut passkey = SoftPasskey::new();
    let options = creation_options_with_code(user, code).await;
    let codes = finish(user, &mut passkey, &options).await;
    assert_eq!(codes, Vec::<String>::new());
    passkey
}

/// The options of an authentication.
pub async fn request_options(channel: &Channel) -> String {
    let request = pb::BeginPasskeyAuthenticationRequest {};
    let mut auth = Client::anonymous(channel).auth;
    let begun = auth.begin_passkey_authentication(request).await.unwrap();
    begun.into_inner().request_options
}

/// A fresh assertion of a passkey.
pub async fn assertion(channel: &Channel, passkey: &mut SoftPasskey) -> String {
    passkey.assert(&request_options(channel).await)
}

/// SignInWithPasskey with an assertion.
pub async fn sign_in_with(
    channel: &Channel,
    assertion: &str,
) -> Result<Response<pb::SignInWithPasskeyResponse>, Status> {
    let request = pb::SignInWithPasskeyRequest {
        passkey_assertion: assertion.to_owned(),
    };
    let mut auth = Client::anonymous(channel).auth;
    auth.sign_in_with_passkey(request).await
}

/// SignInWithPasskey with a fresh assertion.
pub async fn sign_in(
    channel: &Channel,
    passkey: &mut SoftPasskey,
) -> Result<Response<pb::SignInWithPasskeyResponse>, Status> {
    let assertion = assertion(channel, passkey).await;
    sign_in_with(channel, &assertion).await
}

/// SignIn with the password and an assertion.
pub async fn sign_in_with_password(
    channel: &Channel,
    user: &User,
    assertion: &str,
) -> Result<Response<pb::SignInResponse>, Status> {
    let request = pb::SignInRequest {
        email: user.email.clone(),
        password: user.password.to_owned(),
        passkey_assertion: assertion.to_owned(),
        ..Default::default()
    };
    Client::anonymous(channel).auth.sign_in(request).await
}

/// DeletePasskey.
pub async fn delete(
    client: &Client,
    id: &str,
    code: &str,
    assertion: &str,
) -> Result<Response<pb::DeletePasskeyResponse>, Status> {
    let request = pb::DeletePasskeyRequest {
        passkey_id: id.to_owned(),
        second_factor_code: code.to_owned(),
        passkey_assertion: assertion.to_owned(),
    };
    client.auth.clone().delete_passkey(request).await
}

/// UpdatePasskey.
pub async fn rename(
    client: &Client,
    id: &str,
    display_name: &str,
) -> Result<Response<pb::UpdatePasskeyResponse>, Status> {
    let request = pb::UpdatePasskeyRequest {
        passkey_id: id.to_owned(),
        display_name: display_name.to_owned(),
    };
    client.auth.clone().update_passkey(request).await
}

/// The passkeys of a user.
pub async fn list(client: &Client) -> Vec<pb::Passkey> {
    let request = pb::ListPasskeysRequest::default();
    let listed = client.auth.clone().list_passkeys(request).await;
    listed.unwrap().into_inner().passkeys
}

/// The fault of a refused response of a passkey.
pub fn fault<T: std::fmt::Debug>(response: Result<Response<T>, Status>) -> String {
    let refusal: Refusal = refused(response);
    assert_eq!(refusal.class(), INVALID, "{refusal:?}");
    let info = refusal.details.error_info().unwrap();
    info.metadata["fault"].clone()
}

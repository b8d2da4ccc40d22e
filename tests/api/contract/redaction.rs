//! `Debug` output redacts the fields that the contract marks as secret.

use std::collections::{BTreeMap, BTreeSet};

use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint},
};
use prost_types::{DescriptorProto, FieldDescriptorProto, field_descriptor_proto::Type};
use sluice::proto::v1 as pb;

use super::descriptors::{messages, secret_fields};

const SECRET: &str = "this-is-marked-secret";
const PLAIN: &str = "this-may-be-seen";

/// The `Debug` output of an encoded message.
fn printed<M: Message + Default + std::fmt::Debug>(bytes: &[u8]) -> [String; 2] {
    let message = M::decode(bytes).unwrap();
    [format!("{message:?}"), format!("{message:#?}")]
}

macro_rules! printers {
    ($($name:ident)*) => {
        [$((concat!(".sluice.v1.", stringify!($name)), printed::<pb::$name> as fn(&[u8]) -> [String; 2])),*]
    };
}

/// The messages of the contract, and their secret fields.
struct Contract {
    messages: BTreeMap<String, DescriptorProto>,
    secrets: BTreeSet<String>,
}

impl Contract {
    fn is_secret(&self, message: &str, field: &FieldDescriptorProto) -> bool {
        self.secrets
            .contains(&format!("{message}.{}", field.name()))
    }

    /// The messages that contain a secret field, at any depth.
    fn with_secrets(&self) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        loop {
            let before = found.len();
            for (name, message) in &self.messages {
                let holds = |field: &FieldDescriptorProto| {
                    self.is_secret(name, field) || found.contains(field.type_name())
                };
                if message.field.iter().any(holds) {
                    found.insert(name.as_str());
                }
            }
            if found.len() == before {
                return found;
            }
        }
    }

    /// An encoded message in which all string and message fields are set.
    fn filled(&self, name: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        for field in &self.messages[name].field {
            let is_secret = self.is_secret(name, field);
            let content = match field.r#type() {
                Type::String if is_secret => SECRET.as_bytes().to_vec(),
                Type::String => PLAIN.as_bytes().to_vec(),
                Type::Message if self.messages.contains_key(field.type_name()) => {
                    self.filled(field.type_name())
                }
                other => {
                    assert!(!is_secret, "{name}: {other:?} cannot be filled in yet");
                    continue;
                }
            };
            let number = u32::try_from(field.number()).unwrap();
            encode_key(number, WireType::LengthDelimited, &mut bytes);
            encode_varint(content.len() as u64, &mut bytes);
            bytes.extend(content);
        }
        bytes
    }
}

#[test]
fn debug_output_redacts_every_field_that_the_contract_marks_as_secret() {
    let printers = printers! {
        BeginPublishRequest ChangePasswordRequest ChangePasswordResponse ConfirmSecondFactorRequest
        ConfirmSecondFactorResponse CreateApiKeyResponse CreateSecondFactorRequest
        CreateSecondFactorResponse DeleteSecondFactorRequest ReauthenticateRequest ReauthenticateResponse RegenerateRecoveryCodesRequest
        RegenerateRecoveryCodesResponse
        CreateDestinationRequest CreateOperatorKeyResponse CreateProjectResponse CreateWebhookResponse DeleteMeRequest ExchangeApiKeyRequest
        ExchangeApiKeyResponse RefreshTokensRequest RefreshTokensResponse ResetPasswordRequest
        ClaimRelaysResponse NodeConnection RelayAssignment RevealStreamKeyResponse
        RotateStreamKeyResponse RotateWebhookSecretResponse SignInRequest SignInResponse
        SignInWithIdTokenRequest SignInWithIdTokenResponse SignUpRequest SignUpResponse Tokens
        SyncNodeRequest UpdateDestinationRequest VerifyEmailRequest
        AcceptInvitationRequest CancelEmailChangeRequest ConfirmEmailChangeRequest
    };
    let contract = Contract {
        messages: messages(),
        secrets: secret_fields(),
    };
    let known: BTreeSet<_> = printers.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        known,
        contract.with_secrets(),
        "every message with a secret field is tested"
    );

    for (name, print) in printers {
        let bytes = contract.filled(name);
        let holds = |text: &str| bytes.windows(text.len()).any(|at| at == text.as_bytes());
        assert!(holds(SECRET), "{name}");
        for text in print(&bytes) {
            assert!(!text.contains(SECRET), "{text}");
            assert!(text.contains("\"***\""), "{text}");
            assert_eq!(text.contains(PLAIN), holds(PLAIN), "{text}");
        }
    }
}

/// A field that is not marked is printed, so a forgotten mark would be a leak. What a name says
/// is secret is marked, except for what only looks so.
#[test]
fn every_field_whose_name_is_that_of_a_secret_is_marked() {
    const HARMLESS: [&str; 5] = [
        "token_type",
        "page_token",
        "next_page_token",
        "stream_key_hint",
        "has_srt_passphrase",
    ];
    let secrets = secret_fields();
    for (name, message) in messages() {
        for field in &message.field {
            let words = [
                "password",
                "secret",
                "token",
                "stream_key",
                "passphrase",
                "nonce",
                "second_factor_code",
                "recovery_codes",
                "otpauth",
            ];
            let is_text = field.r#type() == Type::String;
            let sounds_secret = words.iter().any(|word| field.name().contains(word))
                || ["play_url", "input_url", "output_url"].contains(&field.name());
            if is_text && sounds_secret && !HARMLESS.contains(&field.name()) {
                let path = format!("{name}.{}", field.name());
                assert!(secrets.contains(&path), "{path} is not marked as secret");
            }
        }
    }
}

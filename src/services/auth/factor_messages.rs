//! Conversions between the messages of second factors and the domain.

use crate::{
    auth::AssertionResponse,
    domain::{
        Id, Invalid, Name, Passkey, Password, SecondFactor, SecondFactorCode, SecondFactorId,
    },
    error::Error,
    proto::v1 as pb,
    services::fields::{Fields, timestamp},
};

/// What a user shows as a second factor.
#[derive(Debug)]
pub(super) enum FactorResponse {
    /// A code of an authenticator, or a recovery code.
    Code(SecondFactorCode),
    /// An assertion of a passkey.
    Passkey(AssertionResponse),
}

/// Reads the fields `second_factor_code` and `passkey_assertion`, of which one may be set.
pub(super) fn read_optional_factor(
    fields: &mut Fields,
    code: &str,
    assertion: &str,
) -> Option<Option<FactorResponse>> {
    match (code, assertion) {
        ("", "") => Some(None),
        (code, "") => {
            let code = fields.read("second_factor_code", SecondFactorCode::parse(code));
            Some(Some(FactorResponse::Code(code?)))
        }
        ("", assertion) => {
            let assertion = fields.read("passkey_assertion", AssertionResponse::parse(assertion));
            Some(Some(FactorResponse::Passkey(assertion?)))
        }
        _ => {
            let both = Invalid::because("must be empty if `second_factor_code` is set");
            fields.read("passkey_assertion", Err(both))
        }
    }
}

/// Reads the fields `second_factor_code` and `passkey_assertion`, of which one must be set.
pub(super) fn read_factor(
    fields: &mut Fields,
    code: &str,
    assertion: &str,
) -> Option<FactorResponse> {
    let none = || Invalid::because("must not be empty, unless `passkey_assertion` is set");
    match read_optional_factor(fields, code, assertion)? {
        Some(factor) => Some(factor),
        None => fields.read("second_factor_code", Err(none())),
    }
}

/// Reads a second factor to delete, the id of which is in `field`, and what proves another one.
pub(super) fn read_deletion<K>(
    field: &str,
    id: &str,
    code: &str,
    assertion: &str,
) -> Result<(Id<K>, FactorResponse), Error> {
    Fields::read_all(|fields| {
        let id = fields.read(field, Id::parse(id));
        let factor = read_factor(fields, code, assertion);
        id.zip(factor)
    })
}

/// What proves again who the user of a session is.
#[derive(Debug)]
pub(super) struct UserProof {
    pub password: Option<Password>,
    pub factor: Option<FactorResponse>,
}

impl UserProof {
    pub fn read(fields: &mut Fields, password: &str, code: &str, assertion: &str) -> Option<Self> {
        let password = (!password.is_empty()).then(|| Password::parse(password));
        let password = fields.read_optional("password", password);
        let factor = read_optional_factor(fields, code, assertion);
        Some(Self {
            password: password?,
            factor: factor?,
        })
    }
}

/// An authenticator to create.
#[derive(Debug)]
pub(super) struct NewAuthenticator {
    pub display_name: Name,
    pub proof: UserProof,
}

impl NewAuthenticator {
    pub fn read(message: pb::CreateSecondFactorRequest) -> Result<Self, Error> {
        let pb::CreateSecondFactorRequest {
            display_name,
            password,
            second_factor_code: code,
            passkey_assertion: assertion,
        } = message;
        Fields::read_all(|fields| {
            let display_name = fields.read("display_name", Name::parse(&display_name));
            let proof = UserProof::read(fields, &password, &code, &assertion);
            Some(Self {
                display_name: display_name?,
                proof: proof?,
            })
        })
    }
}

/// An authenticator that a code confirms.
#[derive(Debug)]
pub(super) struct Confirmation {
    pub id: SecondFactorId,
    pub code: SecondFactorCode,
}

impl Confirmation {
    pub fn read(message: pb::ConfirmSecondFactorRequest) -> Result<Self, Error> {
        let pb::ConfirmSecondFactorRequest {
            second_factor_id: id,
            second_factor_code: code,
        } = message;
        Fields::read_all(|fields| {
            let id = fields.read("second_factor_id", SecondFactorId::parse(&id));
            let code = fields.read("second_factor_code", SecondFactorCode::parse(&code));
            Some(Self {
                id: id?,
                code: code?,
            })
        })
    }
}

/// Reads what proves again who the user of a session is, of which there must be something.
pub(super) fn read_session_proof(message: pb::ReauthenticateRequest) -> Result<UserProof, Error> {
    let pb::ReauthenticateRequest {
        password,
        second_factor_code: code,
        passkey_assertion: assertion,
    } = message;
    if password.is_empty() && code.is_empty() && assertion.is_empty() {
        return Err(Error::invalid(
            "password",
            "must not be empty, unless `second_factor_code` or `passkey_assertion` is set",
        ));
    }
    Fields::read_all(|fields| UserProof::read(fields, &password, &code, &assertion))
}

impl From<SecondFactor> for pb::SecondFactor {
    fn from(factor: SecondFactor) -> Self {
        let SecondFactor {
            id,
            display_name,
            create_time,
            last_used_time,
        } = factor;
        Self {
            id: id.to_string(),
            display_name,
            create_time: Some(timestamp(create_time)),
            last_used_time: last_used_time.map(timestamp),
        }
    }
}

impl From<Passkey> for pb::Passkey {
    fn from(passkey: Passkey) -> Self {
        let Passkey {
            id,
            display_name,
            backed_up,
            create_time,
            last_used_time,
        } = passkey;
        Self {
            id: id.to_string(),
            display_name,
            backed_up,
            create_time: Some(timestamp(create_time)),
            last_used_time: last_used_time.map(timestamp),
        }
    }
}

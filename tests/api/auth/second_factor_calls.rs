//! An authenticator, and calls about second factors that many tests make.

use ring::hmac;
use sluice::proto::v1 as pb;
use tonic::{Code, Response, Status, transport::Channel};

use crate::harness::{Client, TestDatabase, User};

/// The error of a sign-in without a code.
pub const REQUIRED: (Code, &str) = (Code::FailedPrecondition, "SECOND_FACTOR_REQUIRED");

/// The error of a code that does not work.
pub const INVALID: (Code, &str) = (Code::Unauthenticated, "SECOND_FACTOR_INVALID");

/// A code that no authenticator shows: a recovery code that does not exist.
pub const UNKNOWN_CODE: &str = "AAAA-AAAA-AAAA-AAAA-AAAA-AAAA";

/// An authenticator app of a user.
pub struct Authenticator {
    pub id: String,
    secret: Vec<u8>,
    /// The newest time step of which a code was taken.
    last_step: u64,
}

impl Authenticator {
    /// The authenticator of an enrolment.
    pub fn new(created: &pb::CreateSecondFactorResponse) -> Self {
        Self {
            id: created.second_factor.clone().unwrap().id,
            secret: base32(&created.secret),
            last_step: 0,
        }
    }

    /// The secret that it shares with the server.
    pub fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// A code that was not taken before, and that the server accepts now: at most the second one of
    /// this minute.
    pub fn next_code(&mut self) -> String {
        let current = sluice::domain::now().timestamp().unsigned_abs() / 30;
        let step = current.max(self.last_step + 1);
        assert!(step <= current + 1, "the next code is not accepted yet");
        self.last_step = step;
        self.code(step)
    }

    /// A code that is older than all accepted ones.
    pub fn old_code(&self) -> String {
        self.code(sluice::domain::now().timestamp().unsigned_abs() / 30 - 3)
    }

    fn code(&self, step: u64) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.secret);
        let tag = hmac::sign(&key, &step.to_be_bytes());
        let digest = tag.as_ref();
        let offset = usize::from(digest[19] & 15);
        let number = u32::from_be_bytes(digest[offset..offset + 4].try_into().unwrap());
        format!("{:06}", (number & 0x7fff_ffff) % 1_000_000)
    }
}

fn base32(text: &str) -> Vec<u8> {
    let (mut bits, mut buffer, mut bytes) = (0, 0_u32, Vec::new());
    for letter in text.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            _ => letter - b'2' + 26,
        };
        buffer = buffer << 5 | u32::from(value);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((buffer >> bits) as u8);
        }
    }
    bytes
}

/// CreateSecondFactor.
pub async fn create(
    user: &User,
    password: &str,
    code: &str,
) -> Result<Response<pb::CreateSecondFactorResponse>, Status> {
    let request = pb::CreateSecondFactorRequest {
        display_name: "Phone".to_owned(),
        password: password.to_owned(),
        second_factor_code: code.to_owned(),
        ..Default::default()
    };
    user.client.auth.clone().create_second_factor(request).await
}

/// ConfirmSecondFactor.
pub async fn confirm(
    client: &Client,
    id: &str,
    code: &str,
) -> Result<Response<pb::ConfirmSecondFactorResponse>, Status> {
    let request = pb::ConfirmSecondFactorRequest {
        second_factor_id: id.to_owned(),
        second_factor_code: code.to_owned(),
    };
    client.auth.clone().confirm_second_factor(request).await
}

/// DeleteSecondFactor.
pub async fn delete(
    client: &Client,
    id: &str,
    code: &str,
) -> Result<Response<pb::DeleteSecondFactorResponse>, Status> {
    let request = pb::DeleteSecondFactorRequest {
        second_factor_id: id.to_owned(),
        second_factor_code: code.to_owned(),
        ..Default::default()
    };
    client.auth.clone().delete_second_factor(request).await
}

/// A confirmed first authenticator, and the recovery codes.
pub async fn enrol(user: &User) -> (Authenticator, Vec<String>) {
    let (authenticator, codes) = enrol_another(user, "").await;
    assert_eq!(codes.len(), 10);
    (authenticator, codes)
}

/// A confirmed authenticator of a user who may have others, of which `code` is.
pub async fn enrol_another(user: &User, code: &str) -> (Authenticator, Vec<String>) {
    let created = create(user, user.password, code).await.unwrap();
    let mut authenticator = Authenticator::new(&created.into_inner());
    let code = authenticator.next_code();
    let confirmed = confirm(&user.client, &authenticator.id, &code).await;
    (
        authenticator,
        confirmed.unwrap().into_inner().recovery_codes,
    )
}

/// ListSecondFactors that succeeds.
pub async fn list(client: &Client) -> pb::ListSecondFactorsResponse {
    let request = pb::ListSecondFactorsRequest::default();
    let listed = client.auth.clone().list_second_factors(request).await;
    listed.unwrap().into_inner()
}

/// SignIn of a user with a code.
pub async fn sign_in(
    channel: &Channel,
    user: &User,
    code: &str,
) -> Result<Response<pb::SignInResponse>, Status> {
    sign_in_with(channel, &user.email, user.password, code).await
}

/// SignIn with a code.
pub async fn sign_in_with(
    channel: &Channel,
    email: &str,
    password: &str,
    code: &str,
) -> Result<Response<pb::SignInResponse>, Status> {
    let request = pb::SignInRequest {
        email: email.to_owned(),
        password: password.to_owned(),
        second_factor_code: code.to_owned(),
        ..Default::default()
    };
    Client::anonymous(channel).auth.sign_in(request).await
}

/// Ends the waits after wrong passwords and codes.
pub async fn end_waits(database: &TestDatabase) {
    database
        .execute("update guesses set locked_until = update_time")
        .await;
}

//! Calls about mail that many tests make.

use sluice::proto::v1 as pb;
use tonic::{Code, Response, Status, transport::Channel};

use super::calls::{backdate, get_me};
use crate::harness::{Client, TestServer, User};

/// The error of a token that does not work.
pub const INVALID: (Code, &str) = (Code::Unauthenticated, "MAIL_TOKEN_INVALID");

/// A password other than that of new users.
pub const NEW_PASSWORD: &str = "tin sparrow over a quiet lake";

/// A word in the subject of verification messages.
pub const VERIFY: &str = "Verify";

/// A word in the subject of reset messages.
pub const RESET: &str = "Reset";

/// RequestEmailVerification that succeeds.
pub async fn request_verification(user: &User) {
    let request = pb::RequestEmailVerificationRequest {};
    let mut auth = user.client.auth.clone();
    auth.request_email_verification(request).await.unwrap();
}

/// VerifyEmail, by a user who is signed in.
pub async fn verify(
    client: &Client,
    token: &str,
) -> Result<Response<pb::VerifyEmailResponse>, Status> {
    let token = token.to_owned();
    let request = pb::VerifyEmailRequest { token };
    client.auth.clone().verify_email(request).await
}

/// RequestPasswordReset.
pub async fn request_reset(
    channel: &Channel,
    email: &str,
) -> Result<Response<pb::RequestPasswordResetResponse>, Status> {
    let email = email.to_owned();
    let request = pb::RequestPasswordResetRequest { email };
    let mut auth = Client::anonymous(channel).auth;
    auth.request_password_reset(request).await
}

/// ResetPassword.
pub async fn reset(
    channel: &Channel,
    token: &str,
    new_password: &str,
) -> Result<Response<pb::ResetPasswordResponse>, Status> {
    let request = pb::ResetPasswordRequest {
        token: token.to_owned(),
        new_password: new_password.to_owned(),
    };
    let mut auth = Client::anonymous(channel).auth;
    auth.reset_password(request).await
}

/// The token of the verification message of a new user.
pub async fn verification_token(server: &TestServer, user: &User) -> String {
    server.database.mail(&user.email, VERIFY, 1).await.token()
}

/// A user with a verified address.
pub async fn verified_user(server: &TestServer) -> User {
    let user = server.user().await;
    let token = verification_token(server, &user).await;
    verify(&user.client, &token).await.unwrap();
    user
}

/// Requests the first reset of a user; returns its token.
pub async fn reset_token(server: &TestServer, user: &User) -> String {
    request_reset(&server.channel, &user.email).await.unwrap();
    server.database.mail(&user.email, RESET, 1).await.token()
}

/// Whether a user's address is verified.
pub async fn is_verified(user: &User) -> bool {
    let answer = get_me(&user.client).await.unwrap();
    answer.into_inner().user.unwrap().email_verified
}

/// Backdates the last messages, so that others may follow.
pub async fn let_a_minute_pass(server: &TestServer) {
    backdate(&server.database, "mail_tokens", "create_time", "61 seconds").await;
}

/// Actions and results in the audit log of a user, oldest first.
pub async fn audit_entries(client: &Client) -> Vec<(String, String)> {
    let request = pb::ListAuditEventsRequest::default();
    let mut auth = client.auth.clone();
    let events = auth.list_audit_events(request).await.unwrap().into_inner();
    let events = events.audit_events.into_iter().rev();
    events.map(|event| (event.action, event.result)).collect()
}

//! The RPCs of accounts.

use sluice::proto::v1 as pb;
use uuid::Uuid;

use super::recorder::{
    Outcome::{Fails, Succeeds},
    Recorder,
};
use crate::{
    auth::{passkey_calls::SoftPasskey, second_factor_calls::Authenticator},
    harness::{Mail, TestDatabase},
};

impl Recorder {
    /// Calls the RPCs that need no token; returns an access token and the password.
    pub async fn public_rpcs(&mut self) -> (String, String) {
        let password = self.new_secret("password");
        let sign_up = pb::SignUpRequest {
            email: "ada@example.com".to_owned(),
            password: password.clone(),
            display_name: "Ada".to_owned(),
            request_id: Uuid::now_v7().to_string(),
        };
        let rpc = "AuthService/SignUp";
        let answer: pb::SignUpResponse = self.call(Succeeds, rpc, "", sign_up.clone()).await;
        let (access_token, refresh_token) = self.tokens(answer.tokens);
        let wrong = pb::SignUpRequest {
            email: "no address".to_owned(),
            password: self.new_secret("password of a refused sign-up"),
            request_id: self.new_secret("request id"),
            ..sign_up
        };
        self.call::<()>(Fails, rpc, "", wrong).await;
        let wrong = pb::SignInRequest {
            email: "ada@example.com".to_owned(),
            password: self.new_secret("wrong password"),
            ..Default::default()
        };
        self.call::<()>(Fails, "AuthService/SignIn", "", wrong)
            .await;
        self.sign_in(&password).await;

        let rpc = "AuthService/RefreshTokens";
        let answer: pb::RefreshTokensResponse = self
            .call(
                Succeeds,
                rpc,
                "",
                pb::RefreshTokensRequest { refresh_token },
            )
            .await;
        self.tokens(answer.tokens);
        let refresh_token = self.new_secret("unknown refresh token");
        self.call::<()>(Fails, rpc, "", pb::RefreshTokensRequest { refresh_token })
            .await;

        let request = pb::SignInWithIdTokenRequest {
            provider: "google".to_owned(),
            id_token: self.new_secret("id token"),
            nonce: self.new_secret("nonce"),
            ..Default::default()
        };
        let rpc = "AuthService/SignInWithIdToken";
        self.call::<()>(Fails, rpc, "", request).await;
        let token = self.new_secret("token to verify");
        let rpc = "AuthService/VerifyEmail";
        self.call::<()>(Fails, rpc, &access_token, pb::VerifyEmailRequest { token })
            .await;
        let request = pb::ResetPasswordRequest {
            token: self.new_secret("token to reset"),
            new_password: self.new_secret("password of a reset"),
        };
        self.call::<()>(Fails, "AuthService/ResetPassword", "", request)
            .await;
        let email = "ada@example.com".to_owned();
        let rpc = "AuthService/RequestPasswordReset";
        self.call::<()>(Succeeds, rpc, "", pb::RequestPasswordResetRequest { email })
            .await;
        self.call::<()>(Succeeds, "AuthService/GetJwks", "", pb::GetJwksRequest {})
            .await;
        (access_token, password)
    }

    /// Calls VerifyEmail with the token of a received message.
    pub async fn verify(&mut self, access_token: &str, message: &Mail) {
        let token = self.secret("token of a message", &message.token());
        let rpc = "AuthService/VerifyEmail";
        self.call::<()>(
            Succeeds,
            rpc,
            access_token,
            pb::VerifyEmailRequest { token },
        )
        .await;
    }

    /// Calls the RPCs of an account, except those that delete; returns the new password.
    pub async fn account_rpcs(&mut self, token: &str, password: String) -> String {
        let forged = self.new_secret("forged access token");
        self.call::<()>(Fails, "AuthService/GetMe", &forged, pb::GetMeRequest {})
            .await;
        self.call::<()>(Succeeds, "AuthService/GetMe", token, pb::GetMeRequest {})
            .await;
        let display_name = Some("Ada L.".to_owned());
        let rpc = "AuthService/UpdateMe";
        self.call::<()>(
            Succeeds,
            rpc,
            token,
            pb::UpdateMeRequest {
                display_name,
                ..Default::default()
            },
        )
        .await;
        let rpc = "AuthService/RequestEmailVerification";
        self.call::<()>(Succeeds, rpc, token, pb::RequestEmailVerificationRequest {})
            .await;

        let rpc = "AuthService/ChangePassword";
        let new_password = self.new_secret("new password");
        let request = pb::ChangePasswordRequest {
            current_password: password,
            new_password: new_password.clone(),
        };
        let answer: pb::ChangePasswordResponse = self.call(Succeeds, rpc, token, request).await;
        self.tokens(answer.tokens);
        let wrong = pb::ChangePasswordRequest {
            current_password: new_password.clone(),
            new_password: self.new_secret("password that is too long").repeat(3),
        };
        self.call::<()>(Fails, rpc, token, wrong).await;

        self.sign_in(&new_password).await;
        let list = pb::ListSessionsRequest::default();
        let rpc = "AuthService/ListSessions";
        let listed: pb::ListSessionsResponse = self.call(Succeeds, rpc, token, list).await;
        let other = listed.sessions.into_iter().find(|session| !session.current);
        let rpc = "AuthService/RevokeSession";
        let session_id = other.unwrap().id;
        self.call::<()>(
            Succeeds,
            rpc,
            token,
            pb::RevokeSessionRequest {
                session_id,
                ..Default::default()
            },
        )
        .await;
        let session_id = self.new_secret("token instead of a session id");
        self.call::<()>(
            Fails,
            rpc,
            token,
            pb::RevokeSessionRequest {
                session_id,
                ..Default::default()
            },
        )
        .await;
        let (other, _) = self.sign_in(&new_password).await;
        let request = pb::SignOutRequest::default();
        self.call::<()>(Succeeds, "AuthService/SignOut", &other, request)
            .await;
        self.call::<()>(Fails, "AuthService/SignOut", &other, request)
            .await;
        new_password
    }

    /// Calls the RPCs that change the address; the change is cancelled.
    pub async fn email_change_rpcs(&mut self, token: &str, database: &TestDatabase) {
        let new_email = "ada.new@example.com".to_owned();
        let request = pb::RequestEmailChangeRequest { new_email };
        let rpc = "AuthService/RequestEmailChange";
        self.call::<()>(Succeeds, rpc, token, request).await;
        let (confirm, cancel) = (
            "AuthService/ConfirmEmailChange",
            "AuthService/CancelEmailChange",
        );
        let unknown = self.new_secret("unknown token of a change");
        let request = pb::ConfirmEmailChangeRequest {
            token: unknown.clone(),
        };
        self.call::<()>(Fails, confirm, token, request).await;
        let request = pb::CancelEmailChangeRequest { token: unknown };
        self.call::<()>(Fails, cancel, "", request).await;
        let current = database.mail("ada@example.com", "or cancel", 1).await;
        let new = database.mail("ada.new@example.com", "your new", 1).await;
        let request = pb::ConfirmEmailChangeRequest {
            token: self.secret("token of a change", &new.token()),
        };
        self.call::<()>(Succeeds, confirm, token, request).await;
        let request = pb::CancelEmailChangeRequest {
            token: self.secret("token of a cancelled change", &current.token()),
        };
        self.call::<()>(Succeeds, cancel, "", request).await;
    }

    /// Calls Reauthenticate.
    pub async fn reauthenticate(&mut self, token: &str, password: &str) {
        let rpc = "AuthService/Reauthenticate";
        let wrong = pb::ReauthenticateRequest {
            password: self.new_secret("wrong password of a session"),
            ..Default::default()
        };
        self.call::<()>(Fails, rpc, token, wrong).await;
        let request = pb::ReauthenticateRequest {
            password: password.to_owned(),
            ..Default::default()
        };
        let answer: pb::ReauthenticateResponse = self.call(Succeeds, rpc, token, request).await;
        self.secret("access token of a proof", &answer.access_token);
    }

    /// Calls the RPCs of second factors. At the end the account has none.
    pub async fn second_factor_rpcs(&mut self, token: &str, password: &str) {
        let rpc = "AuthService/CreateSecondFactor";
        let mut request = pb::CreateSecondFactorRequest {
            display_name: "Phone".to_owned(),
            password: self.new_secret("wrong password of an enrolment"),
            ..Default::default()
        };
        self.call::<()>(Fails, rpc, token, request.clone()).await;
        request.password = password.to_owned();
        let created: pb::CreateSecondFactorResponse =
            self.call(Succeeds, rpc, token, request).await;
        self.secret("secret of an authenticator", &created.secret);
        self.secret("URI of an authenticator", &created.otpauth_uri);
        let mut authenticator = Authenticator::new(&created);
        self.secrets.push((
            "bytes of an authenticator".to_owned(),
            authenticator.secret().to_vec(),
        ));

        let rpc = "AuthService/ConfirmSecondFactor";
        let request = |code: String| pb::ConfirmSecondFactorRequest {
            second_factor_id: created.second_factor.clone().unwrap().id,
            second_factor_code: code,
        };
        let wrong = self.new_secret("no code");
        self.call::<()>(Fails, rpc, token, request(wrong)).await;
        let code = authenticator.next_code();
        let confirmed: pb::ConfirmSecondFactorResponse =
            self.call(Succeeds, rpc, token, request(code)).await;
        let codes = self.recovery_codes(&confirmed.recovery_codes);

        let mut sign_in = pb::SignInRequest {
            email: "ada@example.com".to_owned(),
            password: password.to_owned(),
            ..Default::default()
        };
        let rpc = "AuthService/SignIn";
        self.call::<()>(Fails, rpc, "", sign_in.clone()).await;
        sign_in.second_factor_code = codes[0].clone();
        let answer: pb::SignInResponse = self.call(Succeeds, rpc, "", sign_in.clone()).await;
        self.tokens(answer.tokens);
        self.call::<()>(Fails, rpc, "", sign_in).await;
        let list = pb::ListSecondFactorsRequest::default();
        self.call::<()>(Succeeds, "AuthService/ListSecondFactors", token, list)
            .await;

        let rpc = "AuthService/RegenerateRecoveryCodes";
        let request = pb::RegenerateRecoveryCodesRequest {
            second_factor_code: codes[1].clone(),
            ..Default::default()
        };
        let new: pb::RegenerateRecoveryCodesResponse =
            self.call(Succeeds, rpc, token, request.clone()).await;
        self.call::<()>(Fails, rpc, token, request).await;
        let codes = self.recovery_codes(&new.recovery_codes);
        let request = pb::DeleteSecondFactorRequest {
            second_factor_id: authenticator.id.clone(),
            second_factor_code: codes[0].clone(),
            ..Default::default()
        };
        let rpc = "AuthService/DeleteSecondFactor";
        self.call::<()>(Succeeds, rpc, token, request.clone()).await;
        self.call::<()>(Fails, rpc, token, request).await;
    }

    /// Calls the RPCs of passkeys. At the end the account has none.
    pub async fn passkey_rpcs(&mut self, token: &str, password: &str) {
        let rpc = "AuthService/BeginPasskeyRegistration";
        let mut request = pb::BeginPasskeyRegistrationRequest {
            password: self.new_secret("wrong password of a registration"),
            ..Default::default()
        };
        self.call::<()>(Fails, rpc, token, request.clone()).await;
        request.password = password.to_owned();
        let begun: pb::BeginPasskeyRegistrationResponse =
            self.call(Succeeds, rpc, token, request).await;
        let mut passkey = SoftPasskey::new();
        let rpc = "AuthService/FinishPasskeyRegistration";
        let request = pb::FinishPasskeyRegistrationRequest {
            display_name: "Laptop".to_owned(),
            credential: passkey.register(&begun.creation_options).to_string(),
        };
        let finished: pb::FinishPasskeyRegistrationResponse =
            self.call(Succeeds, rpc, token, request.clone()).await;
        self.call::<()>(Fails, rpc, token, request).await;
        let codes = self.recovery_codes(&finished.recovery_codes);
        let passkey_id = finished.passkey.unwrap().id;

        let rpc = "AuthService/BeginPasskeyAuthentication";
        let request = pb::BeginPasskeyAuthenticationRequest {};
        let begun: pb::BeginPasskeyAuthenticationResponse =
            self.call(Succeeds, rpc, "", request).await;
        let passkey_assertion = passkey.assert(&begun.request_options);
        self.secret("assertion of a passkey", &passkey_assertion);
        let rpc = "AuthService/SignInWithPasskey";
        let request = pb::SignInWithPasskeyRequest { passkey_assertion };
        let answer: pb::SignInWithPasskeyResponse =
            self.call(Succeeds, rpc, "", request.clone()).await;
        self.tokens(answer.tokens);
        self.call::<()>(Fails, rpc, "", request).await;

        let list = pb::ListPasskeysRequest::default();
        self.call::<()>(Succeeds, "AuthService/ListPasskeys", token, list)
            .await;
        let request = pb::UpdatePasskeyRequest {
            passkey_id: passkey_id.clone(),
            display_name: "Phone".to_owned(),
        };
        self.call::<()>(Succeeds, "AuthService/UpdatePasskey", token, request)
            .await;
        let rpc = "AuthService/DeletePasskey";
        let request = pb::DeletePasskeyRequest {
            passkey_id,
            second_factor_code: codes[0].clone(),
            ..Default::default()
        };
        self.call::<()>(Succeeds, rpc, token, request.clone()).await;
        self.call::<()>(Fails, rpc, token, request).await;
    }

    /// Records recovery codes, with and without their hyphens.
    fn recovery_codes(&mut self, codes: &[String]) -> Vec<String> {
        for code in codes {
            self.secret("recovery code", code);
            self.secret("letters of a recovery code", &code.replace('-', ""));
        }
        codes.to_vec()
    }

    pub async fn api_key_rpcs(&mut self, token: &str) {
        let request = pb::CreateApiKeyRequest {
            display_name: "Bot".to_owned(),
            scopes: vec!["projects:read".to_owned()],
            ..Default::default()
        };
        let rpc = "AuthService/CreateApiKey";
        let made: pb::CreateApiKeyResponse = self.call(Succeeds, rpc, token, request).await;
        let secret = self.secret("API key", &made.secret);
        let api_key_id = made.api_key.unwrap().id;
        let wrong = pb::CreateApiKeyRequest {
            scopes: vec![self.new_secret("secret instead of a scope")],
            ..Default::default()
        };
        self.call::<()>(Fails, rpc, token, wrong).await;
        self.exchange(secret.clone()).await;
        let unknown = self.new_secret("unknown API key");
        let rpc = "AuthService/ExchangeApiKey";
        self.call::<()>(
            Fails,
            rpc,
            "",
            pb::ExchangeApiKeyRequest { secret: unknown },
        )
        .await;
        let request = pb::ListApiKeysRequest::default();
        self.call::<()>(Succeeds, "AuthService/ListApiKeys", token, request)
            .await;
        let wrong = pb::ListApiKeysRequest {
            page_token: self.new_secret("secret instead of a page token"),
            ..Default::default()
        };
        self.call::<()>(Fails, "AuthService/ListApiKeys", token, wrong)
            .await;
        let request = pb::RevokeApiKeyRequest {
            api_key_id,
            ..Default::default()
        };
        self.call::<()>(Succeeds, "AuthService/RevokeApiKey", token, request)
            .await;
        self.call::<()>(Fails, rpc, "", pb::ExchangeApiKeyRequest { secret })
            .await;
    }

    /// Calls ExchangeApiKey; returns the access token.
    pub async fn exchange(&mut self, secret: String) -> String {
        let request = pb::ExchangeApiKeyRequest { secret };
        let rpc = "AuthService/ExchangeApiKey";
        let answer: pb::ExchangeApiKeyResponse = self.call(Succeeds, rpc, "", request).await;
        self.secret("access token of an API key", &answer.access_token)
    }

    /// Calls the RPCs that delete.
    pub async fn deleting_rpcs(&mut self, token: &str, project_id: String, password: String) {
        let request = pb::ListDestinationsRequest {
            project_id: project_id.clone(),
            ..Default::default()
        };
        let rpc = "ProjectService/ListDestinations";
        let listed: pb::ListDestinationsResponse = self.call(Succeeds, rpc, token, request).await;
        let destination_id = listed.destinations[0].id.clone();
        let request = pb::DeleteDestinationRequest {
            destination_id,
            ..Default::default()
        };
        self.call::<()>(Succeeds, "ProjectService/DeleteDestination", token, request)
            .await;
        let request = pb::DeleteProjectRequest {
            project_id,
            force: true,
            ..Default::default()
        };
        self.call::<()>(Succeeds, "ProjectService/DeleteProject", token, request)
            .await;
        let request = pb::ListAuditEventsRequest::default();
        let rpc = "AuthService/ListAuditEvents";
        let audit: pb::ListAuditEventsResponse = self.call(Succeeds, rpc, token, request).await;
        assert_ne!(audit.audit_events, []);
        self.refusals.extend(format!("{audit:?}").into_bytes());
        let wrong = pb::DeleteMeRequest {
            password: self.new_secret("wrong password of a deletion"),
        };
        self.call::<()>(Fails, "AuthService/DeleteMe", token, wrong)
            .await;
        let request = pb::DeleteMeRequest { password };
        self.call::<()>(Succeeds, "AuthService/DeleteMe", token, request)
            .await;
    }
}

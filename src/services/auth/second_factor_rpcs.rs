use tonic::{Request, Response};

use super::{
    factor_messages::{Confirmation, NewAuthenticator, read_deletion, read_factor},
    second_factors::{grouped, hashes},
    service::AuthService,
};
use crate::{
    auth::{Caller, RecoveryCode, TotpSecret},
    domain::{AuditContext, SecondFactor, SecondFactorId, SessionId, User, UserId, now},
    error::{Error, Result},
    proto::v1 as pb,
    repositories::NewSecondFactor,
    services::{fields::Fields, rpc::request_origin},
};

/// The RPCs for second factors.
impl AuthService {
    pub(super) async fn create_second_factor(
        &self,
        request: Request<pb::CreateSecondFactorRequest>,
    ) -> Result<Response<pb::CreateSecondFactorResponse>> {
        let caller = Caller::of(&request)?;
        let (user, session) = caller.session()?;
        caller.require_recent_authentication(self.recent_authentication, now())?;
        let audit = caller.audit_context("CreateSecondFactor", request_origin(&request));
        let user = self.users.get(user).await?;
        let new = NewAuthenticator::read(request.into_inner())?;

        let secret = TotpSecret::generate();
        let created = self.create_authenticator(&user, session, new, &secret, &audit);
        let created = created.await;
        let created = self.record_code(created, &audit).await?;

        Ok(Response::new(pb::CreateSecondFactorResponse {
            second_factor: Some(created.into()),
            secret: secret.base32().expose().to_owned(),
            otpauth_uri: secret.uri(&user.email)?.expose().to_owned(),
        }))
    }

    pub(super) async fn confirm_second_factor(
        &self,
        request: Request<pb::ConfirmSecondFactorRequest>,
    ) -> Result<Response<pb::ConfirmSecondFactorResponse>> {
        let caller = Caller::of(&request)?;
        let (user, _) = caller.session()?;
        let audit = caller.audit_context("ConfirmSecondFactor", request_origin(&request));
        let confirmation = Confirmation::read(request.into_inner())?;
        let audit = audit.with_resource(confirmation.id);

        let codes = RecoveryCode::generate_all();
        let confirmed = self.confirm_authenticator(user, confirmation, &codes, &audit);
        let confirmed = confirmed.await;
        let (second_factor, is_first) = self.record_code(confirmed, &audit).await?;

        let recovery_codes = match is_first {
            true => grouped(&codes),
            false => Vec::new(),
        };
        Ok(Response::new(pb::ConfirmSecondFactorResponse {
            second_factor: Some(second_factor.into()),
            recovery_codes,
        }))
    }

    pub(super) async fn list_second_factors(
        &self,
        request: Request<pb::ListSecondFactorsRequest>,
    ) -> Result<Response<pb::ListSecondFactorsResponse>> {
        let (user, _) = Caller::of(&request)?.session()?;
        let message = request.into_inner();
        let list = self.page_tokens.read_single(
            format!("second_factors/{user}"),
            message.page_size,
            &message.page_token,
        )?;

        let factors = self.second_factors.list(user, list.page).await?;
        let unused = self.second_factors.unused_recovery_codes(user).await?;

        let (second_factors, next_page_token) =
            self.page_tokens.page(&list, factors, |one| one.id.uuid());
        Ok(Response::new(pb::ListSecondFactorsResponse {
            second_factors,
            next_page_token,
            unused_recovery_codes: i32::try_from(unused).unwrap_or(i32::MAX),
        }))
    }

    pub(super) async fn delete_second_factor(
        &self,
        request: Request<pb::DeleteSecondFactorRequest>,
    ) -> Result<Response<pb::DeleteSecondFactorResponse>> {
        let caller = Caller::of(&request)?;
        let (user, _) = caller.session()?;
        let audit = caller.audit_context("DeleteSecondFactor", request_origin(&request));
        let pb::DeleteSecondFactorRequest {
            second_factor_id: id,
            second_factor_code: code,
            passkey_assertion: assertion,
        } = request.into_inner();
        let (id, factor) = read_deletion("second_factor_id", &id, &code, &assertion)?;
        let audit = audit.with_resource(id);
        self.second_factors.require(user, id).await?;

        let deleted = async {
            let verified = self.require_factor(user, &factor, &audit).await?;
            self.second_factors
                .delete(user, id, &verified, &audit, now())
                .await
        };
        self.record_code(deleted.await, &audit).await?;

        Ok(Response::new(pb::DeleteSecondFactorResponse {}))
    }

    pub(super) async fn regenerate_recovery_codes(
        &self,
        request: Request<pb::RegenerateRecoveryCodesRequest>,
    ) -> Result<Response<pb::RegenerateRecoveryCodesResponse>> {
        let caller = Caller::of(&request)?;
        let (user, _) = caller.session()?;
        let audit = caller.audit_context("RegenerateRecoveryCodes", request_origin(&request));
        let pb::RegenerateRecoveryCodesRequest {
            second_factor_code: code,
            passkey_assertion: assertion,
        } = request.into_inner();
        let factor = Fields::read_all(|fields| read_factor(fields, &code, &assertion))?;

        let codes = RecoveryCode::generate_all();
        let replaced = async {
            let verified = self.require_factor(user, &factor, &audit).await?;
            self.second_factors
                .replace_recovery_codes(user, &verified, &hashes(&codes), &audit, now())
                .await
        };
        self.record_code(replaced.await, &audit).await?;

        let recovery_codes = grouped(&codes);
        Ok(Response::new(pb::RegenerateRecoveryCodesResponse {
            recovery_codes,
        }))
    }

    /// Creates an authenticator that has to be confirmed. Whoever has taken over a session, but
    /// knows neither the password nor an earlier authenticator, cannot.
    async fn create_authenticator(
        &self,
        user: &User,
        session: SessionId,
        new: NewAuthenticator,
        secret: &TotpSecret,
        audit: &AuditContext,
    ) -> Result<SecondFactor> {
        let verified = self.verify_enrolment((user, session), new.proof, audit);
        let verified = verified.await?;
        let id = SecondFactorId::generate();
        let new = NewSecondFactor {
            id,
            user_id: user.id,
            display_name: new.display_name,
            secret_sealed: secret.seal(id, &self.sealer),
        };
        let audit = audit.clone().with_resource(id);
        self.second_factors
            .create(&new, verified.as_ref(), &audit, now())
            .await
    }

    /// Confirms an authenticator; returns whether it is the user's first second factor.
    async fn confirm_authenticator(
        &self,
        user: UserId,
        confirmation: Confirmation,
        codes: &[RecoveryCode],
        audit: &AuditContext,
    ) -> Result<(SecondFactor, bool)> {
        let Confirmation { id, code } = confirmation;
        let sealed = self.second_factors.unconfirmed_secret(user, id, now());
        let sealed = sealed.await?;
        let owner = self.users.get(user).await?;
        let attempt = self.count_code(&owner, &audit.origin).await?;
        let step = self
            .accepted_step(id, &sealed, &code, now())?
            .ok_or(Error::SecondFactorInvalid)?;
        self.second_factors
            .confirm(user, (id, step), &attempt, &hashes(codes), audit, now())
            .await
    }
}

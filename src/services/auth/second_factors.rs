use super::{
    factor_messages::{FactorResponse, UserProof},
    service::AuthService,
};
use crate::{
    auth::{AssertionResponse, AttemptSubject, Caller, RecoveryCode, RelyingParty, TotpSecret},
    domain::{
        AuditContext, RequestOrigin, SecondFactorCode, SecondFactorId, SessionId, Time, User,
        UserId, now,
    },
    error::{Error, PasskeyFault, Result},
    repositories::{CountedAttempt, SecondFactorProof, StoredPasskey, VerifiedSecondFactor},
};

/// Verifies codes of second factors, and assertions of passkeys.
impl AuthService {
    /// Verifies what a user shows as a second factor. It is not used up yet. `None` if the user has
    /// no second factor.
    ///
    /// The attempt is counted before it is verified, as with passwords.
    pub(super) async fn verify_second_factor(
        &self,
        user: &User,
        factor: &FactorResponse,
        origin: &RequestOrigin,
    ) -> Result<Option<VerifiedSecondFactor>> {
        if !self.second_factors.exist(user.id).await? {
            return Ok(None);
        }
        let verified = match factor {
            FactorResponse::Code(code) => self.verify_code(user, code, origin).await?,
            FactorResponse::Passkey(assertion) => {
                let passkey = self.passkeys.find(&assertion.credential_id).await?;
                self.verify_passkey(user, passkey, assertion, origin)
                    .await?
            }
        };
        Ok(Some(verified))
    }

    /// The same for a user who must have a second factor.
    pub(super) async fn require_factor(
        &self,
        user: UserId,
        factor: &FactorResponse,
        audit: &AuditContext,
    ) -> Result<VerifiedSecondFactor> {
        let user = self.users.get(user).await?;
        let verified = self
            .verify_second_factor(&user, factor, &audit.origin)
            .await?;
        verified.ok_or(Error::SecondFactorInvalid)
    }

    async fn verify_code(
        &self,
        user: &User,
        code: &SecondFactorCode,
        origin: &RequestOrigin,
    ) -> Result<VerifiedSecondFactor> {
        let secrets = self.second_factors.secrets(user.id).await?;
        let attempt = self.count_code(user, origin).await?;
        let proof = match code {
            SecondFactorCode::Recovery(code) => {
                let hash = RecoveryCode::new(code.clone()).hash();
                Some(SecondFactorProof::RecoveryCode { hash })
            }
            SecondFactorCode::Totp(_) => {
                let now = now();
                let mut proofs = secrets.iter().map(|(id, sealed)| {
                    let step = self.accepted_step(*id, sealed, code, now)?;
                    Ok::<_, Error>(step.map(|step| SecondFactorProof::Totp { id: *id, step }))
                });
                proofs.find_map(Result::transpose).transpose()?
            }
        };
        let proof = proof.ok_or(Error::SecondFactorInvalid)?;
        Ok(VerifiedSecondFactor { proof, attempt })
    }

    /// Verifies an assertion of a passkey, which must be one of the user's.
    pub(super) async fn verify_passkey(
        &self,
        user: &User,
        passkey: Option<StoredPasskey>,
        assertion: &AssertionResponse,
        origin: &RequestOrigin,
    ) -> Result<VerifiedSecondFactor> {
        let relying_party = self.relying_party()?;
        let attempt = self.count_code(user, origin).await?;
        let passkey = passkey.filter(|passkey| passkey.user_id == user.id);
        let passkey = passkey.ok_or(Error::PasskeyInvalid(PasskeyFault::UnknownPasskey))?;
        let assertion = relying_party
            .verify_assertion(assertion, &passkey.credential)
            .map_err(Error::PasskeyInvalid)?;
        let id = passkey.id;
        let proof = SecondFactorProof::Passkey { id, assertion };
        Ok(VerifiedSecondFactor { proof, attempt })
    }

    /// This service as passkeys know it.
    pub(super) fn relying_party(&self) -> Result<&RelyingParty> {
        self.relying_party.as_ref().ok_or(Error::PasskeysDisabled)
    }

    /// Verifies what proves again who the user of a session is: a second factor if they have one,
    /// otherwise the password.
    pub(super) async fn verify_again(
        &self,
        (user, session): (UserId, SessionId),
        proof: UserProof,
        audit: &AuditContext,
    ) -> Result<Option<VerifiedSecondFactor>> {
        if self.second_factors.exist(user).await? {
            let user = self.users.get(user).await?;
            let factor = proof.factor.ok_or(Error::SecondFactorRequired)?;
            return self
                .verify_second_factor(&user, &factor, &audit.origin)
                .await;
        }
        let password = proof.password;
        let password = password.ok_or_else(|| Error::invalid("password", "must not be empty"))?;
        let slot = self.hasher.reserve_slot(audit.origin.peer_address)?;
        let owner = (user, session);
        self.reauthenticate_password(owner, password, &slot, audit)
            .await?;
        Ok(None)
    }

    /// Verifies what proves who the user of a session is before a second factor is added: the
    /// password if they have one, and a second factor if there is one to verify.
    pub(super) async fn verify_enrolment(
        &self,
        (user, session): (&User, SessionId),
        proof: UserProof,
        audit: &AuditContext,
    ) -> Result<Option<VerifiedSecondFactor>> {
        let UserProof { password, factor } = proof;
        self.verify_password_if_any((user.id, session), password, audit)
            .await?;
        match factor {
            Some(factor) => {
                self.verify_second_factor(user, &factor, &audit.origin)
                    .await
            }
            None => Ok(None),
        }
    }

    /// `ReauthenticationRequired` if the user of a session has a second factor and has proved it too
    /// long ago: for calls that have the password.
    pub(super) async fn require_recent_second_factor(&self, caller: &Caller) -> Result<()> {
        let (user, _) = caller.session()?;
        match caller.require_recent_authentication(self.recent_authentication, now()) {
            Err(error) if self.second_factors.exist(user).await? => Err(error),
            _ => Ok(()),
        }
    }

    /// Counts an attempt with a code or an assertion as failed.
    pub(super) async fn count_code(
        &self,
        user: &User,
        origin: &RequestOrigin,
    ) -> Result<CountedAttempt> {
        let email_key = user.email.to_lowercase();
        let subject = AttemptSubject::of_second_factor(user.id, &email_key, origin);
        self.failed_attempts.count(&subject, now()).await
    }

    /// The time step of a code of an authenticator; `None` if it is of another.
    pub(super) fn accepted_step(
        &self,
        id: SecondFactorId,
        sealed: &[u8],
        code: &SecondFactorCode,
        now: Time,
    ) -> Result<Option<i64>> {
        let SecondFactorCode::Totp(code) = code else {
            return Ok(None);
        };
        let secret = TotpSecret::unseal(sealed, id, &self.sealer)?;
        Ok(secret.accepted_step(code, now))
    }

    /// Records a refused code or assertion in the audit log. Returns the result.
    pub(super) async fn record_code<T>(
        &self,
        result: Result<T>,
        audit: &AuditContext,
    ) -> Result<T> {
        if let Err(error @ (Error::SecondFactorInvalid | Error::PasskeyInvalid(_))) = &result {
            let reason = error.reason();
            self.audit_log.record_refusal(audit, reason, now()).await?;
        }
        result
    }
}

/// The hashes of recovery codes.
pub(super) fn hashes(codes: &[RecoveryCode]) -> Vec<Vec<u8>> {
    codes.iter().map(RecoveryCode::hash).collect()
}

/// Recovery codes for the response that shows them.
pub(super) fn grouped(codes: &[RecoveryCode]) -> Vec<String> {
    codes.iter().map(RecoveryCode::grouped).collect()
}

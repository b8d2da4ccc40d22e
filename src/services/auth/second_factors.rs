use super::{messages::SessionProof, service::AuthService};
use crate::{
    auth::{AttemptSubject, Caller, RecoveryCode, TotpSecret},
    domain::{
        AuditContext, RequestOrigin, SecondFactorCode, SecondFactorId, SessionId, Time, User,
        UserId, now,
    },
    error::{Error, Result},
    repositories::{CountedAttempt, SecondFactorProof, VerifiedSecondFactor},
};

/// Verifies codes of second factors.
impl AuthService {
    /// Verifies a code of a user. The code is not used up yet. `None` if the user has no second
    /// factor.
    ///
    /// The attempt is counted before the code is verified, as with passwords.
    pub(super) async fn verify_second_factor(
        &self,
        user: &User,
        code: &SecondFactorCode,
        origin: &RequestOrigin,
    ) -> Result<Option<VerifiedSecondFactor>> {
        let secrets = self.second_factors.secrets(user.id).await?;
        if secrets.is_empty() {
            return Ok(None);
        }
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
        Ok(Some(VerifiedSecondFactor { proof, attempt }))
    }

    /// Verifies what proves again who the user of a session is: a code if they have a second factor,
    /// otherwise the password.
    pub(super) async fn verify_again(
        &self,
        (user, session): (UserId, SessionId),
        proof: SessionProof,
        audit: &AuditContext,
    ) -> Result<Option<VerifiedSecondFactor>> {
        if self.second_factors.exist(user).await? {
            let user = self.users.get(user).await?;
            let code = proof.code.ok_or(Error::SecondFactorRequired)?;
            return self.verify_second_factor(&user, &code, &audit.origin).await;
        }
        let password = proof.password;
        let password = password.ok_or_else(|| Error::invalid("password", "must not be empty"))?;
        let slot = self.hasher.reserve_slot(audit.origin.peer_address)?;
        let owner = (user, session);
        self.reauthenticate_password(owner, password, &slot, audit)
            .await?;
        Ok(None)
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

    /// Counts an attempt with a code as failed.
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

    /// Records a refused code in the audit log. Returns the result.
    pub(super) async fn record_code<T>(
        &self,
        result: Result<T>,
        audit: &AuditContext,
    ) -> Result<T> {
        if let Err(error @ Error::SecondFactorInvalid) = &result {
            let reason = error.reason();
            self.audit_log.record_refusal(audit, reason, now()).await?;
        }
        result
    }
}

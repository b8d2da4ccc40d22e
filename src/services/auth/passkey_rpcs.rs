use tonic::{Request, Response};

use super::{
    factor_messages::{UserProof, read_deletion},
    second_factors::{grouped, hashes},
    service::AuthService,
};
use crate::{
    auth::{
        AssertionResponse, Caller, Challenge, NewRegistration, RecoveryCode, RegistrationResponse,
        RelyingParty,
    },
    domain::{AuditContext, Name, Passkey, PasskeyId, RequestOrigin, SessionId, User, UserId, now},
    error::{Error, PasskeyFault, Result},
    proto::v1 as pb,
    repositories::{BegunRegistration, NewPasskey, VerifiedCredential, VerifiedSecondFactor},
    services::{
        fields::{Fields, read_field, timestamp},
        rpc::request_origin,
    },
};

/// The action of a sign-in with a passkey in the audit log.
const SIGN_IN: &str = "SignInWithPasskey";

/// The RPCs for passkeys.
impl AuthService {
    pub(super) async fn begin_passkey_registration(
        &self,
        request: Request<pb::BeginPasskeyRegistrationRequest>,
    ) -> Result<Response<pb::BeginPasskeyRegistrationResponse>> {
        let caller = Caller::of(&request)?;
        let (user, session) = caller.session()?;
        let relying_party = self.relying_party()?;
        caller.require_recent_authentication(self.recent_authentication, now())?;
        let audit = caller.audit_context("BeginPasskeyRegistration", request_origin(&request));
        let user = self.users.get(user).await?;
        let pb::BeginPasskeyRegistrationRequest {
            password,
            second_factor_code: code,
            passkey_assertion: assertion,
        } = request.into_inner();
        let proof =
            Fields::read_all(|fields| UserProof::read(fields, &password, &code, &assertion))?;

        let challenge = Challenge::generate();
        let begun = self.begin_registration((&user, session), proof, &challenge, &audit);
        let begun = self.record_code(begun.await, &audit).await?;

        let creation_options = relying_party.creation_options(&NewRegistration {
            challenge: &challenge,
            user_handle: &begun.user_handle,
            email: &user.email,
            display_name: &user.display_name,
            existing: &begun.existing,
        });
        Ok(Response::new(pb::BeginPasskeyRegistrationResponse {
            creation_options,
            expire_time: Some(timestamp(begun.expire_time)),
        }))
    }

    pub(super) async fn finish_passkey_registration(
        &self,
        request: Request<pb::FinishPasskeyRegistrationRequest>,
    ) -> Result<Response<pb::FinishPasskeyRegistrationResponse>> {
        let caller = Caller::of(&request)?;
        let (user, _) = caller.session()?;
        let relying_party = self.relying_party()?;
        let id = PasskeyId::generate();
        let audit = caller
            .audit_context("FinishPasskeyRegistration", request_origin(&request))
            .with_resource(id);
        let new = NamedCredential::read(request.into_inner())?;

        let codes = RecoveryCode::generate_all();
        let registered = self.register((user, id), new, relying_party, &codes, &audit);
        let (passkey, is_first) = self.record_code(registered.await, &audit).await?;

        let recovery_codes = match is_first {
            true => grouped(&codes),
            false => Vec::new(),
        };
        Ok(Response::new(pb::FinishPasskeyRegistrationResponse {
            passkey: Some(passkey.into()),
            recovery_codes,
        }))
    }

    pub(super) async fn list_passkeys(
        &self,
        request: Request<pb::ListPasskeysRequest>,
    ) -> Result<Response<pb::ListPasskeysResponse>> {
        let (user, _) = Caller::of(&request)?.session()?;
        let message = request.into_inner();
        let list = self.page_tokens.read_single(
            format!("passkeys/{user}"),
            message.page_size,
            &message.page_token,
        )?;

        let passkeys = self.passkeys.list(user, list.page).await?;

        let (passkeys, next_page_token) =
            self.page_tokens.page(&list, passkeys, |one| one.id.uuid());
        Ok(Response::new(pb::ListPasskeysResponse {
            passkeys,
            next_page_token,
        }))
    }

    pub(super) async fn update_passkey(
        &self,
        request: Request<pb::UpdatePasskeyRequest>,
    ) -> Result<Response<pb::UpdatePasskeyResponse>> {
        let caller = Caller::of(&request)?;
        let (user, _) = caller.session()?;
        let audit = caller.audit_context("UpdatePasskey", request_origin(&request));
        let pb::UpdatePasskeyRequest {
            passkey_id,
            display_name,
        } = request.into_inner();
        let (id, display_name) = Fields::read_all(|fields| {
            let id = fields.read("passkey_id", PasskeyId::parse(&passkey_id));
            let display_name = fields.read("display_name", Name::parse(&display_name));
            id.zip(display_name)
        })?;
        let audit = audit.with_resource(id);

        let passkey = self
            .passkeys
            .rename(user, id, &display_name, &audit, now())
            .await?;

        let passkey = Some(passkey.into());
        Ok(Response::new(pb::UpdatePasskeyResponse { passkey }))
    }

    pub(super) async fn delete_passkey(
        &self,
        request: Request<pb::DeletePasskeyRequest>,
    ) -> Result<Response<pb::DeletePasskeyResponse>> {
        let caller = Caller::of(&request)?;
        let (user, _) = caller.session()?;
        let audit = caller.audit_context("DeletePasskey", request_origin(&request));
        let pb::DeletePasskeyRequest {
            passkey_id: id,
            second_factor_code: code,
            passkey_assertion: assertion,
        } = request.into_inner();
        let (id, factor) = read_deletion("passkey_id", &id, &code, &assertion)?;
        let audit = audit.with_resource(id);
        self.passkeys.require(user, id).await?;

        let deleted = async {
            let verified = self.require_factor(user, &factor, &audit).await?;
            self.passkeys
                .delete(user, id, &verified, &audit, now())
                .await
        };
        self.record_code(deleted.await, &audit).await?;

        Ok(Response::new(pb::DeletePasskeyResponse {}))
    }

    pub(super) async fn begin_passkey_authentication(
        &self,
        request: Request<pb::BeginPasskeyAuthenticationRequest>,
    ) -> Result<Response<pb::BeginPasskeyAuthenticationResponse>> {
        let origin = request_origin(&request);
        let relying_party = self.relying_party()?;

        let challenge = Challenge::generate();
        let expire_time = self
            .passkeys
            .begin_authentication(&challenge.hash(), &origin, now())
            .await?;

        Ok(Response::new(pb::BeginPasskeyAuthenticationResponse {
            request_options: relying_party.request_options(&challenge),
            expire_time: Some(timestamp(expire_time)),
        }))
    }

    pub(super) async fn sign_in_with_passkey(
        &self,
        request: Request<pb::SignInWithPasskeyRequest>,
    ) -> Result<Response<pb::SignInWithPasskeyResponse>> {
        let origin = request_origin(&request);
        self.relying_party()?;
        let assertion = &request.get_ref().passkey_assertion;
        let assertion = read_field("passkey_assertion", AssertionResponse::parse(assertion))?;

        let (user, verified) = self.authenticate_passkey(&assertion, &origin).await?;
        let credential = VerifiedCredential::Passkey(&verified);
        let tokens = self
            .begin_session(SIGN_IN, &user, credential, None, origin)
            .await?;

        let (user, tokens) = (Some(user.into()), Some(tokens.into()));
        Ok(Response::new(pb::SignInWithPasskeyResponse {
            user,
            tokens,
        }))
    }

    /// Begins a registration. Whoever has taken over a session, but knows neither the password nor an
    /// earlier second factor, cannot.
    async fn begin_registration(
        &self,
        (user, session): (&User, SessionId),
        proof: UserProof,
        challenge: &Challenge,
        audit: &AuditContext,
    ) -> Result<BegunRegistration> {
        let verified = self.verify_enrolment((user, session), proof, audit);
        let verified = verified.await?;
        self.passkeys
            .begin_registration(user.id, &challenge.hash(), verified.as_ref(), audit, now())
            .await
    }

    /// Registers a passkey; returns whether it is the user's first second factor.
    async fn register(
        &self,
        (user_id, id): (UserId, PasskeyId),
        new: NamedCredential,
        relying_party: &RelyingParty,
        codes: &[RecoveryCode],
        audit: &AuditContext,
    ) -> Result<(Passkey, bool)> {
        let credential = relying_party.verify_registration(new.credential);
        let new = NewPasskey {
            id,
            user_id,
            display_name: new.display_name,
            credential: credential.map_err(Error::PasskeyInvalid)?,
        };
        self.passkeys
            .register(&new, &hashes(codes), audit, now())
            .await
    }

    /// Verifies an assertion, which says who the user is. A refused one is recorded in the audit log.
    async fn authenticate_passkey(
        &self,
        assertion: &AssertionResponse,
        origin: &RequestOrigin,
    ) -> Result<(User, VerifiedSecondFactor)> {
        let passkey = self.passkeys.find(&assertion.credential_id).await?;
        let owner = passkey.as_ref().map(|passkey| passkey.user_id);
        let audit = AuditContext::for_user(SIGN_IN, owner, origin.clone());
        let verified = async {
            let unknown = || Error::PasskeyInvalid(PasskeyFault::UnknownPasskey);
            let user = match self.users.get(owner.ok_or_else(unknown)?).await {
                // The account was deleted meanwhile.
                Err(Error::NotFound { .. }) => return Err(unknown()),
                user => user?,
            };
            let verified = self.verify_passkey(&user, passkey, assertion, origin);
            let verified = verified.await?;
            Ok((user, verified))
        };
        self.record_code(verified.await, &audit).await
    }
}

/// The credential of a FinishPasskeyRegistration request.
struct NamedCredential {
    display_name: Name,
    credential: RegistrationResponse,
}

impl NamedCredential {
    fn read(message: pb::FinishPasskeyRegistrationRequest) -> Result<Self> {
        let pb::FinishPasskeyRegistrationRequest {
            display_name,
            credential,
        } = message;
        Fields::read_all(|fields| {
            let display_name = fields.read("display_name", Name::parse(&display_name));
            let credential = fields.read("credential", RegistrationResponse::parse(&credential));
            Some(Self {
                display_name: display_name?,
                credential: credential?,
            })
        })
    }
}

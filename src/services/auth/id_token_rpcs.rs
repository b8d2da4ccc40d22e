use tonic::{Request, Response};

use super::{messages::not_empty, service::AuthService};
use crate::{
    auth::{IdTokenVerifier, IdTokens},
    domain::{Invalid, Secret, now},
    error::Result,
    proto::v1 as pb,
    repositories::{SignedIn, VerifiedCredential},
    services::{fields::Fields, request_origin::request_origin},
};

/// The longest id token, in bytes.
const MAX_ID_TOKEN_BYTES: usize = 16 * 1024;

/// The RPC for id tokens.
impl AuthService {
    pub(super) async fn sign_in_with_id_token(
        &self,
        request: Request<pb::SignInWithIdTokenRequest>,
    ) -> Result<Response<pb::SignInWithIdTokenResponse>> {
        let origin = request_origin(&request);
        let SignInWithIdToken {
            verifier,
            id_token,
            nonce,
        } = SignInWithIdToken::read(request.into_inner(), &self.id_tokens)?;

        let identity = verifier.verify(&id_token, &nonce, now()).await?;
        let SignedIn {
            user,
            created,
            ended,
        } = self.identities.sign_in(&identity, &origin, now()).await?;
        self.revocations.add(ended, now());
        let credential = VerifiedCredential::Identity(&identity);
        let tokens = self
            .session_issuer
            .begin("SignInWithIdToken", &user, credential, origin)
            .await?;

        let (user, tokens) = (Some(user.into()), Some(tokens.into()));
        Ok(Response::new(pb::SignInWithIdTokenResponse {
            user,
            tokens,
            created,
        }))
    }
}

struct SignInWithIdToken {
    verifier: IdTokenVerifier,
    id_token: Secret,
    nonce: Secret,
}

impl SignInWithIdToken {
    fn read(message: pb::SignInWithIdTokenRequest, id_tokens: &IdTokens) -> Result<Self> {
        let pb::SignInWithIdTokenRequest {
            provider,
            id_token,
            nonce,
        } = message;
        let (id_token, nonce) = (Secret::new(id_token), Secret::new(nonce));
        let mut fields = Fields::default();
        let verifier = fields.read("provider", id_tokens.verifier(&provider));
        let well_formed = fields.read("id_token", check_length(&id_token));
        let (Some(verifier), Some(())) = (verifier, well_formed) else {
            return Err(fields.into_error());
        };
        Ok(Self {
            verifier,
            id_token,
            nonce,
        })
    }
}

fn check_length(id_token: &Secret) -> Result<(), Invalid> {
    match id_token.expose().len() {
        0..=MAX_ID_TOKEN_BYTES => not_empty(id_token.expose()),
        _ => Err(Invalid::because("must have at most 16 KiB")),
    }
}

use tonic::{Request, Response};

use super::{messages::not_empty, sign_ins::SignIns};
use crate::{
    auth::{IdTokenIssuer, IdTokens, Revocations},
    domain::{Invalid, Secret, now},
    error::Result,
    proto::v1 as pb,
    repositories::{Identities, Proof, SignedIn},
    services::{fields::Fields, request_origin::origin_of},
};

/// The longest id token, in bytes.
const MAX_ID_TOKEN: usize = 16 * 1024;

/// The RPC of id tokens.
#[derive(Debug)]
pub(super) struct IdTokenRpcs {
    pub id_tokens: IdTokens,
    pub identities: Identities,
    pub sign_ins: SignIns,
    pub revocations: Revocations,
}

impl IdTokenRpcs {
    pub async fn sign_in_with_id_token(
        &self,
        request: Request<pb::SignInWithIdTokenRequest>,
    ) -> Result<Response<pb::SignInWithIdTokenResponse>> {
        const ACTION: &str = "SignInWithIdToken";
        let origin = origin_of(&request);
        let SignInWithIdToken {
            issuer,
            id_token,
            nonce,
        } = SignInWithIdToken::read(request.into_inner(), &self.id_tokens)?;

        let identity = issuer.verify(&id_token, &nonce, now()).await?;
        let signed_in = self.identities.sign_in(&identity, &origin, now()).await?;
        let SignedIn {
            user,
            created,
            ended,
        } = signed_in;
        self.revocations.add(ended, now());
        let proof = Proof::Identity(&identity);
        let tokens = self.sign_ins.begin(ACTION, &user, proof, origin).await?;

        let (user, tokens) = (Some(user.into()), Some(tokens.into()));
        Ok(Response::new(pb::SignInWithIdTokenResponse {
            user,
            tokens,
            created,
        }))
    }
}

struct SignInWithIdToken {
    issuer: IdTokenIssuer,
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
        let issuer = fields.read("provider", id_tokens.issuer(&provider));
        let well_formed = fields.read("id_token", check_length(&id_token));
        let (Some(issuer), Some(())) = (issuer, well_formed) else {
            return Err(fields.refuse());
        };
        Ok(Self {
            issuer,
            id_token,
            nonce,
        })
    }
}

fn check_length(id_token: &Secret) -> Result<(), Invalid> {
    match id_token.expose().len() {
        0..=MAX_ID_TOKEN => not_empty(id_token.expose()),
        _ => Err(Invalid::because("must have at most 16 KiB")),
    }
}

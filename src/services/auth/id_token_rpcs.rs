use tonic::{Request, Response};

use crate::{error::Result, proto::v1 as pb};

/// The RPC of id tokens.
#[derive(Debug)]
pub(super) struct IdTokenRpcs {}

impl IdTokenRpcs {
    pub async fn sign_in_with_id_token(
        &self,
        _request: Request<pb::SignInWithIdTokenRequest>,
    ) -> Result<Response<pb::SignInWithIdTokenResponse>> {
        Err(crate::error::Error::IdTokenInvalid)
    }
}

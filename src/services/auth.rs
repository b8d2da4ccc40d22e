use tonic::{Request, Response, Status};

use super::{
    accounts::Accounts,
    auth_messages::{SignIn, SignUpRequest, new_api_key, origin_of},
    fields::only,
    paging::Pages,
    sign_ins::SignIns,
};
use crate::{
    auth::{AccessTokens, ApiKeySecret, Caller, PasswordHasher, RefreshToken, Sealer, Subject},
    domain::{ApiKeyId, Invalid, Name, SessionTimes, now},
    error::Error,
    proto::v1 as pb,
    repositories::{ApiKeys, Database, Sessions, Users},
};

/// Accounts, sessions and API keys.
#[derive(Debug)]
pub struct AuthService {
    accounts: Accounts,
    sign_ins: SignIns,
    users: Users,
    sessions: Sessions,
    api_keys: ApiKeys,
    tokens: AccessTokens,
    pages: Pages,
    sealer: Sealer,
}

impl AuthService {
    /// The service over a database.
    pub fn new(
        database: &Database,
        tokens: AccessTokens,
        sealer: Sealer,
        hasher: PasswordHasher,
        times: SessionTimes,
    ) -> Self {
        let users = Users::new(database.clone());
        let sessions = Sessions::new(database.clone());
        Self {
            accounts: Accounts {
                database: database.clone(),
                users: users.clone(),
                hasher,
            },
            sign_ins: SignIns {
                sessions: sessions.clone(),
                tokens: tokens.clone(),
                sealer: sealer.clone(),
                times,
            },
            users,
            sessions,
            api_keys: ApiKeys::new(database.clone()),
            tokens,
            pages: Pages::new(sealer.clone()),
            sealer,
        }
    }
}

#[tonic::async_trait]
impl pb::auth_service_server::AuthService for AuthService {
    async fn sign_up(
        &self,
        request: Request<pb::SignUpRequest>,
    ) -> Result<Response<pb::SignUpResponse>, Status> {
        let origin = origin_of(&request);
        let SignUpRequest {
            sign_up,
            idempotency,
        } = SignUpRequest::read(request.into_inner(), &self.sealer)?;

        let user = self.accounts.open(sign_up, idempotency).await?;
        let tokens = self.sign_ins.begin(user.id, origin).await?;

        let (user, tokens) = (Some(user.into()), Some(tokens.into()));
        Ok(Response::new(pb::SignUpResponse { user, tokens }))
    }

    async fn sign_in(
        &self,
        request: Request<pb::SignInRequest>,
    ) -> Result<Response<pb::SignInResponse>, Status> {
        let origin = origin_of(&request);
        let SignIn { email, password } = request.into_inner().try_into()?;

        let user = self.accounts.check(&email, password).await?;
        let tokens = self.sign_ins.begin(user.id, origin).await?;

        let (user, tokens) = (Some(user.into()), Some(tokens.into()));
        Ok(Response::new(pb::SignInResponse { user, tokens }))
    }

    async fn refresh_tokens(
        &self,
        request: Request<pb::RefreshTokensRequest>,
    ) -> Result<Response<pb::RefreshTokensResponse>, Status> {
        let pb::RefreshTokensRequest { refresh_token } = request.into_inner();
        only("refresh_token", not_empty(&refresh_token))?;
        let token = RefreshToken::present(&refresh_token).ok_or(Error::RefreshTokenInvalid)?;

        let tokens = self.sign_ins.refresh(&token).await?;

        Ok(Response::new(pb::RefreshTokensResponse {
            tokens: Some(tokens.into()),
        }))
    }

    async fn sign_out(
        &self,
        request: Request<pb::SignOutRequest>,
    ) -> Result<Response<pb::SignOutResponse>, Status> {
        let (user, session) = Caller::of(&request)?.session()?;
        let scope = pb::SignOutScope::try_from(request.get_ref().scope)
            .map_err(|_| Invalid::because("must be CURRENT, OTHERS or ALL"));

        match only("scope", scope)? {
            pb::SignOutScope::Unspecified | pb::SignOutScope::Current => {
                self.sessions.revoke(user, session, now()).await?;
            }
            pb::SignOutScope::Others => {
                self.sessions.revoke_all(user, Some(session), now()).await?;
            }
            pb::SignOutScope::All => self.sessions.revoke_all(user, None, now()).await?,
        }

        Ok(Response::new(pb::SignOutResponse {}))
    }

    async fn get_me(
        &self,
        request: Request<pb::GetMeRequest>,
    ) -> Result<Response<pb::GetMeResponse>, Status> {
        let (user, _) = Caller::of(&request)?.session()?;

        let user = self.users.get(user).await?;

        Ok(Response::new(pb::GetMeResponse {
            user: Some(user.into()),
        }))
    }

    async fn update_me(
        &self,
        request: Request<pb::UpdateMeRequest>,
    ) -> Result<Response<pb::UpdateMeResponse>, Status> {
        let (user, _) = Caller::of(&request)?.session()?;
        let pb::UpdateMeRequest { display_name } = request.into_inner();
        let display_name = display_name.map(|name| only("display_name", Name::parse(&name)));

        let user = self
            .users
            .update(user, display_name.transpose()?.as_ref(), now())
            .await?;

        Ok(Response::new(pb::UpdateMeResponse {
            user: Some(user.into()),
        }))
    }

    async fn create_api_key(
        &self,
        request: Request<pb::CreateApiKeyRequest>,
    ) -> Result<Response<pb::CreateApiKeyResponse>, Status> {
        let (user, _) = Caller::of(&request)?.session()?;
        let key = new_api_key(request.into_inner(), now())?;
        let id = ApiKeyId::generate();
        let secret = ApiKeySecret::generate(id);

        let created = self
            .api_keys
            .create(id, Some(user), &key, &secret.hash(), now())
            .await?;

        Ok(Response::new(pb::CreateApiKeyResponse {
            api_key: Some(created.into()),
            secret: secret.expose().to_owned(),
        }))
    }

    async fn list_api_keys(
        &self,
        request: Request<pb::ListApiKeysRequest>,
    ) -> Result<Response<pb::ListApiKeysResponse>, Status> {
        let (user, _) = Caller::of(&request)?.session()?;
        let pb::ListApiKeysRequest {
            page_size,
            page_token,
        } = request.into_inner();
        let list = format!("api_keys/{user}");
        let list = self.pages.read_alone(list, page_size, &page_token)?;

        let mut keys = self.api_keys.list(user, list.page).await?;

        let next_page_token = self.pages.cut(&list, &mut keys, |key| key.id.uuid());
        let api_keys = keys.into_iter().map(pb::ApiKey::from).collect();
        Ok(Response::new(pb::ListApiKeysResponse {
            api_keys,
            next_page_token,
        }))
    }

    async fn revoke_api_key(
        &self,
        request: Request<pb::RevokeApiKeyRequest>,
    ) -> Result<Response<pb::RevokeApiKeyResponse>, Status> {
        let (user, _) = Caller::of(&request)?.session()?;
        let id = only("api_key_id", ApiKeyId::parse(&request.get_ref().api_key_id))?;

        self.api_keys.revoke(user, id).await?;

        Ok(Response::new(pb::RevokeApiKeyResponse {}))
    }

    async fn exchange_api_key(
        &self,
        request: Request<pb::ExchangeApiKeyRequest>,
    ) -> Result<Response<pb::ExchangeApiKeyResponse>, Status> {
        let pb::ExchangeApiKeyRequest { secret } = request.into_inner();
        only("secret", not_empty(&secret))?;
        let hash = ApiKeySecret::present(&secret).hash();

        let key = self
            .api_keys
            .exchange(&hash, now())
            .await?
            .ok_or(Error::ApiKeyInvalid)?;
        let subject = Subject::of_key(&key);
        let token = self.tokens.issue(
            &Caller {
                subject,
                scopes: key.scopes,
            },
            now(),
        )?;

        Ok(Response::new(pb::ExchangeApiKeyResponse::from((
            token, key.scopes,
        ))))
    }

    async fn get_jwks(
        &self,
        _: Request<pb::GetJwksRequest>,
    ) -> Result<Response<pb::GetJwksResponse>, Status> {
        let keys = self
            .tokens
            .keys()
            .public()
            .map(pb::JsonWebKey::from)
            .collect();

        Ok(Response::new(pb::GetJwksResponse { keys }))
    }
}

fn not_empty(text: &str) -> Result<(), Invalid> {
    match text.trim() {
        "" => Err(Invalid::because("must not be empty")),
        _ => Ok(()),
    }
}

//! Calls of AuthService that many tests make.

use std::time::{Duration, SystemTime};

use prost::Message;
use sluice::proto::v1 as pb;
use tonic::{Request, Response, Status, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;

use crate::harness::{Client, Refusal, TestDatabase, TestServer, User, exchange, refused};

/// SignUp of `ada@example.com`: a client with her access token.
pub async fn sign_up(channel: &Channel) -> Client {
    let request = pb::SignUpRequest {
        email: "ada@example.com".to_owned(),
        password: "correct horse battery staple".to_owned(),
        display_name: "Ada".to_owned(),
        request_id: String::new(),
    };
    let answer = Client::anonymous(channel).auth.sign_up(request).await;
    let tokens = answer.unwrap().into_inner().tokens.unwrap();
    Client::with_token(channel, &tokens.access_token)
}

/// SignIn.
pub async fn sign_in(
    channel: &Channel,
    email: &str,
    password: &str,
) -> Result<Response<pb::SignInResponse>, Status> {
    let request = pb::SignInRequest {
        email: email.to_owned(),
        password: password.to_owned(),
        ..Default::default()
    };
    Client::anonymous(channel).auth.sign_in(request).await
}

/// SignIn of a user: the tokens of the new session.
pub async fn new_session(server: &TestServer, user: &User) -> pb::Tokens {
    let answer = sign_in(&server.channel, &user.email, user.password).await;
    answer.unwrap().into_inner().tokens.unwrap()
}

/// RefreshTokens.
pub async fn refresh(
    channel: &Channel,
    refresh_token: &str,
) -> Result<Response<pb::RefreshTokensResponse>, Status> {
    let request = pb::RefreshTokensRequest {
        refresh_token: refresh_token.to_owned(),
    };
    Client::anonymous(channel)
        .auth
        .refresh_tokens(request)
        .await
}

/// RefreshTokens that succeeds.
pub async fn refreshed(channel: &Channel, refresh_token: &str) -> pb::Tokens {
    let answer = refresh(channel, refresh_token).await;
    answer.unwrap().into_inner().tokens.unwrap()
}

/// GetMe.
pub async fn get_me(client: &Client) -> Result<Response<pb::GetMeResponse>, Status> {
    client.auth.clone().get_me(pb::GetMeRequest {}).await
}

/// A request for an API key with these scopes that never expires.
pub fn api_key_request(scopes: &[&str]) -> pb::CreateApiKeyRequest {
    pb::CreateApiKeyRequest {
        display_name: "A program".to_owned(),
        scopes: scopes.iter().map(ToString::to_string).collect(),
        project_ids: Vec::new(),
        expire_time: None,
        ..Default::default()
    }
}

/// The same for a key that expires after some seconds.
pub fn expiring_api_key_request(scopes: &[&str], seconds: u64) -> pb::CreateApiKeyRequest {
    let expire_time = SystemTime::now() + Duration::from_secs(seconds);
    pb::CreateApiKeyRequest {
        expire_time: Some(expire_time.into()),
        ..api_key_request(scopes)
    }
}

/// CreateApiKey.
pub async fn create_api_key(
    user: &User,
    request: pb::CreateApiKeyRequest,
) -> Result<Response<pb::CreateApiKeyResponse>, Status> {
    user.client.auth.clone().create_api_key(request).await
}

/// CreateApiKey that succeeds: the key and its secret.
pub async fn new_api_key(user: &User, request: pb::CreateApiKeyRequest) -> (pb::ApiKey, String) {
    let answer = create_api_key(user, request).await.unwrap().into_inner();
    (answer.api_key.unwrap(), answer.secret)
}

/// ExchangeApiKey.
pub async fn exchange_api_key(
    channel: &Channel,
    secret: &str,
) -> Result<Response<pb::ExchangeApiKeyResponse>, Status> {
    let request = pb::ExchangeApiKeyRequest {
        secret: secret.to_owned(),
    };
    Client::anonymous(channel)
        .auth
        .exchange_api_key(request)
        .await
}

/// ExchangeApiKey that succeeds: the access token.
pub async fn api_key_token(server: &TestServer, secret: &str) -> String {
    exchange(&server.channel, secret).await
}

/// A client with the access token of a new API key.
pub async fn api_key_client(
    server: &TestServer,
    user: &User,
    request: pb::CreateApiKeyRequest,
) -> Client {
    let (_, secret) = new_api_key(user, request).await;
    let token = api_key_token(server, &secret).await;
    Client::with_token(&server.channel, &token)
}

/// Calls an RPC by its path; ignores the response message.
pub async fn call_rpc<M: Message + Default + 'static>(
    server: &TestServer,
    path: &str,
    token: &str,
    message: M,
) -> Result<Response<()>, Status> {
    let mut request = Request::new(message);
    let bearer = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    let mut client = Grpc::new(server.channel.clone());
    client.ready().await.unwrap();
    let codec = ProstCodec::<M, ()>::default();
    let path = path.parse().unwrap();
    // The response of a unary call is a stream of one message.
    let answer = client.server_streaming(request, path, codec).await?;
    answer.into_inner().message().await?;
    Ok(Response::new(()))
}

/// The refusals of all RPCs that need a user's own token.
pub async fn session_rpc_refusals(client: &Client) -> Vec<Refusal> {
    let mut auth = client.auth.clone();
    vec![
        refused(auth.sign_out(pb::SignOutRequest::default()).await),
        refused(auth.get_me(pb::GetMeRequest::default()).await),
        refused(auth.update_me(pb::UpdateMeRequest::default()).await),
        refused(
            auth.create_api_key(api_key_request(&["projects:read"]))
                .await,
        ),
        refused(auth.list_api_keys(pb::ListApiKeysRequest::default()).await),
        refused(
            auth.revoke_api_key(pb::RevokeApiKeyRequest::default())
                .await,
        ),
    ]
}

/// A refusal as text, with an id masked.
pub fn masked(refusal: &Refusal, id: &str) -> String {
    format!("{refusal:?}").replace(id, "<id>")
}

/// Moves a time of all rows of a table into the past.
pub async fn backdate(database: &TestDatabase, table: &str, column: &str, span: &str) {
    shift(database, table, column, &format!("-{span}")).await;
}

/// Makes a time of all rows of a table later, for example by `1 minute`.
pub async fn postpone(database: &TestDatabase, table: &str, column: &str, span: &str) {
    shift(database, table, column, &format!("+{span}")).await;
}

async fn shift(database: &TestDatabase, table: &str, column: &str, span: &str) {
    let shifted = if database.url.starts_with("sqlite:") {
        format!("strftime('%Y-%m-%dT%H:%M:%f+00:00', {column}, '{span}')")
    } else {
        format!("{column} + interval '{span}'")
    };
    database
        .execute(&format!("update {table} set {column} = {shifted}"))
        .await;
}

/// A timestamp in a comparable form.
pub fn comparable(time: Option<prost_types::Timestamp>) -> (i64, i32) {
    let time = time.unwrap();
    (time.seconds, time.nanos)
}

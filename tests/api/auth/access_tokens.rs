use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::{
    Code, Request, Response, Status,
    metadata::{Ascii, MetadataValue},
};

use super::calls::{get_me, session_rpc_refusals};
use crate::harness::{Client, Engine, Postgres, Sqlite, TestServer, eventually, refused};

const MISSING: (Code, &str) = (Code::Unauthenticated, "ACCESS_TOKEN_MISSING");
const MALFORMED: (Code, &str) = (Code::Unauthenticated, "ACCESS_TOKEN_MALFORMED");
const INVALID: (Code, &str) = (Code::Unauthenticated, "ACCESS_TOKEN_INVALID");

/// GetMe with these `authorization` headers.
async fn get_me_with(
    server: &TestServer,
    headers: &[&[u8]],
) -> Result<Response<pb::GetMeResponse>, Status> {
    let mut request = Request::new(pb::GetMeRequest {});
    for header in headers {
        let header: MetadataValue<Ascii> = (*header).try_into().unwrap();
        request.metadata_mut().append("authorization", header);
    }
    server.anonymous().auth.get_me(request).await
}

#[tokio::test]
async fn session_rpcs_refuse_a_call_without_a_token() {
    let server = TestServer::start(Sqlite).await;

    for refusal in session_rpc_refusals(&server.anonymous()).await {
        assert_eq!(refusal.class(), MISSING);
    }
}

#[tokio::test]
async fn session_rpcs_refuse_a_malformed_token() {
    let server = TestServer::start(Sqlite).await;

    let client = Client::with_token(&server.channel, "no.token.atall");
    for refusal in session_rpc_refusals(&client).await {
        assert_eq!(refusal.class(), INVALID);
    }
}

#[rstest]
#[tokio::test]
async fn the_bearer_scheme_is_case_insensitive(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;

    for scheme in ["Bearer", "bearer", "BEARER"] {
        let header = format!("{scheme} {}", ada.tokens.access_token);
        let answer = get_me_with(&server, &[header.as_bytes()]).await.unwrap();
        assert_eq!(answer.into_inner().user.unwrap(), ada.user);
    }
}

#[tokio::test]
async fn a_malformed_authorization_header_is_refused() {
    let server = TestServer::start(Sqlite).await;
    let ada = server.user().await;
    let token = &ada.tokens.access_token;
    let parts: Vec<_> = token.split('.').collect();
    let bearer = |token: &str| format!("Bearer {token}").into_bytes();

    // `{"alg":"none","typ":"at+jwt"}`
    let unsigned = "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0";
    for header in [
        b"".to_vec(),
        b"Bearer".to_vec(),
        b"Bearer ".to_vec(),
        token.clone().into_bytes(),
        format!("Basic {token}").into_bytes(),
        format!("Bearer{token}").into_bytes(),
        format!("Bearer={token}").into_bytes(),
        b"Bearer \xff\xfe".to_vec(),
        bearer("x"),
        bearer(".."),
        bearer(&"x".repeat(5000)),
        bearer(&format!("{token} {token}")),
        bearer(&format!("{token}, Bearer {token}")),
        bearer(&format!("{token}.")),
        bearer(&format!("{}.{}", parts[0], parts[1])),
        bearer(&format!("{}.{}.", parts[0], parts[1])),
        bearer(&format!("{unsigned}.{}.", parts[1])),
        bearer(&ada.tokens.refresh_token),
    ] {
        let refusal = refused(get_me_with(&server, &[&header]).await);
        let header = String::from_utf8_lossy(&header);
        assert_eq!(refusal.class(), MALFORMED, "{header}");
    }
    let unsigned = bearer(&format!("{unsigned}.{}.{}", parts[1], parts[2]));
    let refusal = refused(get_me_with(&server, &[&unsigned]).await);
    assert_eq!(refusal.class(), INVALID);
}

#[rstest]
#[case::no_header(&[], "send the header `authorization: Bearer <access token>`")]
#[case::null(&["Bearer null"], "not the form of a JWT")]
#[case::undefined(&["Bearer undefined"], "not the form of a JWT")]
#[case::no_scheme(&["eyJ0eXAiOiJKV1QifQ.e30.c2ln"], "the word Bearer, a space")]
#[case::basic(&["Basic YWRhOnNlY3JldA=="], "the word Bearer, a space")]
#[case::an_api_key(&["Bearer slk_0192f0c0_secret"], "ExchangeApiKey")]
#[case::a_refresh_token(&["Bearer slr_0192f0c0_1_mac"], "RefreshTokens")]
#[case::twice(&["Bearer x", "Bearer x"], "send one")]
#[case::forged(&["Bearer eyJ0eXAiOiJKV1QifQ.e30.c2ln"], "the access token is not valid")]
#[tokio::test]
async fn what_is_wrong_with_the_authorization_header_is_said(
    #[case] headers: &[&str],
    #[case] part: &str,
) {
    let server = TestServer::start(Sqlite).await;
    let headers: Vec<_> = headers.iter().map(|header| header.as_bytes()).collect();

    let refusal = refused(get_me_with(&server, &headers).await);

    let class = match part {
        _ if headers.is_empty() => MISSING,
        "the access token is not valid" => INVALID,
        _ => MALFORMED,
    };
    assert_eq!(refusal.class(), class);
    assert!(refusal.message.contains(part), "{refusal:?}");
    assert!(!refusal.message.contains("secret"), "{refusal:?}");
}

#[tokio::test]
async fn two_authorization_headers_are_refused_even_if_both_are_valid() {
    let server = TestServer::start(Sqlite).await;
    let ada = server.user().await;

    let good = format!("Bearer {}", ada.tokens.access_token);
    for headers in [[good.as_bytes(), good.as_bytes()], [good.as_bytes(), b"x"]] {
        let refusal = refused(get_me_with(&server, &headers).await);
        assert_eq!(refusal.class(), MALFORMED);
    }
}

#[tokio::test]
async fn an_access_token_expires() {
    let flags = ["--access-token-lifetime=8s"];
    let server = TestServer::start_with(Sqlite, &flags).await;
    let ada = server.user().await;
    get_me(&ada.client).await.unwrap();

    let refusal = eventually("the token expires", async || {
        let answer = get_me(&ada.client).await;
        answer.is_err().then(|| refused(answer))
    });

    let refusal = refusal.await;
    assert_eq!(
        refusal.class(),
        (Code::Unauthenticated, "ACCESS_TOKEN_EXPIRED")
    );
    assert_eq!(refusal.message, "the access token has expired: refresh it");
}

#[rstest]
#[case::of_another_secret(&[])]
#[case::of_another_issuer(&["--jwt-secret=the same secret of both of the servers", "--jwt-issuer=another"])]
#[case::for_another_audience(&["--jwt-secret=the same secret of both of the servers", "--jwt-audience=another"])]
#[tokio::test]
async fn a_token_of_another_server_is_refused(#[case] flags: &[&str]) {
    let same: Vec<_> = flags.iter().take(1).copied().collect();
    let server = TestServer::start_with(Sqlite, &same).await;
    let other = TestServer::start_with(Sqlite, flags).await;
    let stranger = other.user().await;
    get_me(&stranger.client).await.unwrap();

    let client = Client::with_token(&server.channel, &stranger.tokens.access_token);

    assert_eq!(refused(get_me(&client).await).class(), INVALID);
}

/// Clients send the header with every call, even when its token has expired.
#[rstest]
#[tokio::test]
async fn public_rpcs_ignore_an_invalid_token(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;
    let ada = server.user().await;

    let mut client = Client::with_token(&server.channel, "no.token.atall");
    let request = pb::RefreshTokensRequest {
        refresh_token: ada.tokens.refresh_token,
    };
    client.auth.refresh_tokens(request).await.unwrap();
    client.auth.get_jwks(pb::GetJwksRequest {}).await.unwrap();
}

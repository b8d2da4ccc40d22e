//! Every RPC refuses forged tokens, with one error that does not say why.

use rstest::rstest;
use sluice::{
    auth::access::{self, RequiredAccess},
    domain::Scope,
    proto::v1 as pb,
};
use tonic::{Code, transport::Channel};
use tonic_types::StatusExt;

use super::{
    forged_tokens::Token,
    signing_keys::{Signing, server},
};
use crate::{
    auth::calls,
    contract::{
        descriptors::requests,
        raw_rpc::{ObservableError, bearer, call},
    },
    harness::{Engine, Postgres, Sqlite, TestServer},
};

const GET_ME: &str = "/sluice.v1.AuthService/GetMe";

/// The RPCs that need a token.
fn protected_rpcs() -> Vec<String> {
    let protected: Vec<_> = requests()
        .into_keys()
        .filter(|path| access::required_access(path) != Some(RequiredAccess::Public))
        .collect();
    let of_table = access::METHODS.iter();
    let of_table = of_table.filter(|(_, access)| *access != RequiredAccess::Public);
    assert_eq!(protected.len(), of_table.count());
    protected
}

/// The error of every forged token, here of the token `x`.
pub async fn forged_token_error(channel: &Channel) -> ObservableError {
    let status = call(channel, GET_ME, &[bearer("x")], Vec::new())
        .await
        .unwrap_err();
    let details = status.get_error_details();
    assert_eq!(status.code(), Code::Unauthenticated);
    let info = details.error_info().unwrap();
    assert_eq!(info.reason, "ACCESS_TOKEN_INVALID");
    assert!(info.metadata.is_empty());
    ObservableError::of(&status)
}

/// Calls all protected RPCs with each of these headers; asserts that all get one error.
async fn assert_refused(server: &TestServer, headers: &[(String, Vec<Vec<u8>>)]) {
    let expected = forged_token_error(&server.channel).await;
    for path in protected_rpcs() {
        for (what, headers) in headers {
            let answer = call(&server.channel, &path, headers, Vec::new()).await;
            let status = answer.expect_err(what);
            assert_eq!(ObservableError::of(&status), expected, "{path}: {what}");
        }
    }
}

#[rstest]
#[tokio::test]
async fn every_rpc_refuses_every_forged_token_with_the_same_response(
    #[values(Signing::Hs256, Signing::Ed25519)] signing: Signing,
) {
    let (server, key, _directory) = server(Sqlite, signing).await;
    let ada = server.user().await;
    let token = Token::decode(&ada.tokens.access_token, key);

    // Without a change, a signed token is valid.
    let unchanged = Token::signed(&token.header, &token.claims, &token.key);
    let answer = call(&server.channel, GET_ME, &[bearer(&unchanged)], Vec::new()).await;
    answer.unwrap();

    let forgeries: Vec<_> = token
        .forgeries()
        .into_iter()
        .map(|(what, token)| (what, vec![bearer(&token)]))
        .collect();
    assert!(forgeries.len() > 150);
    assert_refused(&server, &forgeries).await;
}

#[rstest]
#[tokio::test]
async fn a_token_signed_with_an_unknown_key_is_refused(
    #[values(Signing::Hs256, Signing::Ed25519)] signing: Signing,
) {
    let (server, key, _directory) = server(Sqlite, signing).await;
    let ada = server.user().await;
    let token = Token::decode(&ada.tokens.access_token, key);
    let strangers = match signing {
        Signing::Hs256 => Signing::Ed25519,
        Signing::Ed25519 => Signing::Hs256,
    };
    let (other, other_key, _directory) = super::signing_keys::server(Sqlite, strangers).await;
    let grace = other.user().await;
    let theirs = Token::decode(&grace.tokens.access_token, other_key);

    let crossed = [
        ("their token", theirs.text.clone()),
        (
            "their header over our claims, under their key",
            Token::signed(&theirs.header, &token.claims, &theirs.key),
        ),
        (
            "our header over our claims, under their key",
            Token::signed(&token.header, &token.claims, &theirs.key),
        ),
        (
            "their header over our claims, under our key",
            Token::signed(&theirs.header, &token.claims, &token.key),
        ),
    ];
    let crossed = crossed.map(|(what, token)| (what.to_owned(), vec![bearer(&token)]));
    assert_refused(&server, &crossed).await;
}

#[rstest]
#[tokio::test]
async fn other_credentials_and_malformed_headers_are_refused_like_a_forged_token(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let (server, _, _directory) = server(engine, Signing::Ed25519).await;
    let ada = server.user().await;
    let token = &ada.tokens.access_token;
    let (_, secret) = calls::new_api_key(&ada, calls::api_key_request(&["projects:read"])).await;
    let revoked = calls::new_session(&server, &ada).await.access_token;
    let mut ended = crate::harness::Client::with_token(&server.channel, &revoked);
    let request = pb::SignOutRequest::default();
    ended.auth.sign_out(request).await.unwrap();

    let good = bearer(token);
    let scheme = |scheme: &str| format!("{scheme}{token}").into_bytes();
    let headers = [
        ("refresh token", vec![bearer(&ada.tokens.refresh_token)]),
        ("API key", vec![bearer(&secret)]),
        ("token of a session that ended", vec![bearer(&revoked)]),
        ("empty header", vec![Vec::new()]),
        ("scheme alone", vec![b"Bearer".to_vec()]),
        ("empty bearer", vec![b"Bearer ".to_vec()]),
        ("spaces", vec![b"Bearer    ".to_vec()]),
        ("no scheme", vec![scheme("")]),
        ("Basic", vec![scheme("Basic ")]),
        ("Token", vec![scheme("Token ")]),
        ("DPoP", vec![scheme("DPoP ")]),
        ("no space", vec![scheme("Bearer")]),
        ("tab", vec![scheme("Bearer\t")]),
        ("colon", vec![scheme("Bearer: ")]),
        ("equals", vec![scheme("Bearer=")]),
        ("two schemes", vec![scheme("Bearer Bearer ")]),
        ("space before", vec![scheme(" Bearer ")]),
        ("good and good", vec![good.clone(), good.clone()]),
        ("good and bad", vec![good.clone(), b"x".to_vec()]),
        ("bad and good", vec![b"x".to_vec(), good.clone()]),
        ("good and empty", vec![good.clone(), Vec::new()]),
        ("empty and good", vec![Vec::new(), good.clone()]),
        ("not UTF-8", vec![b"Bearer \xff\xfe".to_vec()]),
        ("not ASCII", vec!["Bearer é".as_bytes().to_vec()]),
        (
            "not ASCII behind",
            vec![[&good[..], "é".as_bytes()].concat()],
        ),
        ("no-break space", vec![scheme("Bearer\u{a0}")]),
    ];
    let headers = headers.map(|(what, headers)| (what.to_owned(), headers));
    assert_refused(&server, &headers).await;
}

#[tokio::test]
async fn every_rpc_refuses_a_missing_token_with_the_same_response() {
    let (server, _, _directory) = server(Sqlite, Signing::Hs256).await;

    let mut errors = Vec::new();
    for path in protected_rpcs() {
        let status = call(&server.channel, &path, &[], Vec::new())
            .await
            .unwrap_err();
        let details = status.get_error_details();
        assert_eq!(status.code(), Code::Unauthenticated);
        assert_eq!(details.error_info().unwrap().reason, "ACCESS_TOKEN_MISSING");
        errors.push(ObservableError::of(&status));
    }

    errors.dedup();
    assert_eq!(errors.len(), 1, "{errors:?}");
}

/// The other tests fail because of their tokens only: valid ones are accepted.
#[tokio::test]
async fn every_rpc_accepts_a_valid_token() {
    let (server, _, _directory) = server(Sqlite, Signing::Ed25519).await;
    let scopes = [Scope::StreamsPublish, Scope::RelaysWork];
    let operator = server.operator_token(&scopes).await;

    for path in protected_rpcs() {
        let token = match access::required_access(&path) {
            Some(RequiredAccess::Scopes([Scope::StreamsPublish | Scope::RelaysWork])) => {
                operator.clone()
            }
            // One of these calls ends the session.
            _ => server.user().await.tokens.access_token,
        };
        if let Err(status) = call(&server.channel, &path, &[bearer(&token)], Vec::new()).await {
            let reason = status.get_error_details();
            let reason = &reason.error_info().unwrap().reason;
            assert!(
                ![
                    "ACCESS_TOKEN_INVALID",
                    "ACCESS_TOKEN_MISSING",
                    "SCOPE_MISSING"
                ]
                .contains(&reason.as_str()),
                "{path}: {reason}"
            );
        }
    }
}

//! Every RPC refuses forged tokens, with an error that depends on the text of the header only: it
//! does not tell whether a signature is valid.

use std::{collections::BTreeMap, time::SystemTime};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
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

/// What the text of an `authorization` header shows to be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    SeveralHeaders,
    Scheme,
    ApiKey,
    RefreshToken,
    /// Not three segments with something in each.
    Form,
    /// The `exp` claim is in the past, whatever the signature is.
    Expired,
    /// None of these.
    Other,
}

impl Fault {
    /// The fault of a bearer token that is not valid, from its text alone.
    pub fn of(token: &str) -> Self {
        let token = token.trim();
        let parts: Vec<_> = token.split('.').collect();
        match (token, &*parts) {
            _ if token.starts_with("slk_") => Self::ApiKey,
            _ if token.starts_with("slr_") => Self::RefreshToken,
            (_, [_, claims, _]) if !parts.contains(&"") => {
                match token.len() <= 4096 && has_expired(claims) {
                    true => Self::Expired,
                    false => Self::Other,
                }
            }
            _ => Self::Form,
        }
    }

    /// Headers that have this fault.
    fn example(self) -> Vec<Vec<u8>> {
        match self {
            Self::SeveralHeaders => vec![bearer("x"), bearer("x")],
            Self::Scheme => vec![b"x".to_vec()],
            Self::ApiKey => vec![bearer("slk_x")],
            Self::RefreshToken => vec![bearer("slr_x")],
            Self::Form => vec![bearer("x")],
            // `{"exp":1}`
            Self::Expired => vec![bearer("x.eyJleHAiOjF9.x")],
            Self::Other => vec![bearer("x.y.z")],
        }
    }
}

fn has_expired(claims: &str) -> bool {
    let json = URL_SAFE_NO_PAD.decode(claims).unwrap_or_default();
    let claims: serde_json::Value = serde_json::from_slice(&json).unwrap_or_default();
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let expiry = claims.get("exp").and_then(serde_json::Value::as_i64);
    expiry.is_some_and(|expiry| expiry <= now.as_secs().cast_signed())
}

/// The error of each fault.
pub async fn fault_errors(channel: &Channel) -> BTreeMap<Fault, ObservableError> {
    let mut errors = BTreeMap::new();
    for fault in [
        Fault::SeveralHeaders,
        Fault::Scheme,
        Fault::ApiKey,
        Fault::RefreshToken,
        Fault::Form,
        Fault::Expired,
        Fault::Other,
    ] {
        let answer = call(channel, GET_ME, &fault.example(), Vec::new()).await;
        let status = answer.unwrap_err();
        let details = status.get_error_details();
        assert_eq!(status.code(), Code::Unauthenticated);
        let info = details.error_info().unwrap();
        let reason = match fault {
            Fault::Expired => "ACCESS_TOKEN_EXPIRED",
            Fault::Other => "ACCESS_TOKEN_INVALID",
            _ => "ACCESS_TOKEN_MALFORMED",
        };
        let found = match fault {
            Fault::SeveralHeaders => Some("SEVERAL_HEADERS"),
            Fault::Scheme => Some("NO_BEARER"),
            Fault::ApiKey => Some("API_KEY"),
            Fault::RefreshToken => Some("REFRESH_TOKEN"),
            Fault::Form => Some("NO_JWT"),
            Fault::Expired | Fault::Other => None,
        };
        assert_eq!(info.reason, reason);
        let metadata: Vec<_> = info.metadata.iter().collect();
        let expected = found.map(|found| ("found".to_owned(), found.to_owned()));
        let expected: Vec<_> = expected.iter().map(|(key, value)| (key, value)).collect();
        assert_eq!(metadata, expected);
        errors.insert(fault, ObservableError::of(&status));
    }
    errors
}

/// Calls all protected RPCs with each of these headers; asserts that all get the error of their
/// fault.
async fn assert_refused(server: &TestServer, headers: &[(String, Vec<Vec<u8>>, Fault)]) {
    let expected = fault_errors(&server.channel).await;
    for path in protected_rpcs() {
        for (what, headers, fault) in headers {
            let answer = call(&server.channel, &path, headers, Vec::new()).await;
            let status = answer.expect_err(what);
            assert_eq!(
                ObservableError::of(&status),
                expected[fault],
                "{path}: {what}"
            );
        }
    }
}

#[rstest]
#[tokio::test]
async fn every_rpc_refuses_every_forged_token_with_a_response_that_depends_on_its_text_only(
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
        .map(|(what, token)| (what, vec![bearer(&token)], Fault::of(&token)))
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
    let crossed =
        crossed.map(|(what, token)| (what.to_owned(), vec![bearer(&token)], Fault::Other));
    assert_refused(&server, &crossed).await;
}

#[rstest]
#[tokio::test]
async fn other_credentials_and_malformed_headers_are_refused_by_every_rpc(
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
        (
            "refresh token",
            vec![bearer(&ada.tokens.refresh_token)],
            Fault::RefreshToken,
        ),
        ("API key", vec![bearer(&secret)], Fault::ApiKey),
        (
            "token of a session that ended",
            vec![bearer(&revoked)],
            Fault::Other,
        ),
        ("empty header", vec![Vec::new()], Fault::Scheme),
        ("scheme alone", vec![b"Bearer".to_vec()], Fault::Scheme),
        ("empty bearer", vec![b"Bearer ".to_vec()], Fault::Form),
        ("spaces", vec![b"Bearer    ".to_vec()], Fault::Form),
        ("no scheme", vec![scheme("")], Fault::Scheme),
        ("Basic", vec![scheme("Basic ")], Fault::Scheme),
        ("Token", vec![scheme("Token ")], Fault::Scheme),
        ("DPoP", vec![scheme("DPoP ")], Fault::Scheme),
        ("no space", vec![scheme("Bearer")], Fault::Scheme),
        ("tab", vec![scheme("Bearer\t")], Fault::Scheme),
        ("colon", vec![scheme("Bearer: ")], Fault::Scheme),
        ("equals", vec![scheme("Bearer=")], Fault::Scheme),
        ("two schemes", vec![scheme("Bearer Bearer ")], Fault::Other),
        ("space before", vec![scheme(" Bearer ")], Fault::Scheme),
        (
            "good and good",
            vec![good.clone(), good.clone()],
            Fault::SeveralHeaders,
        ),
        (
            "good and bad",
            vec![good.clone(), b"x".to_vec()],
            Fault::SeveralHeaders,
        ),
        (
            "bad and good",
            vec![b"x".to_vec(), good.clone()],
            Fault::SeveralHeaders,
        ),
        (
            "good and empty",
            vec![good.clone(), Vec::new()],
            Fault::SeveralHeaders,
        ),
        (
            "empty and good",
            vec![Vec::new(), good.clone()],
            Fault::SeveralHeaders,
        ),
        (
            "not UTF-8",
            vec![b"Bearer \xff\xfe".to_vec()],
            Fault::Scheme,
        ),
        (
            "not ASCII",
            vec!["Bearer é".as_bytes().to_vec()],
            Fault::Scheme,
        ),
        (
            "not ASCII behind",
            vec![[&good[..], "é".as_bytes()].concat()],
            Fault::Scheme,
        ),
        (
            "no-break space",
            vec![scheme("Bearer\u{a0}")],
            Fault::Scheme,
        ),
    ];
    let headers = headers.map(|(what, headers, fault)| (what.to_owned(), headers, fault));
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
    let scopes = [
        Scope::StreamsPublish,
        Scope::RelaysWork,
        Scope::OperatorRead,
        Scope::OperatorWrite,
    ];
    let operator = server.operator_token(&scopes).await;

    for path in protected_rpcs() {
        let token = match access::required_access(&path) {
            Some(RequiredAccess::Scopes([scope])) if scopes.contains(scope) => operator.clone(),
            // One of these calls ends the session.
            _ => server.user().await.tokens.access_token,
        };
        if let Err(status) = call(&server.channel, &path, &[bearer(&token)], Vec::new()).await {
            let reason = status.get_error_details();
            let reason = &reason.error_info().unwrap().reason;
            assert!(
                ![
                    "ACCESS_TOKEN_EXPIRED",
                    "ACCESS_TOKEN_INVALID",
                    "ACCESS_TOKEN_MALFORMED",
                    "ACCESS_TOKEN_MISSING",
                    "SCOPE_MISSING"
                ]
                .contains(&reason.as_str()),
                "{path}: {reason}"
            );
        }
    }
}

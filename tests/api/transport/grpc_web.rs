use base64::{Engine as _, prelude::BASE64_STANDARD};
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::ORIGIN,
};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use prost::Message;
use rstest::rstest;
use sluice::proto::v1 as pb;
use tonic::{Code, Status};

use super::{
    http2_connection::{ConnectionEnd, Http2Connection},
    http2_frames::{PROTECTED_RPC, PUBLIC_RPC},
};
use crate::harness::{Process, Sqlite, TestDatabase, TestServer, eventually, refused};

const WEB_ORIGIN: &str = "https://app.example.com";
const ORIGINS_FLAG: &str = "--web-origins=https://app.example.com,http://localhost:3000";

/// Sends a request over HTTP/1.1, as a browser does.
async fn fetch(
    server: &TestServer,
    path: &str,
    headers: &[(&str, &str)],
    method: Method,
    body: &[u8],
) -> Response<Incoming> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let mut request = Request::builder()
        .method(method)
        .uri(format!("http://{}{path}", server.address));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = Full::new(Bytes::copy_from_slice(body));
    client.request(request.body(body).unwrap()).await.unwrap()
}

/// An empty message with its length prefix.
const EMPTY: [u8; 5] = [0; 5];

/// Splits a gRPC-Web body into its messages and its trailers.
fn parts(mut body: &[u8]) -> (Vec<&[u8]>, String) {
    let mut messages = Vec::new();
    while let [flag, a, b, c, d, rest @ ..] = body {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let (part, after) = rest.split_at(length);
        if *flag == 0x80 {
            assert_eq!(after, b"");
            return (messages, String::from_utf8(part.to_vec()).unwrap());
        }
        messages.push(part);
        body = after;
    }
    (messages, String::new())
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

#[rstest]
#[case::binary("application/grpc-web+proto")]
#[case::text("application/grpc-web-text")]
#[tokio::test]
async fn a_grpc_web_call_works_over_http1(#[case] content: &str) {
    let server = TestServer::start_with(Sqlite, &[ORIGINS_FLAG]).await;
    let is_text = content.ends_with("text");
    let text = BASE64_STANDARD.encode(EMPTY);
    let body = if is_text { text.as_bytes() } else { &EMPTY };
    let headers = [
        ("content-type", content),
        ("accept", content),
        ("origin", WEB_ORIGIN),
    ];

    let answer = fetch(&server, PUBLIC_RPC, &headers, Method::POST, body).await;

    assert_eq!(answer.status(), StatusCode::OK);
    let (head, body) = answer.into_parts();
    assert_eq!(
        header(&head.headers, "access-control-allow-origin"),
        Some(WEB_ORIGIN)
    );
    let exposed = header(&head.headers, "access-control-expose-headers").unwrap();
    let named: Vec<_> = exposed.split(',').collect();
    assert_eq!(
        named,
        [
            "grpc-status",
            "grpc-message",
            "grpc-status-details-bin",
            "x-request-id"
        ]
    );
    let mut body = body.collect().await.unwrap().to_bytes().to_vec();
    if is_text {
        // Each frame is encoded and padded on its own.
        let text = String::from_utf8(body).unwrap();
        let parts = text.split_inclusive('=').collect::<Vec<_>>().concat();
        body = decode_all(&parts);
    }
    let (messages, trailers) = parts(&body);
    pb::GetJwksResponse::decode(messages[0]).unwrap();
    assert!(trailers.contains("grpc-status:0"), "{trailers}");
}

/// Decodes concatenated base64 texts.
fn decode_all(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for four in text.as_bytes().chunks(4) {
        bytes.extend(BASE64_STANDARD.decode(four).unwrap());
    }
    bytes
}

#[tokio::test]
async fn a_grpc_web_error_has_its_status_details() {
    let server = TestServer::start_with(Sqlite, &[ORIGINS_FLAG]).await;
    let headers = [
        ("content-type", "application/grpc-web+proto"),
        ("origin", WEB_ORIGIN),
    ];

    let answer = fetch(&server, PROTECTED_RPC, &headers, Method::POST, &EMPTY).await;

    let headers = answer.headers();
    assert_eq!(header(headers, "grpc-status"), Some("16"));
    assert!(header(headers, "grpc-status-details-bin").is_some());
    assert_eq!(header(headers, "x-request-id").unwrap().len(), 36);
}

#[tokio::test]
async fn too_much_metadata_over_http1_is_refused_with_the_reason() {
    let server = TestServer::start_with(Sqlite, &[ORIGINS_FLAG]).await;
    for size in [20_000, 50_000] {
        let large = "a".repeat(size);
        let headers = [
            ("content-type", "application/grpc-web+proto"),
            ("origin", WEB_ORIGIN),
            ("x-large", &*large),
        ];

        let answer = fetch(&server, PUBLIC_RPC, &headers, Method::POST, &EMPTY).await;

        assert_eq!(answer.status(), StatusCode::OK);
        let status = Status::from_header_map(answer.headers()).unwrap();
        let refusal = refused(Err::<tonic::Response<()>, _>(status));
        let class = (Code::ResourceExhausted, "METADATA_TOO_LARGE");
        assert_eq!(refusal.class(), class);
    }
}

#[tokio::test]
async fn a_cors_preflight_allows_only_the_configured_origins() {
    let server = TestServer::start_with(Sqlite, &[ORIGINS_FLAG]).await;
    let preflight = |origin| {
        [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            (
                "access-control-request-headers",
                "authorization,content-type,x-grpc-web",
            ),
        ]
    };

    let answer = fetch(
        &server,
        PROTECTED_RPC,
        &preflight(WEB_ORIGIN),
        Method::OPTIONS,
        b"",
    )
    .await;
    assert_eq!(answer.status(), StatusCode::OK);
    let headers = answer.headers();
    assert_eq!(
        header(headers, "access-control-allow-origin"),
        Some(WEB_ORIGIN)
    );
    assert_eq!(
        header(headers, "access-control-allow-methods"),
        Some("POST")
    );
    let allowed = header(headers, "access-control-allow-headers").unwrap();
    assert!(allowed.contains("authorization"), "{allowed}");
    assert_eq!(header(headers, "access-control-allow-credentials"), None);
    assert!(header(headers, "vary").unwrap().contains(ORIGIN.as_str()));

    for other in [
        "https://evil.example.com",
        "https://app.example.com.evil.com",
        "null",
    ] {
        let answer = fetch(
            &server,
            PROTECTED_RPC,
            &preflight(other),
            Method::OPTIONS,
            b"",
        )
        .await;
        let allowed = header(answer.headers(), "access-control-allow-origin");
        assert_eq!(allowed, None, "{other}");
    }
}

#[tokio::test]
async fn http1_requests_other_than_grpc_web_are_refused() {
    let server = TestServer::start_with(Sqlite, &[ORIGINS_FLAG]).await;

    let get = fetch(&server, "/", &[], Method::GET, b"").await;
    assert_eq!(get.status(), StatusCode::BAD_REQUEST);
    let json = [("content-type", "application/json")];
    let post = fetch(&server, PUBLIC_RPC, &json, Method::POST, b"{}").await;
    assert_eq!(post.status(), StatusCode::BAD_REQUEST);
    // gRPC calls still work.
    server.user().await;
}

#[rstest]
#[case::preflight(Method::OPTIONS)]
#[case::call(Method::POST)]
#[case::other(Method::GET)]
#[tokio::test]
async fn without_web_origins_http1_gets_an_answer_that_names_the_setting(#[case] method: Method) {
    let server = TestServer::start(Sqlite).await;
    let headers = [
        ("content-type", "application/grpc-web+proto"),
        ("origin", WEB_ORIGIN),
    ];

    let answer = fetch(&server, PUBLIC_RPC, &headers, method, &EMPTY).await;

    assert_eq!(answer.status(), StatusCode::HTTP_VERSION_NOT_SUPPORTED);
    assert_eq!(
        header(answer.headers(), "access-control-allow-origin"),
        None
    );
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let text = str::from_utf8(&body).unwrap();
    assert!(text.contains("SLUICE_WEB_ORIGINS"), "{text}");
}

#[tokio::test]
async fn without_web_origins_a_page_gets_an_answer_over_http2_that_names_the_setting() {
    let server = TestServer::start(Sqlite).await;
    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http::<Full<Bytes>>();

    for method in [Method::OPTIONS, Method::POST] {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{PROTECTED_RPC}", server.address))
            .header("origin", WEB_ORIGIN)
            .header("content-type", "application/grpc-web+proto");
        let body = Full::new(Bytes::from_static(&EMPTY));
        let answer = client.request(request.body(body).unwrap()).await.unwrap();

        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let text = str::from_utf8(&body).unwrap();
        assert!(text.contains("SLUICE_WEB_ORIGINS"), "{text}");
    }
    // gRPC calls still work.
    server.user().await;
}

#[rstest]
#[case::without_origins("", "SLUICE_WEB_ORIGINS is not set")]
#[case::with_other_origins("https://other.example.com", "SLUICE_WEB_ORIGINS lacks")]
#[tokio::test]
async fn a_call_of_a_page_that_may_not_call_is_logged_with_its_origin(
    #[case] origins: &str,
    #[case] part: &str,
) {
    let database = TestDatabase::create(Sqlite).await;
    let settings = [("SLUICE_WEB_ORIGINS", origins)];
    let program = Process::serve(&database, &settings);
    let mut raw = Http2Connection::connect(program.address().await).await;

    let request = format!(
        "POST {PUBLIC_RPC} HTTP/1.1\r\nhost: localhost\r\norigin: {WEB_ORIGIN}\r\n\
         content-length: 0\r\n\r\n"
    );
    raw.send(request.as_bytes()).await.unwrap();

    let line = eventually("the call is logged", async || {
        program.log().into_iter().find(|line| line.contains(part))
    })
    .await;
    assert!(line.contains(WEB_ORIGIN), "{line}");
}

#[tokio::test]
async fn without_web_origins_http1_is_refused() {
    let server = TestServer::start(Sqlite).await;
    let mut raw = Http2Connection::connect(server.address).await;

    let request =
        format!("POST {PUBLIC_RPC} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n");
    raw.send(request.as_bytes()).await.unwrap();

    assert_eq!(raw.closed().await, ConnectionEnd::default());
}

#[tokio::test]
async fn every_response_to_a_browser_has_the_security_headers() {
    let server = TestServer::start_with(Sqlite, &[ORIGINS_FLAG]).await;
    let content = ("content-type", "application/grpc-web+proto");
    let origin = ("origin", WEB_ORIGIN);
    let foreign = ("origin", "https://evil.example.com");
    let preflight = ("access-control-request-method", "POST");

    for (what, path, headers, method) in [
        ("a call", PUBLIC_RPC, vec![content, origin], Method::POST),
        (
            "an error",
            PROTECTED_RPC,
            vec![content, origin],
            Method::POST,
        ),
        (
            "an unknown method",
            "/sluice.v1.A/B",
            vec![content, origin],
            Method::POST,
        ),
        (
            "a foreign page",
            PUBLIC_RPC,
            vec![content, foreign],
            Method::POST,
        ),
        (
            "a preflight",
            PUBLIC_RPC,
            vec![origin, preflight],
            Method::OPTIONS,
        ),
        ("a page view", "/", vec![], Method::GET),
    ] {
        let answer = fetch(&server, path, &headers, method, &EMPTY).await;
        for (name, value) in [
            ("cache-control", "no-store"),
            (
                "content-security-policy",
                "default-src 'none'; frame-ancestors 'none'",
            ),
            ("x-content-type-options", "nosniff"),
        ] {
            assert_eq!(header(answer.headers(), name), Some(value), "{what}");
        }
    }
}

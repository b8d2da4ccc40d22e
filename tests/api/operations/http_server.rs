use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{
    harness::{Process, Sqlite, TestDatabase},
    lifecycle::startup::outcome,
};

/// The headers that tell a browser neither to store, nor to show, nor to reinterpret a response.
const SECURITY_HEADERS: [&str; 3] = [
    "cache-control: no-store",
    "content-security-policy: default-src 'none'; frame-ancestors 'none'",
    "x-content-type-options: nosniff",
];

#[tokio::test]
async fn unknown_paths_and_methods_are_refused() {
    let database = TestDatabase::create(Sqlite).await;
    let program = Process::serve(&database, &[]);
    program.channel().await;

    for (method, path, status) in [
        ("GET", "/", 404),
        ("GET", "/debug", 404),
        ("POST", "/log", 405),
        ("PUT", "/metrics", 405),
        ("DELETE", "/readyz", 405),
        ("HEAD", "/livez", 200),
    ] {
        let answer = program.operations(method, path, "").await;
        assert_eq!(answer.status, status, "{method} {path}");
    }
}

#[tokio::test]
async fn a_port_in_use_stops_the_start_with_an_error_that_names_the_variable() {
    let directory = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let settings = [
        ("SLUICE_DATA_DIR", directory.path().to_str().unwrap()),
        ("SLUICE_LISTEN", "127.0.0.1:0"),
        ("SLUICE_OPERATIONS_LISTEN", &*address),
    ];

    let (code, stderr) = outcome(&["serve"], &settings).await;

    assert_eq!(code, Some(1), "{stderr}");
    let last = stderr.lines().last().unwrap();
    assert!(last.starts_with("sluice: cannot listen on"), "{stderr}");
    assert!(last.contains("SLUICE_OPERATIONS_LISTEN"), "{stderr}");
}

#[tokio::test]
async fn the_operations_port_can_be_disabled() {
    let database = TestDatabase::create(Sqlite).await;
    let program = Process::serve(&database, &[("SLUICE_OPERATIONS_LISTEN", "off")]);
    program.channel().await;

    let log = program.log();
    assert!(
        !log.iter().any(|line| line.contains("operations")),
        "{log:?}"
    );
}

#[tokio::test]
async fn silent_connections_are_closed_and_do_not_block_others() {
    let database = TestDatabase::create(Sqlite).await;
    let program = Process::serve(&database, &[]);
    program.channel().await;
    let address = program.operations_address().await;
    let mut silent = Vec::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(b"GET /livez HT").await.unwrap();
        silent.push(stream);
    }

    let answer = program.operations("GET", "/livez", "");
    let answer = timeout(Duration::from_secs(30), answer).await.unwrap();

    assert_eq!(answer.status, 200);
    let mut rest = Vec::new();
    let closed = silent[0].read_to_end(&mut rest);
    assert!(timeout(Duration::from_secs(30), closed).await.is_ok());
}

#[tokio::test]
async fn every_response_has_the_security_headers() {
    let database = TestDatabase::create(Sqlite).await;
    let program = Process::serve(&database, &[]);
    program.channel().await;

    for path in ["/metrics", "/livez", "/readyz", "/log", "/nothing"] {
        let answer = program.operations("GET", path, "").await;
        for header in SECURITY_HEADERS {
            let lines = answer.head.lines().map(str::to_ascii_lowercase);
            assert!(
                lines.into_iter().any(|line| line == header),
                "{path}: {}",
                answer.head
            );
        }
    }
}

//! The server at a Unix socket: its file, its peers and its drain.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::PathBuf,
};

use rstest::rstest;
use sluice::proto::v1 as pb;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};
use tonic::{
    Code, Request,
    transport::{Channel, Endpoint},
};

use super::http2_frames::client_preface;
use crate::harness::{
    Certificate, Client, Engine, Postgres, Process, Signal, Sqlite, TestDatabase, User, Watcher,
    eventually, refused,
};

/// A server with a Unix socket in a folder of its own.
pub struct Fixture {
    pub database: TestDatabase,
    pub folder: TempDir,
    pub server: Process,
}

impl Fixture {
    pub async fn start(engine: Engine, settings: &[(&str, &str)]) -> Self {
        let database = TestDatabase::create(engine).await;
        let folder = tempfile::tempdir().unwrap();
        let listen = format!("unix:{}", folder.path().join("s.sock").display());
        let server = serve(&database, &listen, settings);
        server.channel().await;
        Self {
            database,
            folder,
            server,
        }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("s.sock")
    }

    /// The socket as a setting and as a target of gRPC clients.
    pub fn target(&self) -> String {
        format!("unix:{}", self.path().display())
    }

    /// A new connection.
    async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(self.target()).unwrap();
        endpoint.connect().await.unwrap()
    }
}

fn serve(database: &TestDatabase, listen: &str, settings: &[(&str, &str)]) -> Process {
    let settings = [&[("SLUICE_LISTEN", listen)], settings].concat();
    Process::serve(database, &settings)
}

/// The peer address of the newest audit event.
async fn recorded_address(user: &User) -> String {
    let request = pb::ListAuditEventsRequest::default();
    let answer = user.client.auth.clone().list_audit_events(request).await;
    answer.unwrap().into_inner().audit_events[0]
        .peer_address
        .clone()
}

/// A request with an `x-forwarded-for` header.
fn forwarded<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let header = "198.51.100.7".parse().unwrap();
    request.metadata_mut().insert("x-forwarded-for", header);
    request
}

async fn sign_in_forwarded(channel: &Channel, user: &User) {
    let request = pb::SignInRequest {
        email: user.email.clone(),
        password: user.password.to_owned(),
        ..Default::default()
    };
    let mut auth = Client::anonymous(channel).auth;
    auth.sign_in(forwarded(request)).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn a_server_serves_a_port_and_a_unix_socket_for_its_user_and_group(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let database = TestDatabase::create(engine).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.sock");
    let listen = format!("127.0.0.1:0,unix:{}", path.display());
    let mut server = serve(&database, &listen, &[]);
    let over_tcp = server.channel().await;
    let target = format!("unix:{}", path.display());
    let over_socket = Endpoint::from_shared(target).unwrap();
    let over_socket = over_socket.connect().await.unwrap();

    let metadata = fs::symlink_metadata(&path).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
    let user = User::sign_up(&over_socket).await;
    let (project, _) = user.project().await;
    let request = pb::GetProjectRequest {
        project_id: project.id.clone(),
        ..Default::default()
    };
    let mut client = Client::with_token(&over_tcp, &user.tokens.access_token).project;
    let found = client.get_project(request).await.unwrap().into_inner();
    assert_eq!(found.project.unwrap().id, project.id);

    server.signal(Signal::TERM);
    assert_eq!(server.wait_for_exit().await, Some(0));
    assert!(!path.exists());
}

#[tokio::test]
async fn the_socket_of_a_killed_server_is_replaced() {
    let mut fixture = Fixture::start(Sqlite, &[]).await;
    fixture.server.signal(Signal::KILL);
    fixture.server.wait_for_exit().await;
    assert!(fixture.path().exists());

    let next = serve(&fixture.database, &fixture.target(), &[]);

    next.channel().await;
}

#[rstest]
#[case::in_use("s.sock", "another server listens there")]
#[case::a_file("file", "the file exists and is not a socket")]
#[case::no_folder("none/s.sock", "No such file or directory")]
#[tokio::test]
async fn a_path_that_cannot_be_used_is_an_error_that_names_the_setting(
    #[case] name: &str,
    #[case] reason: &str,
) {
    let fixture = Fixture::start(Sqlite, &[]).await;
    fs::write(fixture.folder.path().join("file"), "text").unwrap();
    let other = TestDatabase::create(Sqlite).await;
    let listen = format!("unix:{}", fixture.folder.path().join(name).display());

    let mut second = serve(&other, &listen, &[]);

    assert_eq!(second.wait_for_exit().await, Some(1));
    let log = second.log().join("\n");
    for part in ["cannot listen on", "(SLUICE_LISTEN)", reason] {
        assert!(log.contains(part), "{part}: {log}");
    }
    assert_eq!(
        fs::read_to_string(fixture.folder.path().join("file")).unwrap(),
        "text"
    );
    User::sign_up(&fixture.channel().await).await;
}

#[tokio::test]
async fn a_path_that_is_too_long_is_an_error_that_names_the_setting() {
    let long = format!("unix:/{}", "s".repeat(107));

    for command in ["serve", "check", "health"] {
        let output = Process::run(Process::command(&[command], &[("SLUICE_LISTEN", &long)])).await;
        assert_eq!(output.exit_code, Some(2), "{output:?}");
        let said = "SLUICE_LISTEN (--";
        assert!(output.stderr.contains(said), "{output:?}");
        assert!(output.stderr.contains("at most 107 bytes"), "{output:?}");
    }
}

#[tokio::test]
async fn all_peers_of_the_socket_share_the_limits_of_one_address() {
    let settings = [("SLUICE_ADDRESS_RATE", "1"), ("SLUICE_ADDRESS_BURST", "20")];
    let fixture = Fixture::start(Sqlite, &settings).await;
    let mut calls = 0;

    let refusal = loop {
        // A header of a peer that is no trusted proxy changes nothing.
        let request = forwarded(pb::GetJwksRequest {});
        let mut auth = Client::anonymous(&fixture.channel().await).auth;
        match auth.get_jwks(request).await {
            Ok(_) => calls += 1,
            refused_call => break refused(refused_call),
        }
        assert!(calls < 200, "never limited");
    };

    assert_eq!(refusal.class(), (Code::ResourceExhausted, "RATE_LIMITED"));
}

#[tokio::test]
async fn connections_of_the_socket_are_counted_as_those_of_one_address() {
    let settings = [("SLUICE_MAX_ADDRESS_CONNECTIONS", "4")];
    let fixture = Fixture::start(Sqlite, &settings).await;
    let mut held = Vec::new();

    // The harness holds connections too.
    let is_closed = loop {
        let mut connection = UnixStream::connect(fixture.path()).await.unwrap();
        let mut answer = [0];
        let written = connection.write_all(&client_preface()).await;
        let read = connection.read(&mut answer).await;
        if written.is_err() || !matches!(read, Ok(1)) {
            break true;
        }
        held.push(connection);
        if held.len() > 4 {
            break false;
        }
    };

    assert!(is_closed);
}

#[rstest]
#[tokio::test]
async fn a_peer_of_the_socket_has_no_address_unless_it_is_a_trusted_proxy(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[values(false, true)] is_trusted: bool,
) {
    let trusted = [
        ("SLUICE_TRUSTED_PROXIES", "unix"),
        ("SLUICE_MAX_ADDRESS_CONNECTIONS", "1"),
    ];
    let settings = if is_trusted { &trusted[..] } else { &[] };
    let fixture = Fixture::start(engine, settings).await;
    let channel = fixture.channel().await;
    let user = User::sign_up(&channel).await;
    assert_eq!(recorded_address(&user).await, "");

    sign_in_forwarded(&channel, &user).await;

    let expected = if is_trusted { "198.51.100.7" } else { "" };
    assert_eq!(recorded_address(&user).await, expected);
}

#[rstest]
#[tokio::test]
async fn calls_over_the_socket_end_with_the_drain(#[values(Sqlite, Postgres)] engine: Engine) {
    let mut fixture = Fixture::start(engine, &[]).await;
    let user = User::sign_up(&fixture.channel().await).await;
    let (project, _) = user.project().await;
    let (_, mut watcher) = Watcher::start_synced(&user.client, &project.id).await;

    fixture.server.signal(Signal::TERM);

    let (refusal, _) = watcher.wait_for_end().await;
    assert_eq!(refusal.reason, "DRAINING");
    assert_eq!(fixture.server.wait_for_exit().await, Some(0));
    assert!(!fixture.path().exists());
}

#[tokio::test]
async fn the_socket_is_plain_beside_tls() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::make(folder.path()).await;
    let settings = [
        ("SLUICE_TLS_CERT", certificate.file.to_str().unwrap()),
        ("SLUICE_TLS_KEY", certificate.key.to_str().unwrap()),
    ];
    let fixture = Fixture::start(Sqlite, &settings).await;

    User::sign_up(&fixture.channel().await).await;
}

#[tokio::test]
async fn http1_over_the_socket_gets_the_sentence_that_refuses_it() {
    let fixture = Fixture::start(Sqlite, &[]).await;

    let answer = eventually("the server answers", async || {
        let mut connection = UnixStream::connect(fixture.path()).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
        connection.write_all(request).await.ok()?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    })
    .await;

    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
    assert!(answer.contains("SLUICE_WEB_ORIGINS"), "{answer}");
}

use std::{fs, path::Path, time::Duration};

use sluice::proto::v1 as pb;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    http2_connection::{ConnectionEnd, Http2Connection},
    http2_frames::client_preface,
    tls_client::{certificate, channel, client, connect},
};
use crate::harness::{Certificate, Client, Sqlite, TestDatabase, TestServer, eventually};

/// The timeout for the server to close a connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(20);

/// A server with a certificate, reached by a client that trusts it.
struct TlsServer {
    server: TestServer,
    own: Certificate,
}

impl TlsServer {
    async fn start(flags: &[&str]) -> Self {
        let database = TestDatabase::create(Sqlite).await;
        let own = Certificate::make(database.directory.path()).await;
        let files = [
            format!("--tls-cert={}", own.file.display()),
            format!("--tls-key={}", own.key.display()),
        ];
        let flags: Vec<_> = files
            .iter()
            .map(|flag| &**flag)
            .chain(flags.iter().copied())
            .collect();
        let server = TestServer::start_with_channel(database, &flags, |address| {
            channel(client(&[&own], None), address)
        })
        .await;
        Self { server, own }
    }
}

/// Another certificate, in a folder of its own.
async fn other(under: &Path, name: &str) -> Certificate {
    let folder = under.join(name);
    fs::create_dir(&folder).unwrap();
    Certificate::make(&folder).await
}

#[tokio::test]
async fn with_a_certificate_only_tls_connections_are_accepted() {
    let TlsServer { server, own } = TlsServer::start(&[]).await;

    let user = server.user().await;
    let me = user.client.auth.clone().get_me(pb::GetMeRequest {}).await;
    assert_eq!(me.unwrap().into_inner().user.unwrap().id, user.user.id);

    let stream = connect(&client(&[&own], None), server.address)
        .await
        .unwrap();
    let (_, session) = stream.get_ref();
    assert_eq!(session.alpn_protocol(), Some(&b"h2"[..]));
    let mut clear = Http2Connection::connect(server.address).await;
    clear.send(&client_preface()).await.unwrap();
    let mut rest = Vec::new();
    // A TLS alert, and the end.
    let read = timeout(CLOSE_TIMEOUT, clear.stream.read_to_end(&mut rest)).await;
    assert!(read.is_ok());
    assert!(rest.len() < 10, "{rest:?}");
}

#[tokio::test]
async fn an_incomplete_tls_handshake_times_out() {
    let TlsServer { server, own } = TlsServer::start(&["--handshake-timeout=1s"]).await;
    let mut waiting = Vec::new();
    for length in 0..50 {
        let mut raw = Http2Connection::connect(server.address).await;
        // The beginning of a record of 512 bytes with a ClientHello.
        let mut start = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
        start.resize(11 + length, 7);
        raw.send(&start[..length]).await.unwrap();
        waiting.push(raw);
    }
    // This one completes the TLS handshake and sends no preface.
    let mut silent = connect(&client(&[&own], None), server.address)
        .await
        .unwrap();

    for raw in waiting {
        assert_eq!(raw.closed().await, ConnectionEnd::default());
    }
    let mut rest = Vec::new();
    let read = timeout(CLOSE_TIMEOUT, silent.read_to_end(&mut rest)).await;
    assert!(read.is_ok());
    server
        .anonymous()
        .auth
        .get_jwks(pb::GetJwksRequest {})
        .await
        .unwrap();
}

#[tokio::test]
async fn a_new_certificate_is_loaded_without_a_failed_call() {
    let TlsServer { server, own } = TlsServer::start(&[]).await;
    let folder = server.database.directory.path();
    let new = other(folder, "new").await;
    let broken = other(folder, "broken").await;
    let old = Certificate {
        file: folder.join("old.pem"),
        key: own.key.clone(),
    };
    fs::copy(&own.file, &old.file).unwrap();
    let both = client(&[&old, &new], None);
    let served = async || {
        let stream = connect(&both, server.address).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0]
            .clone()
            .into_owned()
    };
    let stop = CancellationToken::new();
    let (address, clients, stopped) = (server.address, both.clone(), stop.clone());
    let (kept, calls) = (
        server.anonymous(),
        tokio::spawn(async move {
            while !stopped.is_cancelled() {
                let fresh = Client::anonymous(&channel(clients.clone(), address));
                let mut auth = fresh.auth.clone();
                auth.get_jwks(pb::GetJwksRequest {}).await.unwrap();
            }
        }),
    );

    fs::write(&own.file, "no certificate").unwrap();
    fs::copy(&broken.key, &own.key).unwrap();
    assert_eq!(served().await, certificate(&old));
    fs::copy(&new.file, &own.file).unwrap();
    fs::copy(&new.key, &own.key).unwrap();
    eventually("the new certificate is served", async || {
        (served().await == certificate(&new)).then_some(())
    })
    .await;

    stop.cancel();
    calls.await.unwrap();
    kept.auth
        .clone()
        .get_jwks(pb::GetJwksRequest {})
        .await
        .unwrap();
}

#[tokio::test]
async fn with_an_expired_certificate_connections_fail_until_its_files_are_replaced() {
    let TlsServer { server, own } = TlsServer::start(&[]).await;
    let folder = server.database.directory.path().join("expired");
    fs::create_dir(&folder).unwrap();
    let expired = Certificate::make_expired(&folder).await;
    let valid = other(server.database.directory.path(), "valid").await;
    let both = client(&[&expired, &valid], None);

    fs::copy(&expired.file, &own.file).unwrap();
    fs::copy(&expired.key, &own.key).unwrap();
    eventually("connections fail", async || {
        let failed = connect(&both, server.address).await.err()?.to_string();
        failed.contains("expired").then_some(())
    })
    .await;

    fs::copy(&valid.file, &own.file).unwrap();
    fs::copy(&valid.key, &own.key).unwrap();
    eventually("connections succeed", async || {
        connect(&both, server.address).await.ok()
    })
    .await;
    let served = Client::anonymous(&channel(both, server.address));
    let mut auth = served.auth.clone();
    auth.get_jwks(pb::GetJwksRequest {}).await.unwrap();
}

#[tokio::test]
async fn mutual_tls_refuses_clients_without_a_trusted_certificate() {
    let database = TestDatabase::create(Sqlite).await;
    let folder = database.directory.path().to_owned();
    let own = Certificate::make(&folder).await;
    let known = other(&folder, "known").await;
    let unknown = other(&folder, "unknown").await;
    let flags = [
        format!("--tls-cert={}", own.file.display()),
        format!("--tls-key={}", own.key.display()),
        format!("--tls-client-ca={}", known.file.display()),
    ];
    let flags: Vec<_> = flags.iter().map(|flag| &**flag).collect();

    let server = TestServer::start_with_channel(database, &flags, |address| {
        channel(client(&[&own], Some(&known)), address)
    })
    .await;

    server.user().await;
    for presented in [None, Some(&unknown)] {
        let untrusted = client(&[&own], presented);
        // With TLS 1.3 the client learns of the refusal only when it reads.
        let mut received = Vec::new();
        if let Ok(mut stream) = connect(&untrusted, server.address).await {
            let _ = stream.write_all(&client_preface()).await;
            let read = timeout(CLOSE_TIMEOUT, stream.read_to_end(&mut received)).await;
            read.expect("the server closes the connection").unwrap_err();
        }
        assert_eq!(received, b"");
        let untrusted = Client::anonymous(&channel(untrusted, server.address));
        untrusted
            .auth
            .clone()
            .get_jwks(pb::GetJwksRequest {})
            .await
            .unwrap_err();
    }
}

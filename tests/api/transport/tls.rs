use std::{fs, path::Path, time::Duration};

use sluice::proto::v1 as pb;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    http2_connection::{Ending, Raw},
    http2_frames::hello,
    tls_client::{certificate, channel, client, connect},
};
use crate::harness::{Certificate, Client, Engine, Sqlite, TestDatabase, TestServer, eventually};

/// What does not happen in this time never does.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server with a certificate, and a client that trusts it.
struct Encrypted {
    server: TestServer,
    own: Certificate,
}

impl Encrypted {
    async fn start(engine: Engine, flags: &[&str]) -> Self {
        let database = TestDatabase::create(engine).await;
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
        let server = TestServer::reached(database, &flags, |address| {
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
    let Encrypted { server, own } = Encrypted::start(Sqlite, &[]).await;

    let user = server.user().await;
    let me = user.client.auth.clone().get_me(pb::GetMeRequest {}).await;
    assert_eq!(me.unwrap().into_inner().user.unwrap().id, user.user.id);

    let stream = connect(&client(&[&own], None), server.address)
        .await
        .unwrap();
    let (_, session) = stream.get_ref();
    assert_eq!(session.alpn_protocol(), Some(&b"h2"[..]));
    let mut clear = Raw::connect(server.address).await;
    clear.send(&hello()).await.unwrap();
    let mut rest = Vec::new();
    // An alert of TLS, and the end.
    let read = timeout(PATIENCE, clear.stream.read_to_end(&mut rest)).await;
    assert!(read.is_ok());
    assert!(rest.len() < 10, "{rest:?}");
}

#[tokio::test]
async fn an_incomplete_tls_handshake_times_out() {
    let Encrypted { server, own } = Encrypted::start(Sqlite, &["--handshake-timeout=1s"]).await;
    let mut waiting = Vec::new();
    for length in 0..50 {
        let mut raw = Raw::connect(server.address).await;
        // A record of 512 bytes that says hello, and ends too early.
        let mut start = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
        start.resize(11 + length, 7);
        raw.send(&start[..length]).await.unwrap();
        waiting.push(raw);
    }
    // This one shakes hands, and says nothing inside.
    let mut silent = connect(&client(&[&own], None), server.address)
        .await
        .unwrap();

    for raw in waiting {
        assert_eq!(raw.ended().await, Ending::default());
    }
    let mut rest = Vec::new();
    let read = timeout(PATIENCE, silent.read_to_end(&mut rest)).await;
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
    let Encrypted { server, own } = Encrypted::start(Sqlite, &[]).await;
    let folder = server.database.directory.path();
    let new = other(folder, "new").await;
    let broken = other(folder, "broken").await;
    let was = Certificate {
        file: folder.join("was.pem"),
        key: own.key.clone(),
    };
    fs::copy(&own.file, &was.file).unwrap();
    let both = client(&[&was, &new], None);
    let shown = async || {
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
    assert_eq!(shown().await, certificate(&was));
    fs::copy(&new.file, &own.file).unwrap();
    fs::copy(&new.key, &own.key).unwrap();
    eventually("the new certificate is shown", async || {
        (shown().await == certificate(&new)).then_some(())
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

    let server = TestServer::reached(database, &flags, |address| {
        channel(client(&[&own], Some(&known)), address)
    })
    .await;

    server.user().await;
    for shows in [None, Some(&unknown)] {
        let stranger = client(&[&own], shows);
        // With TLS 1.3 the client learns of it only when it reads.
        let mut said = Vec::new();
        if let Ok(mut stream) = connect(&stranger, server.address).await {
            let _ = stream.write_all(&hello()).await;
            let read = timeout(PATIENCE, stream.read_to_end(&mut said)).await;
            read.expect("it hangs up").unwrap_err();
        }
        assert_eq!(said, b"");
        let stranger = Client::anonymous(&channel(stranger, server.address));
        stranger
            .auth
            .clone()
            .get_jwks(pb::GetJwksRequest {})
            .await
            .unwrap_err();
    }
}

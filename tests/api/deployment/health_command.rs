use std::{net::SocketAddr, sync::Arc};

use rstest::rstest;
use tempfile::TempDir;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use crate::harness::{
    Certificate, Engine, Postgres, Process, Said, Signal, Sqlite, TestDatabase, TestServer,
};

/// `sluice health` for an address.
async fn health(address: SocketAddr, arguments: &[&str]) -> Said {
    let address = format!("--address={address}");
    let words: Vec<_> = ["health", &*address]
        .into_iter()
        .chain(arguments.iter().copied())
        .collect();
    Process::said(Process::command(&words, &[])).await
}

/// A proxy that terminates TLS for a server.
async fn tls_proxy(server: SocketAddr, certificate: &Certificate) -> SocketAddr {
    let chain = CertificateDer::pem_file_iter(&certificate.file).unwrap();
    let key = PrivateKeyDer::from_pem_file(&certificate.key).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.map(Result::unwrap).collect(), key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            // Clients that do not trust the certificate abort the handshake.
            if let Ok(mut near) = acceptor.accept(near).await {
                let mut far = TcpStream::connect(server).await.unwrap();
                let _ = copy_bidirectional(&mut near, &mut far).await;
            }
        }
    });
    address
}

#[rstest]
#[tokio::test]
async fn a_serving_server_is_healthy(#[values(Sqlite, Postgres)] engine: Engine) {
    let server = TestServer::start(engine).await;

    let said = health(server.address, &[]).await;
    assert_eq!(said.code, Some(0), "{}", said.errors);
    assert_eq!(said.output, format!("{} serves\n", server.address));

    let said = health(server.address, &["--service=sluice.v1.AuthService"]).await;
    assert_eq!(said.code, Some(0), "{}", said.errors);
    let said = health(server.address, &["--service=sluice.v1.NoService"]).await;
    assert_eq!(said.code, Some(1), "{}", said.output);
}

#[tokio::test]
async fn the_address_defaults_to_the_listen_setting_and_the_wildcard_means_loopback() {
    let server = TestServer::start(Sqlite).await;
    let listen = format!("0.0.0.0:{}", server.address.port());

    let said = Process::said(Process::command(
        &["health"],
        &[("SLUICE_LISTEN", &*listen)],
    ))
    .await;

    assert_eq!(said.code, Some(0), "{}", said.errors);
    assert_eq!(said.output, format!("{} serves\n", server.address));
}

#[tokio::test]
async fn a_draining_server_is_not_healthy() {
    let database = TestDatabase::create(Sqlite).await;
    let mut program = Process::serve(&database, &[("SLUICE_DRAIN_DELAY", "1min")]);
    program.channel().await;
    let address = program.address().await.parse().unwrap();
    program.signal(Signal::TERM);

    let said = crate::harness::eventually("the server is draining", async || {
        let said = health(address, &[]).await;
        (said.code == Some(1)).then_some(said)
    })
    .await;

    assert_eq!(said.errors, format!("sluice: {address} does not serve\n"));
    program.signal(Signal::TERM);
    program.ended().await;
}

#[tokio::test]
async fn an_unresponsive_server_is_not_healthy() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let said = health(address, &["--timeout=200ms"]).await;
    assert_eq!(said.code, Some(1));
    assert_eq!(
        said.errors,
        format!("sluice: cannot ask {address}: no answer in time\n")
    );

    drop(silent);
    let said = health(address, &[]).await;
    assert_eq!(said.code, Some(1));
    let sentence = format!("sluice: cannot ask {address}: ");
    assert!(said.errors.starts_with(&sentence), "{}", said.errors);
}

#[tokio::test]
async fn over_tls_only_a_server_with_a_trusted_certificate_is_healthy() {
    let server = TestServer::start(Sqlite).await;
    let (folder, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let certificate = Certificate::make(folder.path()).await;
    let stranger = Certificate::make(other.path()).await;
    let address = tls_proxy(server.address, &certificate).await;
    let ca = |certificate: &Certificate| format!("--ca={}", certificate.file.display());
    let (right, wrong) = (ca(&certificate), ca(&stranger));

    let said = health(address, &[&right, "--server-name=localhost"]).await;
    assert_eq!(said.code, Some(0), "{}", said.errors);
    for arguments in [
        &[&*wrong, "--server-name=localhost"][..],
        &[&*right, "--server-name=other.example.com"],
        &[&*right],
        &[],
    ] {
        let said = health(address, arguments).await;
        assert_eq!(said.code, Some(1), "{arguments:?}: {}", said.output);
    }
    let said = health(address, &["--ca=/no/such/file"]).await;
    assert!(said.errors.contains("(--ca)"), "{}", said.errors);
}

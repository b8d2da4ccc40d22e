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
    Certificate, CommandOutput, Engine, Postgres, Process, Signal, Sqlite, TestDatabase, TestServer,
};

/// `sluice health` for an address.
async fn health(address: SocketAddr, arguments: &[&str]) -> CommandOutput {
    let address = format!("--address={address}");
    let words: Vec<_> = ["health", &*address]
        .into_iter()
        .chain(arguments.iter().copied())
        .collect();
    Process::run(Process::command(&words, &[])).await
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

    let output = health(server.address, &[]).await;
    assert_eq!(output.exit_code, Some(0), "{}", output.stderr);
    assert_eq!(output.stdout, format!("{} serves\n", server.address));

    let output = health(server.address, &["--service=sluice.v1.AuthService"]).await;
    assert_eq!(output.exit_code, Some(0), "{}", output.stderr);
    let output = health(server.address, &["--service=sluice.v1.NoService"]).await;
    assert_eq!(output.exit_code, Some(1), "{}", output.stdout);
}

#[tokio::test]
async fn the_address_defaults_to_the_listen_setting_and_the_wildcard_means_loopback() {
    let server = TestServer::start(Sqlite).await;
    let listen = format!("0.0.0.0:{}", server.address.port());

    let output = Process::run(Process::command(
        &["health"],
        &[("SLUICE_LISTEN", &*listen)],
    ))
    .await;

    assert_eq!(output.exit_code, Some(0), "{}", output.stderr);
    assert_eq!(output.stdout, format!("{} serves\n", server.address));
}

#[tokio::test]
async fn a_draining_server_is_not_healthy() {
    let database = TestDatabase::create(Sqlite).await;
    let mut program = Process::serve(&database, &[("SLUICE_DRAIN_DELAY", "1min")]);
    program.channel().await;
    let address = program.address().await.parse().unwrap();
    program.signal(Signal::TERM);

    let output = crate::harness::eventually("the server is draining", async || {
        let output = health(address, &[]).await;
        (output.exit_code == Some(1)).then_some(output)
    })
    .await;

    assert_eq!(output.stderr, format!("sluice: {address} does not serve\n"));
    program.signal(Signal::TERM);
    program.wait_for_exit().await;
}

#[tokio::test]
async fn an_unresponsive_server_is_not_healthy() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let output = health(address, &["--timeout=200ms"]).await;
    assert_eq!(output.exit_code, Some(1));
    assert_eq!(
        output.stderr,
        format!("sluice: cannot ask {address}: no answer in time\n")
    );

    drop(silent);
    let output = health(address, &[]).await;
    assert_eq!(output.exit_code, Some(1));
    let sentence = format!("sluice: cannot ask {address}: ");
    assert!(output.stderr.starts_with(&sentence), "{}", output.stderr);
}

/// A server with a certificate, and the settings that it shares with the check.
async fn tls_server(
    certificate: &Certificate,
    client_ca: Option<&Certificate>,
) -> (Process, TestDatabase, Vec<(&'static str, String)>) {
    let database = TestDatabase::create(Sqlite).await;
    let path = |file: &std::path::Path| file.to_str().unwrap().to_owned();
    let mut settings = vec![
        ("SLUICE_TLS_CERT", path(&certificate.file)),
        ("SLUICE_TLS_KEY", path(&certificate.key)),
    ];
    settings.extend(client_ca.map(|ca| ("SLUICE_TLS_CLIENT_CA", path(&ca.file))));
    let given: Vec<_> = settings
        .iter()
        .map(|(name, value)| (*name, &**value))
        .collect();
    let server = Process::serve(&database, &given);
    let address = server.address().await;
    let (_, port) = address.rsplit_once(':').unwrap();
    settings.push(("SLUICE_LISTEN", format!("0.0.0.0:{port}")));
    (server, database, settings)
}

/// `sluice health` with settings; waits until a starting server serves.
async fn health_with(settings: &[(&str, String)], arguments: &[&str]) -> CommandOutput {
    let settings: Vec<_> = settings
        .iter()
        .map(|(name, value)| (*name, &**value))
        .collect();
    let words = [&["health"], arguments].concat();
    let mut output = Process::run(Process::command(&words, &settings)).await;
    while output.stderr.contains("does not serve") {
        output = Process::run(Process::command(&words, &settings)).await;
    }
    output
}

#[tokio::test]
async fn with_the_tls_settings_of_the_server_it_is_healthy() {
    let (folder, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let certificate = Certificate::make(folder.path()).await;
    let stranger = Certificate::make(other.path()).await;
    let (_server, _database, settings) = tls_server(&certificate, None).await;

    // Neither the name nor the issuer of the certificate matters.
    let output = health_with(&settings, &[]).await;
    assert_eq!(output.exit_code, Some(0), "{output:?}");

    // Only the server's own certificate is accepted, also one with the same names.
    let wrong = format!("--tls-cert={}", stranger.file.display());
    let output = health_with(&settings, &[&wrong]).await;
    assert_eq!(output.exit_code, Some(1), "{output:?}");
    assert!(output.stderr.contains("another certificate"), "{output:?}");
}

#[tokio::test]
async fn a_server_that_has_the_certificate_without_its_key_is_not_believed() {
    let (folder, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let certificate = Certificate::make(folder.path()).await;
    let stranger = Certificate::make(other.path()).await;
    let server = TestServer::start(Sqlite).await;
    let address = tls_proxy(server.address, &stranger).await;

    let output = health(
        address,
        &[&format!("--tls-cert={}", certificate.file.display())],
    )
    .await;

    assert_eq!(output.exit_code, Some(1), "{output:?}");
}

#[tokio::test]
async fn a_server_that_requires_client_certificates_is_asked_with_one() {
    let (folder, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let certificate = Certificate::make(folder.path()).await;
    let client = Certificate::make(other.path()).await;
    let (_server, _database, settings) = tls_server(&certificate, Some(&client)).await;

    let own = [
        format!("--client-cert={}", client.file.display()),
        format!("--client-key={}", client.key.display()),
    ];
    let output = health_with(&settings, &[&own[0], &own[1]]).await;
    assert_eq!(output.exit_code, Some(0), "{output:?}");
    // By default it presents the server's certificate, which this server does not accept.
    let output = health_with(&settings, &[]).await;
    assert_eq!(output.exit_code, Some(1), "{output:?}");

    let (_server, _database, settings) = tls_server(&certificate, Some(&certificate)).await;
    let output = health_with(&settings, &[]).await;
    assert_eq!(output.exit_code, Some(0), "{output:?}");
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

    let output = health(address, &[&right, "--server-name=localhost"]).await;
    assert_eq!(output.exit_code, Some(0), "{}", output.stderr);
    for arguments in [
        &[&*wrong, "--server-name=localhost"][..],
        &[&*right, "--server-name=other.example.com"],
        &[&*right],
        &[],
    ] {
        let output = health(address, arguments).await;
        assert_eq!(
            output.exit_code,
            Some(1),
            "{arguments:?}: {}",
            output.stdout
        );
    }
    let output = health(address, &["--ca=/no/such/file"]).await;
    assert!(output.stderr.contains("(--ca)"), "{}", output.stderr);
}

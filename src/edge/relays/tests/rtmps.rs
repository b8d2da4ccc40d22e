use std::{net::Ipv4Addr, process::Command, sync::Arc};

use rstest::rstest;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    hooks::Hooks,
    rig::{KEY, Nginx, Worker, publish},
};
use crate::proto::v1::{Relay, RelayAssignment, RelayErrorSeverity};

/// A TLS server in front of nginx, with a self-signed certificate.
pub(super) struct Terminator {
    port: u16,
    pub(super) certificate: CertificateDer<'static>,
    _task: AbortOnDropHandle<()>,
    _folder: TempDir,
}

impl Terminator {
    /// With a certificate for a host that is valid for this number of days.
    pub(super) async fn start(behind: u16, host: &str, days: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name| folder.path().join(name);
        std::fs::write(file("extensions"), extensions(host)).unwrap();
        let csr = [
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ];
        // Authorities of the platform may have the name of a host.
        let names = [
            "-subj",
            "/O=Relay tests",
            "-keyout",
            "key.pem",
            "-out",
            "csr",
        ];
        let csr = [&csr[..], &names].concat();
        let sign = [
            "x509", "-req", "-in", "csr", "-signkey", "key.pem", "-days", days,
        ];
        let out = ["-extfile", "extensions", "-out", "certificate.pem"];
        for arguments in [csr, [&sign[..], &out].concat()] {
            let mut openssl = Command::new("openssl");
            let made = openssl.args(arguments).current_dir(folder.path()).output();
            assert!(made.unwrap().status.success());
        }
        let certificate = CertificateDer::from_pem_file(file("certificate.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(file("key.pem")).unwrap();
        let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let task = tokio::spawn(async move {
            while let Ok((outside, _)) = listener.accept().await {
                let Ok(mut outside) = acceptor.accept(outside).await else {
                    continue;
                };
                let inside = TcpStream::connect((Ipv4Addr::LOCALHOST, behind)).await;
                let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside.unwrap()).await;
            }
        });
        Self {
            port,
            certificate,
            _task: AbortOnDropHandle::new(task),
            _folder: folder,
        }
    }

    pub(super) fn url(&self) -> String {
        format!("rtmps://localhost:{}/live", self.port)
    }
}

fn extensions(host: &str) -> String {
    format!("subjectAltName=DNS:{host}\nbasicConstraints=critical,CA:FALSE\n")
}

#[tokio::test]
async fn media_flows_over_tls_with_a_private_authority_that_is_trusted() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let terminator = Terminator::start(nginx.port, "localhost", "2").await;
    let _publisher = publish(&nginx.source());
    let worker = Worker::trusting(vec![terminator.certificate.clone()]);
    let relay = worker.relay(&nginx.source(), &terminator.url());

    relay.has_sent(10_000).await;
    let asked = hooks.heard().remove(0);
    let address = format!("tcurl=rtmps://localhost:{}/live&", terminator.port);
    let name = format!("&name={KEY}&");
    assert!(asked.contains(&address) && asked.contains(&name), "{asked}");
    relay.end().await;
}

#[rstest]
#[case::unknown_authority("localhost", "2", false, "unknown authority")]
#[case::expired("localhost", "-1", true, "has expired")]
#[case::another_host("another.example", "2", true, "another host name")]
#[tokio::test]
async fn an_invalid_certificate_is_not_sent_to_and_named(
    #[case] host: &str,
    #[case] days: &str,
    #[case] is_trusted: bool,
    #[case] words: &str,
) {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let terminator = Terminator::start(nginx.port, host, days).await;
    let authorities = is_trusted.then(|| terminator.certificate.clone());
    let worker = Worker::trusting(authorities.into_iter().collect());

    let failure = worker
        .relay(&nginx.source(), &terminator.url())
        .failure()
        .await;
    assert_eq!(failure.code, "TLS_FAILED");
    assert_eq!(failure.severity, RelayErrorSeverity::Fatal);
    assert!(failure.message.contains(words), "{}", failure.message);
    assert!(hooks.heard().is_empty());
}

#[tokio::test]
async fn a_certificate_that_expires_while_a_stream_lives_is_not_final() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let terminator = Terminator::start(nginx.port, "localhost", "-1").await;
    let worker = Worker::trusting(vec![terminator.certificate.clone()]);

    // As the control plane assigns it after a failure.
    let relay = worker.assign(RelayAssignment {
        relay: Some(Relay {
            last_progress_time: Some(prost_types::Timestamp::default()),
            ..Default::default()
        }),
        input_url: nginx.source(),
        output_server_url: terminator.url(),
        output_stream_key: KEY.to_owned(),
        ..Default::default()
    });
    let failure = relay.failure().await;
    assert_eq!(failure.code, "TLS_FAILED");
    assert_eq!(failure.severity, RelayErrorSeverity::Retryable);
}

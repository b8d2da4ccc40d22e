use std::{net::Ipv4Addr, process::Command, sync::Arc};

use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    hooks::Hooks,
    rig::{Nginx, eventually, fault_of, open_policy, publish},
};
use crate::{
    domain::Secret,
    edge::relays::carrier::{Carrier, Output},
    proto::v1::RelayErrorSeverity,
};

/// What takes TLS off before nginx, with a certificate for `localhost` that it vouches
/// for itself.
struct Terminator {
    port: u16,
    certificate: CertificateDer<'static>,
    _task: AbortOnDropHandle<()>,
    _folder: TempDir,
}

impl Terminator {
    async fn start(behind: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name| folder.path().join(name);
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
            ])
            .args(["-nodes", "-days", "2", "-subj", "/CN=localhost"])
            .args(["-addext", "subjectAltName=DNS:localhost"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-keyout")
            .arg(file("key.pem"))
            .arg("-out")
            .arg(file("certificate.pem"))
            .output();
        assert!(made.unwrap().status.success());
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
                let mut inside = TcpStream::connect((Ipv4Addr::LOCALHOST, behind))
                    .await
                    .unwrap();
                let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
            }
        });
        Self {
            port,
            certificate,
            _task: AbortOnDropHandle::new(task),
            _folder: folder,
        }
    }

    fn url(&self) -> Secret {
        Secret::new(format!("rtmps://localhost:{}/live/k3y", self.port))
    }
}

#[tokio::test]
async fn over_tls_the_true_name_comes_as_well() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let terminator = Terminator::start(nginx.port).await;
    let mut roots = RootCertStore::empty();
    roots.add(terminator.certificate.clone()).unwrap();
    let output = Output::Joined(terminator.url());
    let roots = Some(roots.into());
    let carrier = Carrier::sending_over(&output, &open_policy(), roots).await;
    let carrier = carrier.unwrap();
    let _ffmpeg = publish(&carrier);

    eventually("media flows", async || carrier.bytes() > 0).await;
    let asked = hooks.heard().remove(0);
    let address = format!("tcurl=rtmps://localhost:{}/live&", terminator.port);
    assert!(
        asked.contains(&address) && asked.contains("&name=k3y"),
        "{asked}"
    );
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_not_sent_to() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let terminator = Terminator::start(nginx.port).await;
    let carrier = Carrier::sending(&Output::Joined(terminator.url()), &open_policy())
        .await
        .unwrap();
    let _ffmpeg = publish(&carrier);

    let fault = fault_of(&carrier).await;
    assert_eq!(fault.code, "TLS_FAILED");
    assert_eq!(fault.severity, RelayErrorSeverity::Fatal);
    assert!(hooks.heard().is_empty());
}

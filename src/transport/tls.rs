use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use parking_lot::Mutex;
use ring::digest;
use tokio::{task::spawn_blocking, time::sleep};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::{CryptoProvider, ring as ring_provider},
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    },
};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use crate::{domain::Time, error::with_causes, telemetry::metrics::SERVER};

/// The interval at which the files are checked for changes.
const RELOAD_INTERVAL: Duration = Duration::from_secs(2);

/// The paths of the server's TLS files.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate and its chain, in PEM.
    pub certificate: PathBuf,
    /// The private key, in PEM.
    pub key: PathBuf,
    /// The authorities of client certificates, in PEM; `Some` makes them mandatory.
    pub client_ca: Option<PathBuf>,
}

/// The contents of the files.
struct TlsMaterial {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    client_ca: Option<Vec<u8>>,
}

impl TlsFiles {
    /// Checks that the files are usable. The error names the setting.
    pub fn check(&self) -> anyhow::Result<()> {
        self.read()?.config(&[])?;
        Ok(())
    }

    /// When the certificate expires; `None` if that cannot be read.
    pub fn expire_time(&self) -> Option<Time> {
        Time::from_timestamp(self.read().ok()?.expiry()?, 0)
    }

    /// Reads the files. The error names the setting.
    fn read(&self) -> anyhow::Result<TlsMaterial> {
        let client_ca = self.client_ca.as_ref().map(fs::read).transpose();
        Ok(TlsMaterial {
            certificate: fs::read(&self.certificate).context("SLUICE_TLS_CERT cannot be read")?,
            key: fs::read(&self.key)
                .context("SLUICE_TLS_KEY cannot be read")?
                .into(),
            client_ca: client_ca.context("SLUICE_TLS_CLIENT_CA cannot be read")?,
        })
    }
}

impl TlsMaterial {
    /// The SHA-256 of the contents.
    fn fingerprint(&self) -> Vec<u8> {
        let mut context = digest::Context::new(&digest::SHA256);
        for content in [&self.certificate, &*self.key]
            .into_iter()
            .chain(&self.client_ca)
        {
            context.update(&content.len().to_be_bytes());
            context.update(content);
        }
        context.finish().as_ref().to_vec()
    }

    /// When the certificate expires, in seconds since 1970; `None` if it cannot be read.
    fn expiry(&self) -> Option<i64> {
        let chain = certificates(&self.certificate).ok()?;
        let (_, leaf) = X509Certificate::from_der(chain.first()?).ok()?;
        Some(leaf.validity().not_after.timestamp())
    }

    /// The configuration of TLS with these ALPN protocols. The error names the setting and
    /// contains nothing of the key.
    fn config(&self, protocols: &[&[u8]]) -> anyhow::Result<ServerConfig> {
        let provider = Arc::new(ring_provider::default_provider());
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .ok()
            .context("SLUICE_TLS_KEY has no private key in PEM")?;
        let chain = certificates(&self.certificate).context("SLUICE_TLS_CERT")?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(pem) => builder.with_client_cert_verifier(client_verifier(pem, provider)?),
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .context("SLUICE_TLS_CERT and SLUICE_TLS_KEY do not belong together")?;
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(config)
    }
}

fn client_verifier(
    pem: &[u8],
    provider: Arc<CryptoProvider>,
) -> anyhow::Result<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem).context("SLUICE_TLS_CLIENT_CA")? {
        roots.add(certificate).context("SLUICE_TLS_CLIENT_CA")?;
    }
    WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
        .build()
        .context("SLUICE_TLS_CLIENT_CA")
}

fn certificates(pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.context("cannot be read as PEM")?;
    ensure!(!certificates.is_empty(), "has no certificate in PEM");
    Ok(certificates)
}

/// TLS that follows changes of its files.
pub(super) struct ReloadableTls {
    files: TlsFiles,
    alpn_protocols: Vec<&'static [u8]>,
    acceptor: Mutex<TlsAcceptor>,
}

/// The state of the files at the last check.
#[derive(PartialEq, Eq)]
enum LastCheck {
    /// There was no check yet.
    None,
    Unreadable,
    /// Read, with this fingerprint.
    Read(Vec<u8>),
}

impl ReloadableTls {
    /// TLS with these files and ALPN protocols. Fails if the files are unusable.
    pub fn open(files: TlsFiles, alpn_protocols: Vec<&'static [u8]>) -> anyhow::Result<Self> {
        let material = files.read()?;
        let config = material.config(&alpn_protocols)?;
        set_expiry_metric(&material);
        Ok(Self {
            files,
            alpn_protocols,
            acceptor: Mutex::new(Arc::new(config).into()),
        })
    }

    /// The acceptor for a new connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.lock().clone()
    }

    /// Reloads the files when they change; never returns. An unusable change is logged
    /// once and has no effect.
    pub async fn keep_current(self: Arc<Self>) {
        let mut last = LastCheck::None;
        loop {
            let tls = Arc::clone(&self);
            let checked = spawn_blocking(move || tls.check(&last)).await;
            last = checked.unwrap_or(LastCheck::None);
            sleep(RELOAD_INTERVAL).await;
        }
    }

    fn check(&self, last: &LastCheck) -> LastCheck {
        let material = match self.files.read() {
            Ok(material) => material,
            Err(error) => {
                if *last != LastCheck::Unreadable {
                    tracing::error!(error = with_causes(&*error), "cannot read the certificate");
                }
                return LastCheck::Unreadable;
            }
        };
        let check = LastCheck::Read(material.fingerprint());
        if *last != check {
            self.reload(&material, *last == LastCheck::None);
        }
        check
    }

    fn reload(&self, material: &TlsMaterial, is_first: bool) {
        match material.config(&self.alpn_protocols) {
            Ok(config) => {
                *self.acceptor.lock() = Arc::new(config).into();
                set_expiry_metric(material);
                if !is_first {
                    tracing::info!("the certificate was replaced");
                }
            }
            Err(error) => tracing::error!(
                error = with_causes(&*error),
                "cannot use the new certificate, keeping the old one"
            ),
        }
    }
}

fn set_expiry_metric(material: &TlsMaterial) {
    // Exact for the next 285 million years.
    let time = material.expiry().unwrap_or_default() as f64;
    SERVER.certificate_expiry.set(time);
}

#[cfg(test)]
mod tests {
    use super::TlsMaterial;

    /// Made with `openssl req -x509`: notAfter=Nov 19 19:28:40 2036 GMT.
    const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBNjCB6aADAgECAhRpyXMjEpRBk0E3mPplTFOnX5sQtjAFBgMrZXAwETEPMA0G\n\
A1UEAwwGc2x1aWNlMB4XDTI2MTEyMjE5Mjg0MFoXDTM2MTExOTE5Mjg0MFowETEP\n\
MA0GA1UEAwwGc2x1aWNlMCowBQYDK2VwAyEAiSA+b2G1AGURc4F1rS0FB/YtNm73\n\
VKSWng5QIPESA8ejUzBRMB0GA1UdDgQWBBTq2zw/XN/wa4/NJhGgSggJEb0qIzAf\n\
BgNVHSMEGDAWgBTq2zw/XN/wa4/NJhGgSggJEb0qIzAPBgNVHRMBAf8EBTADAQH/\n\
MAUGAytlcANBAID/9/0au3cg8dMpQvD156/+FB64vOiQL0tZ6z7ZE+w82N19yj1p\n\
s5YM2UBWT7+t6GdE+1RzSHdvjiq94kZ+lw8=\n\
-----END CERTIFICATE-----\n";

    #[test]
    fn the_expiry_is_that_of_the_certificate() {
        let material = |certificate: &str| TlsMaterial {
            certificate: certificate.into(),
            key: Vec::new().into(),
            client_ca: None,
        };

        assert_eq!(material(CERTIFICATE).expiry(), Some(2_110_735_720));
        assert_eq!(material("nothing").expiry(), None);
    }
}

use std::{fs, path::PathBuf, sync::Arc};

use anyhow::{Context, ensure};
use ring::digest;
use tokio_rustls::rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring as ring_provider},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

/// Where the certificate of this server is.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate and those that it rests on, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
    /// The authorities of clients' certificates, in PEM, if clients must have one.
    pub client_ca: Option<PathBuf>,
}

/// What stands in the files.
pub(super) struct TlsTexts {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    client_ca: Option<Vec<u8>>,
}

impl TlsFiles {
    /// Whether they can be used. The error names the setting.
    pub fn check(&self) -> anyhow::Result<()> {
        self.read()?.config(&[])?;
        Ok(())
    }

    /// Reads the files. The error names the setting.
    pub(super) fn read(&self) -> anyhow::Result<TlsTexts> {
        let client_ca = self.client_ca.as_ref().map(fs::read).transpose();
        Ok(TlsTexts {
            certificate: fs::read(&self.certificate).context("SLUICE_TLS_CERT cannot be read")?,
            key: fs::read(&self.key)
                .context("SLUICE_TLS_KEY cannot be read")?
                .into(),
            client_ca: client_ca.context("SLUICE_TLS_CLIENT_CA cannot be read")?,
        })
    }
}

impl TlsTexts {
    /// What tells them from others.
    pub fn fingerprint(&self) -> Vec<u8> {
        let mut all = digest::Context::new(&digest::SHA256);
        for text in [&self.certificate, &*self.key]
            .into_iter()
            .chain(&self.client_ca)
        {
            all.update(&text.len().to_be_bytes());
            all.update(text);
        }
        all.finish().as_ref().to_vec()
    }

    /// When the certificate expires, in seconds since 1970; nothing if it does not say.
    pub fn expiry(&self) -> Option<i64> {
        let chain = certificates(&self.certificate).ok()?;
        let (_, own) = X509Certificate::from_der(chain.first()?).ok()?;
        Some(own.validity().not_after.timestamp())
    }

    /// What TLS needs of them. The error names the setting, and tells nothing of the key.
    pub fn config(&self, protocols: &[&[u8]]) -> anyhow::Result<ServerConfig> {
        let provider = Arc::new(ring_provider::default_provider());
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .ok()
            .context("SLUICE_TLS_KEY has no private key in PEM")?;
        let chain = certificates(&self.certificate).context("SLUICE_TLS_CERT")?;
        let versions = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let clients = match &self.client_ca {
            None => versions.with_no_client_auth(),
            Some(pem) => versions.with_client_cert_verifier(verifier(pem, provider)?),
        };
        let mut config = clients
            .with_single_cert(chain, key)
            .context("SLUICE_TLS_CERT and SLUICE_TLS_KEY do not belong together")?;
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(config)
    }
}

fn verifier(
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

#[cfg(test)]
mod tests {
    use super::TlsTexts;

    /// Made with `openssl req -x509`; it says notAfter=Nov 19 19:28:40 2036 GMT.
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
    fn a_certificate_tells_when_it_expires() {
        let texts = |certificate: &str| TlsTexts {
            certificate: certificate.into(),
            key: Vec::new().into(),
            client_ca: None,
        };

        assert_eq!(texts(CERTIFICATE).expiry(), Some(2_110_735_720));
        assert_eq!(texts("nothing").expiry(), None);
    }
}

use std::sync::{Arc, OnceLock};

use anyhow::Context;
use tokio_rustls::rustls::{
    self, CertificateError, ClientConfig, RootCertStore, pki_types::CertificateDer,
};

use super::error::UpstreamError;
use crate::root_certificates::{platform_roots, trusting};

/// The certificate authorities that destinations are verified with: those of the platform, and
/// additional ones.
#[derive(Debug)]
pub(crate) struct Certificates {
    additional: Vec<CertificateDer<'static>>,
    client: OnceLock<Arc<ClientConfig>>,
}

impl Certificates {
    /// With these authorities beside those of the platform.
    pub(crate) fn new(additional: Vec<CertificateDer<'static>>) -> Self {
        Self {
            additional,
            client: OnceLock::new(),
        }
    }

    /// A TLS client. Only the first call reads the authorities of the platform: without
    /// `rtmps` destinations none are needed.
    pub(crate) fn client(&self) -> anyhow::Result<Arc<ClientConfig>> {
        if let Some(client) = self.client.get() {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(trusting(self.roots()?));
        Ok(Arc::clone(self.client.get_or_init(|| client)))
    }

    fn roots(&self) -> anyhow::Result<RootCertStore> {
        let platform = platform_roots();
        // Additional authorities suffice.
        let mut roots = match platform {
            Ok(roots) => RootCertStore::clone(&roots),
            Err(_) if !self.additional.is_empty() => RootCertStore::empty(),
            Err(error) => return Err(error),
        };
        for certificate in &self.additional {
            let added = roots.add(certificate.clone());
            added.context("a certificate in SLUICE_RELAY_CA_FILE cannot be used")?;
        }
        Ok(roots)
    }
}

/// What an error of a TLS handshake means.
pub(super) fn tls_error(error: &std::io::Error) -> UpstreamError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    let Some(rustls::Error::InvalidCertificate(invalid)) = inner else {
        return UpstreamError::TlsFailed;
    };
    match invalid {
        CertificateError::UnknownIssuer => UpstreamError::CertificateUntrusted,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            UpstreamError::CertificateExpired
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            UpstreamError::CertificateOfAnotherHost
        }
        _ => UpstreamError::CertificateInvalid,
    }
}

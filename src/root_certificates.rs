//! The certificate authorities that the platform trusts: for TLS to issuers of id tokens,
//! mail servers, trace collectors, destinations and the control plane.
//!
//! They are read once, when TLS is first needed. The variables `SSL_CERT_FILE` and
//! `SSL_CERT_DIR` replace the places of the platform, as they do for OpenSSL.

use std::sync::{Arc, OnceLock};

use anyhow::anyhow;
use rustls_native_certs::{CertificateResult, load_native_certs};
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, ring},
};
use tonic::transport::{Certificate, ClientTlsConfig};

const MISSING: &str = "this machine has no trusted certificate authorities, which TLS needs: \
    install the package ca-certificates, or set SSL_CERT_FILE to a file with certificates (PEM)";

static PLATFORM: OnceLock<Arc<RootCertStore>> = OnceLock::new();

/// The authorities that the platform trusts. If there are none, the error says what to do.
pub fn platform_roots() -> anyhow::Result<Arc<RootCertStore>> {
    if let Some(roots) = PLATFORM.get() {
        return Ok(Arc::clone(roots));
    }
    let CertificateResult { certs, errors, .. } = load_native_certs();
    let mut roots = RootCertStore::empty();
    // Stores can contain certificates that no verifier can use.
    roots.add_parsable_certificates(certs);
    if roots.is_empty() {
        let cause = errors.into_iter().next().map(anyhow::Error::new);
        return Err(match cause {
            Some(cause) => cause.context(MISSING),
            None => anyhow!(MISSING),
        });
    }
    Ok(Arc::clone(PLATFORM.get_or_init(|| Arc::new(roots))))
}

/// The TLS of a gRPC client that trusts these certificates (PEM), or without them the
/// authorities of the platform.
pub fn grpc_client_tls(ca: Option<&[u8]>) -> anyhow::Result<ClientTlsConfig> {
    let tls = ClientTlsConfig::new();
    Ok(match ca {
        Some(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
        None => tls.trust_anchors(platform_roots()?.roots.clone()),
    })
}

/// A TLS client that trusts these authorities.
///
/// # Panics
///
/// Never: the provider supports the default versions of TLS.
pub fn trusting(roots: impl Into<Arc<RootCertStore>>) -> ClientConfig {
    let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

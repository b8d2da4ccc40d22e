use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use clap::Args;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, runtime::Runtime, time::timeout};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    },
};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tower::service_fn;

use super::error::CommandError;
use crate::{
    config::{
        ServerAddress, SettingGroup,
        parse::{duration, not_empty, parsed},
    },
    transport::ListenAddress,
};

/// The arguments of a health check. Those that the server has too come from its variables.
#[derive(Args)]
pub(super) struct HealthArgs {
    /// The addresses of the server, comma-separated, as in its setting: `ADDRESS:PORT` or
    /// `unix:PATH`. Each is checked. For an unspecified address, the loopback address is used.
    #[arg(long, env = "SLUICE_LISTEN", value_delimiter = ',', default_value = "127.0.0.1:50051", value_parser = parsed::<ListenAddress>)]
    address: Vec<ListenAddress>,
    /// Check one service, by its full name, instead of the whole server.
    #[arg(long)]
    service: Option<String>,
    /// The time limit for the answer.
    #[arg(long, default_value = "2s", value_parser = duration("10ms", "1min"))]
    timeout: Duration,
    /// The server's certificate (PEM). The check uses TLS, and accepts this certificate only.
    #[arg(long, env = "SLUICE_TLS_CERT")]
    tls_cert: Option<PathBuf>,
    /// The private key of the server's certificate (PEM). With a client CA, the check presents the
    /// server's certificate as its own, unless `--client-cert` is given.
    #[arg(long, env = "SLUICE_TLS_KEY")]
    tls_key: Option<PathBuf>,
    /// The authorities of client certificates, which the server requires if this is set.
    #[arg(long, env = "SLUICE_TLS_CLIENT_CA")]
    tls_client_ca: Option<PathBuf>,
    /// Use TLS with trusted authorities instead of the server's certificate: a file with
    /// certificates (PEM), for a server behind a proxy.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// With `--ca`: the name in the server's certificate, by default its address.
    #[arg(long, requires = "ca", value_parser = not_empty)]
    server_name: Option<String>,
    /// A client certificate with its chain (PEM), for a server that requires one.
    #[arg(long, requires = "client_key")]
    client_cert: Option<PathBuf>,
    /// The private key of the client certificate (PEM).
    #[arg(long, requires = "client_cert")]
    client_key: Option<PathBuf>,
}

impl SettingGroup for HealthArgs {
    const SECTIONS: &'static [(&'static str, &'static str)] =
        &[("address", "Check"), ("tls_cert", "TLS")];

    fn check_all(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Checks the health of a server: exit code 0 if it is serving at each address.
pub(super) fn run(args: &HealthArgs) -> Result<(), CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut addresses = args.address.iter();
    addresses.try_for_each(|address| run_at(args, &connect_address(address), &runtime))
}

fn run_at(
    args: &HealthArgs,
    address: &ListenAddress,
    runtime: &Runtime,
) -> Result<(), CommandError> {
    let answer = runtime.block_on(async {
        timeout(args.timeout, check(args, address))
            .await
            .unwrap_or_else(|_| anyhow::bail!("no answer in time"))
    });
    match answer.with_context(|| format!("cannot ask {address}"))? {
        ServingStatus::Serving => {
            println!("{address} serves");
            Ok(())
        }
        _ => Err(anyhow::anyhow!("{address} does not serve").into()),
    }
}

async fn check(args: &HealthArgs, address: &ListenAddress) -> anyhow::Result<ServingStatus> {
    let channel = args.connect(address).await?;
    let request = HealthCheckRequest {
        service: args.service.clone().unwrap_or_default(),
    };
    let answer = HealthClient::new(channel).check(request).await;
    let answer = answer.map_err(|status| anyhow::anyhow!("{}", status.message().to_owned()))?;
    Ok(answer.into_inner().status())
}

impl HealthArgs {
    async fn connect(&self, address: &ListenAddress) -> anyhow::Result<Channel> {
        let address = match address {
            ListenAddress::Tcp(address) => *address,
            ListenAddress::Unix(path) => {
                let server = ServerAddress::Unix(path.clone());
                return Ok(server.endpoint()?.connect().await?);
            }
        };
        // With TLS, the connector decides about it: the scheme has no effect.
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
        match self.tls()? {
            None => Ok(endpoint.connect().await?),
            Some(tls) => connect_tls(&endpoint, address, tls, self.name(address)?).await,
        }
    }

    /// The configuration of TLS; `None` without TLS.
    fn tls(&self) -> anyhow::Result<Option<ClientConfig>> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = match (&self.ca, &self.tls_cert) {
            (None, None) => return Ok(None),
            (Some(ca), _) => builder.with_root_certificates(trusted(ca)?),
            (None, Some(file)) => builder
                .dangerous()
                .with_custom_certificate_verifier(PinnedCertificate::read(file, provider)?),
        };
        let mut tls = match self.client_certificate() {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(certificate)?;
                let secret = PrivateKeyDer::from_pem_file(key);
                let secret = secret.with_context(|| format!("cannot use {}", key.display()))?;
                builder.with_client_auth_cert(chain, secret)?
            }
        };
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Some(tls))
    }

    /// The files of the certificate and the key that the check presents.
    fn client_certificate(&self) -> Option<(&Path, &Path)> {
        let own = self.client_cert.as_deref().zip(self.client_key.as_deref());
        let server = self.tls_cert.as_deref().zip(self.tls_key.as_deref());
        own.or_else(|| self.tls_client_ca.as_ref().and(server))
    }

    fn name(&self, address: SocketAddr) -> anyhow::Result<ServerName<'static>> {
        match &self.server_name {
            Some(name) => Ok(ServerName::try_from(name.clone())?),
            None => Ok(ServerName::from(address.ip())),
        }
    }
}

async fn connect_tls(
    endpoint: &Endpoint,
    address: SocketAddr,
    tls: ClientConfig,
    name: ServerName<'static>,
) -> anyhow::Result<Channel> {
    let tls = TlsConnector::from(Arc::new(tls));
    let connect = service_fn(move |_| {
        let (tls, name) = (tls.clone(), name.clone());
        async move {
            let connection = TcpStream::connect(address).await?;
            tls.connect(name, connection).await.map(TokioIo::new)
        }
    });
    Ok(endpoint.connect_with_connector(connect).await?)
}

fn trusted(ca: &Path) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let certificates = certificates(ca).with_context(|| format!("{} (--ca)", ca.display()))?;
    for certificate in certificates {
        roots.add(certificate)?;
    }
    Ok(roots)
}

fn certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let unreadable = || format!("cannot read certificates of {}", file.display());
    let certificates = CertificateDer::pem_file_iter(file).with_context(unreadable)?;
    certificates
        .collect::<Result<_, _>>()
        .with_context(unreadable)
}

/// Accepts one certificate, whatever its name, issuer and validity are.
///
/// The server proves by its signature that it has the certificate's key. So the check talks to a
/// server with the same settings, and nobody else can pose as it. Whether other clients accept the
/// certificate is a question for them, and for the alert about its expiry.
#[derive(Debug)]
struct PinnedCertificate {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl PinnedCertificate {
    fn read(file: &Path, provider: Arc<CryptoProvider>) -> anyhow::Result<Arc<Self>> {
        let first = certificates(file)
            .context("SLUICE_TLS_CERT")?
            .into_iter()
            .next();
        let certificate = first.context("SLUICE_TLS_CERT has no certificate in PEM")?;
        Ok(Arc::new(Self {
            certificate,
            provider,
        }))
    }
}

impl ServerCertVerifier for PinnedCertificate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match *end_entity == self.certificate {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(rustls::Error::General(
                "the server has another certificate than SLUICE_TLS_CERT".to_owned(),
            )),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// The address, or the loopback address if it is unspecified.
fn connect_address(address: &ListenAddress) -> ListenAddress {
    let ListenAddress::Tcp(address) = address else {
        return address.clone();
    };
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    ListenAddress::Tcp(SocketAddr::new(ip, address.port()))
}

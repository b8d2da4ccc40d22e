use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use clap::Args;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tower::service_fn;

use super::error::CommandError;
use crate::config::parse::{address, duration, not_empty};

/// The arguments of a health check.
#[derive(Args)]
pub(super) struct HealthArgs {
    /// The address of the server. For an unspecified address, the loopback address is used.
    #[arg(long, env = "SLUICE_LISTEN", default_value = "127.0.0.1:50051", value_parser = address)]
    address: SocketAddr,
    /// Check one service, by its full name, instead of the whole server.
    #[arg(long, default_value = "")]
    service: String,
    /// Use TLS: a file with trusted certificates (PEM).
    #[arg(long)]
    ca: Option<PathBuf>,
    /// With `--ca`: the name in the server's certificate, by default its address.
    #[arg(long, requires = "ca", value_parser = not_empty)]
    server_name: Option<String>,
    /// The time limit for the answer.
    #[arg(long, default_value = "2s", value_parser = duration("10ms", "1min"))]
    timeout: Duration,
}

/// Checks the health of a server: exit code 0 if it is serving.
pub(super) fn run(args: &HealthArgs) -> Result<(), CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let address = connect_address(args.address);
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

async fn check(args: &HealthArgs, address: SocketAddr) -> anyhow::Result<ServingStatus> {
    // With TLS, the connector decides about it: the scheme has no effect.
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    let channel = match &args.ca {
        None => endpoint.connect().await?,
        Some(ca) => connect_tls(&endpoint, address, ca, args.server_name.as_deref()).await?,
    };
    let request = HealthCheckRequest {
        service: args.service.clone(),
    };
    let answer = HealthClient::new(channel).check(request).await;
    let answer = answer.map_err(|status| anyhow::anyhow!("{}", status.message().to_owned()))?;
    Ok(answer.into_inner().status())
}

async fn connect_tls(
    endpoint: &Endpoint,
    address: SocketAddr,
    ca: &Path,
    name: Option<&str>,
) -> anyhow::Result<Channel> {
    let unreadable = || format!("cannot read certificates of {} (--ca)", ca.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).with_context(unreadable)? {
        roots.add(certificate.with_context(unreadable)?)?;
    }
    let mut tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let tls = TlsConnector::from(Arc::new(tls));
    let name = match name {
        Some(name) => ServerName::try_from(name.to_owned())?,
        None => ServerName::from(address.ip()),
    };

    let connect = service_fn(move |_| {
        let (tls, name) = (tls.clone(), name.clone());
        async move {
            let connection = TcpStream::connect(address).await?;
            tls.connect(name, connection).await.map(TokioIo::new)
        }
    });
    Ok(endpoint.connect_with_connector(connect).await?)
}

/// The address, or the loopback address if it is unspecified.
fn connect_address(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

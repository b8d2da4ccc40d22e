use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{self, RootCertStore, pki_types::ServerName},
};

use super::handshake;
use crate::{
    edge::relays::carrier::{address::RtmpAddress, host::Addresses, trouble::Trouble},
    root_certificates::{platform_roots, trusting},
};

/// How long TLS and RTMP may each take to greet.
const GREETING: Duration = Duration::from_secs(10);
/// For how long bytes may be unanswered until the connection is lost, in milliseconds.
const UNANSWERED: u32 = 20_000;

/// A server, and how it is reached.
pub(in crate::edge::relays::carrier) struct Far {
    /// What it is told.
    pub(in crate::edge::relays::carrier) address: RtmpAddress,
    /// Where it is.
    pub(in crate::edge::relays::carrier) addresses: Addresses,
    /// The trusted certificate authorities; `None` means those of the platform.
    pub(in crate::edge::relays::carrier) roots: Option<Arc<RootCertStore>>,
}

/// A connection with or without TLS.
pub(super) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

impl Far {
    /// Connects and greets.
    pub(super) async fn connect(&self) -> Result<Box<dyn Connection>, Trouble> {
        let tcp = self.addresses.connect().await?;
        let lost = |_| Trouble::Lost("the connection was lost at once".into());
        tcp.set_nodelay(true).map_err(lost)?;
        rustix::net::sockopt::set_tcp_user_timeout(&tcp, UNANSWERED)
            .map_err(|error| lost(error.into()))?;

        let mut connection: Box<dyn Connection> = match self.address.tls {
            true => Box::new(self.secure(tcp).await?),
            false => Box::new(tcp),
        };
        match timeout(GREETING, handshake::as_client(&mut connection)).await {
            Ok(Ok(())) => Ok(connection),
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                Err(Trouble::Lost("what answers does not speak RTMP".into()))
            }
            Ok(Err(_)) => Err(Trouble::Lost("it closed the connection at once".into())),
            Err(_) => Err(Trouble::ConnectTimeout),
        }
    }

    async fn secure(
        &self,
        tcp: TcpStream,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Trouble> {
        let host = self.address.site.host.clone();
        let name = ServerName::try_from(host.trim_end_matches('.').to_owned())
            .map_err(|_| Trouble::AddressInvalid("must name a host in its usual form"))?;
        let roots = self.roots.clone().map_or_else(platform_roots, Ok);
        let roots = roots.map_err(|error| {
            let error = format!("{error:#}");
            tracing::error!(error, "cannot send to rtmps destinations");
            Trouble::TlsFailed
        })?;
        let connect = TlsConnector::from(Arc::new(trusting(roots))).connect(name, tcp);
        match timeout(GREETING, connect).await {
            Ok(Ok(secure)) => Ok(secure),
            Ok(Err(error)) if is_about_the_certificate(&error) => Err(Trouble::CertificateWrong),
            Ok(Err(_)) => Err(Trouble::TlsFailed),
            Err(_) => Err(Trouble::ConnectTimeout),
        }
    }
}

fn is_about_the_certificate(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_)))
}

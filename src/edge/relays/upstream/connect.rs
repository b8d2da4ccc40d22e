use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream, rustls::pki_types::ServerName};

use super::{
    address::RtmpAddress, certificates::Certificates, certificates::tls_error, error::UpstreamError,
};
use crate::{edge::relays::rtmp::handshake, outbound::Addresses};

/// The longest time of the TLS handshake, and of that of RTMP.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The time without an acknowledgement of sent bytes after which the kernel closes the
/// connection, in milliseconds.
const TCP_USER_TIMEOUT_MS: u32 = 20_000;

/// A connection with or without TLS.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// A connection after the handshake of RTMP.
pub(crate) struct Connection {
    pub(crate) transport: Box<dyn Transport>,
    /// The addresses of its TCP connection, from which the kernel tells its state.
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
    pub(crate) socket: Socket,
}

/// The socket of a connection, which is open as long as this or the transport.
pub(crate) struct Socket(OwnedFd);

impl Socket {
    /// Makes the close a reset: nothing that waits is sent, and the server ends its side at once.
    pub(crate) fn reset_on_close(&self) {
        // An error means that there is no connection any more.
        let _ = rustix::net::sockopt::set_socket_linger(&self.0, Some(Duration::ZERO));
    }
}

/// Performs the handshakes of TLS and RTMP on a connection.
pub(crate) async fn establish(
    tcp: TcpStream,
    address: &RtmpAddress,
    certificates: &Certificates,
) -> Result<Connection, UpstreamError> {
    let socket = Socket(tcp.as_fd().try_clone_to_owned().map_err(lost)?);
    let (local, peer) = (
        tcp.local_addr().map_err(lost)?,
        tcp.peer_addr().map_err(lost)?,
    );
    let mut transport: Box<dyn Transport> = match address.tls {
        true => Box::new(secure(tcp, address, certificates).await?),
        false => Box::new(tcp),
    };
    shake_hands(&mut transport).await?;
    Ok(Connection {
        transport,
        local,
        peer,
        socket,
    })
}

fn lost(_: io::Error) -> UpstreamError {
    UpstreamError::Lost("the connection was lost at once".into())
}

/// Connects to a server over TCP.
pub(crate) async fn connect_tcp(addresses: &Addresses) -> Result<TcpStream, UpstreamError> {
    prepare(addresses.connect().await?)
}

/// The same for a server that is expected back: it is reached soon after it answers again.
pub(crate) async fn connect_tcp_when_back(
    addresses: &Addresses,
) -> Result<TcpStream, UpstreamError> {
    prepare(addresses.connect_when_back().await?)
}

fn prepare(tcp: TcpStream) -> Result<TcpStream, UpstreamError> {
    tcp.set_nodelay(true).map_err(lost)?;
    rustix::net::sockopt::set_tcp_user_timeout(&tcp, TCP_USER_TIMEOUT_MS)
        .map_err(|error| lost(error.into()))?;
    Ok(tcp)
}

/// Performs the handshake of RTMP.
pub(crate) async fn shake_hands(transport: &mut Box<dyn Transport>) -> Result<(), UpstreamError> {
    match timeout(HANDSHAKE_TIMEOUT, handshake::connect(transport)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
            Err(UpstreamError::Lost("the server does not speak RTMP".into()))
        }
        Ok(Err(_)) => Err(UpstreamError::Lost(
            "it closed the connection at once".into(),
        )),
        Err(_) => Err(UpstreamError::ConnectTimeout),
    }
}

/// Performs the handshake of TLS.
pub(crate) async fn secure(
    tcp: TcpStream,
    address: &RtmpAddress,
    certificates: &Certificates,
) -> Result<TlsStream<TcpStream>, UpstreamError> {
    let host = address.site.host.trim_end_matches('.').to_owned();
    let name = ServerName::try_from(host)
        .map_err(|_| UpstreamError::AddressInvalid("must name a host in its usual form"))?;
    let client = certificates.client().map_err(|error| {
        let error = format!("{error:#}");
        tracing::error!(error, "cannot send to rtmps destinations");
        UpstreamError::TlsFailed
    })?;
    let connecting = TlsConnector::from(Arc::clone(&client)).connect(name, tcp);
    match timeout(HANDSHAKE_TIMEOUT, connecting).await {
        Ok(Ok(secure)) => Ok(secure),
        Ok(Err(error)) => Err(tls_error(&error)),
        Err(_) => Err(UpstreamError::ConnectTimeout),
    }
}

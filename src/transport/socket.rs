use std::{
    io,
    net::SocketAddr,
    path::Path,
    task::{Context, Poll, ready},
    time::Duration,
};

use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;

use super::{
    listen_address::ListenAddress,
    peer::Peer,
    unix_socket::{self, SocketFile},
};

/// The number of connections that may wait to be accepted: enough for a busy machine, and
/// for all clients of a stopped replica at once. `net.core.somaxconn` may allow fewer.
const BACKLOG: u32 = 4096;

/// TCP keepalive detects lost peers that HTTP/2 PINGs do not reach.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// How long sent data may stay unacknowledged, in milliseconds. Otherwise a live peer that
/// never reads would keep its connection.
const TCP_USER_TIMEOUT_MS: u32 = 60_000;

/// The stream of a connection before its handshake.
pub(super) type SocketStream = Either<TcpStream, UnixStream>;

/// A socket that listens.
#[derive(Debug)]
pub struct BoundSocket(Inner);

#[derive(Debug)]
enum Inner {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

impl BoundSocket {
    /// Listens, also on an address that was in use a moment ago.
    pub fn bind(address: &ListenAddress) -> anyhow::Result<Self> {
        Ok(Self(match address {
            ListenAddress::Tcp(address) => Inner::Tcp(bind_tcp(*address)?),
            ListenAddress::Unix(path) => {
                let (listener, file) = unix_socket::bind(path, BACKLOG)?;
                Inner::Unix(listener, file)
            }
        }))
    }

    /// The address, with the port that the system has chosen.
    pub fn address(&self) -> io::Result<ListenAddress> {
        Ok(match &self.0 {
            Inner::Tcp(listener) => ListenAddress::Tcp(listener.local_addr()?),
            Inner::Unix(_, file) => ListenAddress::Unix(file.path().to_owned()),
        })
    }

    /// Accepts a connection.
    pub(super) fn poll_accept(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(SocketStream, Peer)>> {
        Poll::Ready(match &self.0 {
            Inner::Tcp(listener) => {
                let accepted = ready!(listener.poll_accept(cx));
                accepted.map(|(stream, peer)| (Either::Left(stream), peer.into()))
            }
            Inner::Unix(listener, _) => {
                let accepted = ready!(listener.poll_accept(cx));
                accepted.map(|(stream, _)| (Either::Right(stream), Peer::UnixSocket))
            }
        })
    }
}

impl From<TcpListener> for BoundSocket {
    fn from(listener: TcpListener) -> Self {
        Self(Inner::Tcp(listener))
    }
}

/// Checks that a server could listen on the path of a Unix socket. It creates nothing.
pub fn check_unix_socket(path: &Path) -> anyhow::Result<()> {
    unix_socket::check(path)
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// For TCP, disables Nagle's algorithm, and sets up the detection of lost peers. The system knows
/// the peers of a Unix socket.
pub(super) fn tune(stream: &SocketStream) -> io::Result<()> {
    let Either::Left(stream) = stream else {
        return Ok(());
    };
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    sockopt::set_tcp_user_timeout(stream, TCP_USER_TIMEOUT_MS)?;
    Ok(())
}

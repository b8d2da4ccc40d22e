use std::{io, net::SocketAddr, time::Duration};

use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// How many connections wait to be accepted: more than come while the machine is busy
/// elsewhere, or all clients of a replica that stopped come at once. The system may
/// allow fewer (`net.core.somaxconn`).
const BACKLOG: u32 = 4096;

/// A silent peer is asked whether it is there, for peers that HTTP/2 does not ask.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMES: u32 = 3;

/// How long, in milliseconds, a peer may leave lying what was sent: one that lives but
/// never reads would otherwise keep its connection.
const UNREAD: u32 = 60_000;

/// A listener on an address; another one that has just been closed is no hindrance.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Sends without waiting for more to send, and notices peers that are gone.
pub(super) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_TIMES)?;
    sockopt::set_tcp_user_timeout(stream, UNREAD)?;
    Ok(())
}

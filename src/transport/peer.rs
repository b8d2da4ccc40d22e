use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use ipnet::IpNet;

use crate::domain::PeerAddress;

/// The other end of a connection: the caller, or a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    /// A peer with an IP address.
    Address(PeerAddress),
    /// A process of this machine at a Unix socket. It has no address, so that all of them count as
    /// one peer.
    UnixSocket,
}

impl Peer {
    /// What counts as one peer: of an IPv6 address its network.
    #[must_use]
    pub fn network(self) -> Self {
        match self {
            Self::Address(address) => Self::Address(address.network()),
            Self::UnixSocket => Self::UnixSocket,
        }
    }

    /// The address of the peer, if it has one.
    pub fn address(self) -> Option<PeerAddress> {
        match self {
            Self::Address(address) => Some(address),
            Self::UnixSocket => None,
        }
    }
}

impl From<IpAddr> for Peer {
    fn from(ip: IpAddr) -> Self {
        Self::Address(ip.into())
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        address.ip().into()
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::UnixSocket => f.write_str("unix"),
        }
    }
}

/// Proxies whose connections carry the calls of many callers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrustedProxy {
    /// Those in a network, which is never the network of all addresses.
    Network(IpNet),
    /// Those at the Unix sockets.
    UnixSocket,
}

impl TrustedProxy {
    /// Whether the peer is such a proxy.
    pub fn includes(&self, peer: Peer) -> bool {
        match (self, peer) {
            (Self::Network(network), Peer::Address(address)) => network.contains(&address.ip()),
            (Self::UnixSocket, Peer::UnixSocket) => true,
            _ => false,
        }
    }
}

impl FromStr for TrustedProxy {
    type Err = &'static str;

    /// Parses an address, a network, or `unix`.
    fn from_str(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        if text == "unix" {
            return Ok(Self::UnixSocket);
        }
        let network = text.parse().or_else(|_| text.parse().map(IpAddr::into));
        match network {
            Ok(network) if IpNet::prefix_len(&network) > 0 => Ok(Self::Network(network)),
            _ => Err(
                "must be an IP address or a network, such as 10.0.0.0/8, or unix for the peers of \
                 Unix sockets",
            ),
        }
    }
}

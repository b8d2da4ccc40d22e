use std::{
    fmt,
    net::{AddrParseError, IpAddr, Ipv6Addr},
    str::FromStr,
};

/// The IP address of a caller.
///
/// An IPv4-mapped IPv6 address is stored as IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerAddress(IpAddr);

/// The bits of an IPv6 address that name a network (RFC 4291 section 2.5.1).
const NETWORK_MASK: u128 = !0 << 64;

/// The bits of an IPv6 address that name a site (RFC 6177).
const SITE_MASK: u128 = !0 << 80;

impl PeerAddress {
    /// The plain IP address.
    pub fn ip(self) -> IpAddr {
        self.0
    }

    /// The network that counts as one peer: the IPv4 address itself, or the /64 of an IPv6 address,
    /// because a single host may use all of it (RFC 8981).
    #[must_use]
    pub fn network(self) -> Self {
        match self.0 {
            IpAddr::V4(_) => self,
            IpAddr::V6(ip) => Self(Ipv6Addr::from_bits(ip.to_bits() & NETWORK_MASK).into()),
        }
    }

    /// A network that identifies no person: the /24 of IPv4, the /48 of IPv6.
    pub fn prefix(self) -> String {
        match self.0 {
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                format!("{a}.{b}.{c}.0/24")
            }
            IpAddr::V6(ip) => format!("{}/48", Ipv6Addr::from_bits(ip.to_bits() & SITE_MASK)),
        }
    }
}

impl From<IpAddr> for PeerAddress {
    fn from(ip: IpAddr) -> Self {
        Self(ip.to_canonical())
    }
}

impl FromStr for PeerAddress {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        text.parse::<IpAddr>().map(Self::from)
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The client that sent a request.
#[derive(Debug, Clone, Default)]
pub struct RequestOrigin {
    /// The caller's address, if it is known.
    pub peer_address: Option<PeerAddress>,
    /// The client's `user-agent`; at most 256 bytes, may be empty.
    pub user_agent: String,
}

impl RequestOrigin {
    /// The caller's address as text; empty if it is not known.
    pub fn address(&self) -> String {
        self.peer_address
            .map_or_else(String::new, |peer| peer.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::PeerAddress;

    fn peer(text: &str) -> PeerAddress {
        text.parse().unwrap()
    }

    #[test]
    fn ipv4_mapped_addresses_become_ipv4() {
        assert_eq!(peer("::ffff:192.0.2.7"), peer("192.0.2.7"));
        assert_eq!(peer("::ffff:192.0.2.7").to_string(), "192.0.2.7");
    }

    #[test]
    fn a_prefix_contains_no_host_part() {
        assert_eq!(peer("203.0.113.5").prefix(), "203.0.113.0/24");
        assert_eq!(peer("::ffff:203.0.113.5").prefix(), "203.0.113.0/24");
        assert_eq!(peer("2001:db8:1:2:3:4:5:6").prefix(), "2001:db8:1::/48");
    }

    #[test]
    fn one_peer_is_an_ipv4_address_or_an_ipv6_network() {
        let first = peer("2001:db8:1:2:3:4:5:6").network();
        assert_eq!(first, peer("2001:db8:1:2:ffff::1").network());
        assert_eq!(first.to_string(), "2001:db8:1:2::");
        assert_ne!(first, peer("2001:db8:1:3:3:4:5:6").network());

        assert_eq!(peer("192.0.2.7").network(), peer("192.0.2.7"));
    }
}

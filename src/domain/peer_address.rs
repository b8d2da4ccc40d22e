use std::{
    fmt,
    net::{AddrParseError, IpAddr, Ipv6Addr},
    str::FromStr,
};

/// The IP address from which somebody calls.
///
/// IPv4 is always written as such, also where a socket of IPv6 took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerAddress(IpAddr);

/// The bits of an IPv6 address that name a network (RFC 4291 section 2.5.1).
const NETWORK: u128 = !0 << 64;

/// The bits of an IPv6 address that name a site (RFC 6177).
const SITE: u128 = !0 << 80;

impl PeerAddress {
    /// The address itself.
    pub fn ip(self) -> IpAddr {
        self.0
    }

    /// What counts as one peer: the address, or for IPv6 its /64 with the rest
    /// zero, because a single host may use any address of it (RFC 8981).
    #[must_use]
    pub fn network(self) -> Self {
        match self.0 {
            IpAddr::V4(_) => self,
            IpAddr::V6(ip) => Self(Ipv6Addr::from_bits(ip.to_bits() & NETWORK).into()),
        }
    }
}

impl PeerAddress {
    /// The network around it that tells little of a person: of IPv4 the /24, of IPv6 the /48.
    pub fn prefix(self) -> String {
        match self.0 {
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                format!("{a}.{b}.{c}.0/24")
            }
            IpAddr::V6(ip) => format!("{}/48", Ipv6Addr::from_bits(ip.to_bits() & SITE)),
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

#[cfg(test)]
mod tests {
    use super::PeerAddress;

    fn peer(text: &str) -> PeerAddress {
        text.parse().unwrap()
    }

    #[test]
    fn ipv4_mapped_into_ipv6_is_ipv4() {
        assert_eq!(peer("::ffff:192.0.2.7"), peer("192.0.2.7"));
        assert_eq!(peer("::ffff:192.0.2.7").to_string(), "192.0.2.7");
    }

    #[test]
    fn a_prefix_names_the_network_and_not_the_host() {
        assert_eq!(peer("203.0.113.5").prefix(), "203.0.113.0/24");
        assert_eq!(peer("::ffff:203.0.113.5").prefix(), "203.0.113.0/24");
        assert_eq!(peer("2001:db8:1:2:3:4:5:6").prefix(), "2001:db8:1::/48");
    }

    #[test]
    fn an_ipv6_network_is_a_peer_and_each_ipv4_address_is_one() {
        let first = peer("2001:db8:1:2:3:4:5:6").network();
        assert_eq!(first, peer("2001:db8:1:2:ffff::1").network());
        assert_eq!(first.to_string(), "2001:db8:1:2::");
        assert_ne!(first, peer("2001:db8:1:3:3:4:5:6").network());

        assert_eq!(peer("192.0.2.7").network(), peer("192.0.2.7"));
    }
}

//! Which hosts may be a destination.
//!
//! The check when a destination is saved sees only text. A public name can still resolve to a
//! private address, so the resolved address is checked again before each connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use url::Host;

use super::{Invalid, invalid::refuse};

/// Names that only private networks resolve (RFC 6761, 6762, 8375 and ICANN's `.internal`).
const PRIVATE_NAMES: [&str; 6] = [
    ".localhost",
    ".localdomain",
    ".local",
    ".internal",
    ".lan",
    ".home.arpa",
];

/// Which hosts an ingest address may name.
#[derive(Debug, Clone, Default)]
pub struct UrlPolicy {
    /// Whether private hosts are allowed, for tests and closed networks.
    pub allow_private: bool,
    /// This system's own ingests as `host` or `host:port`. They are never allowed.
    pub own_ingest_hosts: Vec<String>,
}

impl UrlPolicy {
    /// Rejects a host that must not be a destination.
    pub(super) fn check(&self, host: &Host, port: Option<u16>) -> Result<(), Invalid> {
        let mut own_hosts = self.own_ingest_hosts.iter();
        if own_hosts.any(|own| is_own(own.trim(), host, port)) {
            return refuse("must not be an ingest of this system itself");
        }
        if !self.allow_private && !is_public(host) {
            return refuse("must have a public host: not a local, private or reserved one");
        }
        Ok(())
    }

    /// Rejects a host, or the address to which it resolves, that must not be a destination.
    /// `address` has the port of the connection.
    pub(crate) fn check_connection(&self, host: &str, address: SocketAddr) -> Result<(), Invalid> {
        let resolved = match address.ip() {
            IpAddr::V4(ip) => Host::Ipv4(ip),
            IpAddr::V6(ip) => embedded_v4(ip).map_or(Host::Ipv6(ip), Host::Ipv4),
        };
        let named = parse_host(host)
            .or_else(|| parse_host(&format!("[{host}]")))
            .ok_or_else(|| Invalid::because("must name a host in its usual form"))?;
        self.check(&named, Some(address.port()))?;
        self.check(&resolved, Some(address.port()))
    }
}

fn is_own(entry: &str, host: &Host, port: Option<u16>) -> bool {
    let (name, own_port) = match entry.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
            (name, port.parse().ok())
        }
        _ => (entry, None),
    };
    let own_host = parse_host(name).or_else(|| parse_host(&format!("[{name}]")));

    own_host.as_ref() == Some(host) && (own_port.is_none() || own_port == port)
}

/// Parses a host, without its final dot. An IPv4 address embedded in IPv6 becomes that IPv4 address.
///
/// `Url` does not normalise the hosts of schemes it does not know, so `127.1` would be a name. And
/// programs disagree about `010.8.8.8`. So only the usual form of IPv4 is accepted.
pub(super) fn parse_host(text: &str) -> Option<Host> {
    let text = text.strip_suffix('.').unwrap_or(text);
    match Host::parse(text).ok()? {
        Host::Domain(_) if !is_plain_name(text) => None,
        Host::Ipv4(ip) if ip.to_string() != text => None,
        Host::Ipv6(ip) => Some(embedded_v4(ip).map_or(Host::Ipv6(ip), Host::Ipv4)),
        host => Some(host),
    }
}

fn is_plain_name(text: &str) -> bool {
    let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
    text.len() <= 253
        && text
            .split('.')
            .all(|label| matches!(label.len(), 1..=63) && label.bytes().all(plain))
}

fn is_public(host: &Host) -> bool {
    match host {
        Host::Domain(name) => {
            let dotted = format!(".{name}");
            name.contains('.') && !PRIVATE_NAMES.iter().any(|end| dotted.ends_with(end))
        }
        Host::Ipv4(ip) => is_public_v4(*ip),
        Host::Ipv6(ip) => is_public_v6(*ip),
    }
}

/// Excludes IANA's IPv4 special-purpose registry (RFC 6890), multicast, and the address from which
/// Azure serves the metadata of its machines.
fn is_public_v4(ip: Ipv4Addr) -> bool {
    !matches!(
        ip.octets(),
        [0 | 10 | 127 | 224..=255, ..]
            | [100, 64..=127, ..]
            | [168, 63, 129, 16]
            | [169, 254, ..]
            | [172, 16..=31, ..]
            | [192, 0, 0 | 2, _]
            | [192, 31, 196, _]
            | [192, 52, 193, _]
            | [192, 88, 99, _]
            | [192, 168, ..]
            | [192, 175, 48, _]
            | [198, 18 | 19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
    )
}

/// Excludes IANA's IPv6 special-purpose registry and all that is not global unicast (2000::/3).
/// Addresses that embed an IPv4 address are judged by that ([`embedded_v4`]).
fn is_public_v6(ip: Ipv6Addr) -> bool {
    !matches!(
        ip.segments(),
        [..=0x1fff | 0x4000.., ..]
            | [0x2001, ..=0x1ff | 0xdb8, ..]
            | [0x2620, 0x4f, 0x8000, ..]
            | [0x3fff, ..=0xfff, ..]
    )
}

/// The IPv4 address in an IPv4-compatible, IPv4-mapped, NAT64 (RFC 6052) or 6to4 (RFC 3056) one.
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let (high, low) = match ip.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => (high, low),
        _ => return None,
    };
    Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::IngestUrl;

    fn parse(text: &str) -> Result<IngestUrl, Invalid> {
        IngestUrl::parse(text, &UrlPolicy::default())
    }

    fn parse_private(text: &str) -> Result<IngestUrl, Invalid> {
        let policy = UrlPolicy {
            allow_private: true,
            ..UrlPolicy::default()
        };
        IngestUrl::parse(text, &policy)
    }

    #[test]
    fn private_and_reserved_hosts_are_rejected_unless_allowed() {
        let hosts = "localhost LOCALHOST localhost. a.localhost localhost.localdomain nas.local
            NAS.LOCAL. metadata.google.internal router.lan home.arpa a.home.arpa intranet 0.0.0.0
            0.1.2.3 10.1.2.3 100.64.0.1 100.127.255.255 127.0.0.1 127.0.0.1. 127.255.255.255
            169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.8 192.0.2.1 192.168.0.1 198.18.0.1
            198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255
            [::] [::1] [0:0:0:0:0:0:0:1] [::127.0.0.1] [::ffff:10.0.0.1] [::FFFF:7f00:1]
            [64:ff9b::a00:1] [64:ff9b:1::1] [2002:7f00:1::] [2002:c0a8:1::1] [fc00::1] [fd12::1]
            [fe80::1] [febf::1] [fec0::1] [ff02::1] [100::1] [2001::1] [2001:db8::1] [3fff::1]
            168.63.129.16 192.31.196.1 192.52.193.1 192.88.99.1 192.88.99.255 192.175.48.1
            192.0.0.9 192.0.0.192 100.100.100.200 [::ffff:168.63.129.16] [64:ff9b::c058:6301]
            [64:ff9b:1:ffff::808:808] [2002:a83f:8110::1] [2002:c058:6301::] [100:0:0:1::1]
            [2001:1::1] [2001:2::1] [2001:3::1] [2001:4:112::1] [2001:10::1] [2001:20::1]
            [2001:30::1] [2001:1ff:ffff::1] [2620:4f:8000::1] [3fff:fff:ffff::1] [5f00::1]
            [5f00:ffff::1] [feff::1] [fdff::1] [ff0e::1] [4000::1] [1fff::1]";
        for host in hosts.split_whitespace() {
            for address in [format!("rtmp://{host}/a"), format!("srt://{host}:9000")] {
                let Invalid(text) = parse(&address).expect_err(host);
                assert!(text.contains("must have a public host"), "{host}: {text}");
                assert!(parse_private(&address).is_ok(), "{host}");
            }
        }
    }

    #[test]
    fn neighbours_of_reserved_hosts_are_accepted() {
        let hosts = "1.0.0.1 9.255.255.255 11.0.0.1 100.63.255.255 100.128.0.1 126.0.0.1 128.0.0.1
            169.253.0.1 172.15.0.1 172.32.0.1 192.0.1.1 192.167.0.1 192.169.0.1 198.17.0.1
            198.20.0.1 198.51.101.1 203.0.114.1 223.255.255.255 [2001:200::1] [2001:db9::1]
            168.63.129.15 168.63.129.17 192.31.195.1 192.31.197.1 192.52.192.1 192.52.194.1
            192.88.98.1 192.88.100.1 192.175.47.1 192.175.49.1 192.0.3.1 [2620:4f:7fff::1]
            [2620:4f:8001::1] [3fff:1000::1] [2002:808:808::1] [64:ff9b::808:808] [::ffff:8.8.8.8] [3ffe::1] local.example
            localhost.example.com mylan.com notlocal.example";
        for host in hosts.split_whitespace() {
            assert!(parse(&format!("rtmp://{host}/a")).is_ok(), "{host}");
        }
    }

    #[test]
    fn disguised_hosts_are_rejected_even_where_private_ones_are_allowed() {
        let hosts = "127.1 0x7f000001 2130706433 0177.0.0.1 010.8.8.8 127.0.0.1.. %31%32%37.0.0.1
            %6cocalhost １２７.0.0.1 127。0。0。1 ⓛocalhost [fe80::1%25eth0] [::ffff:0177.0.0.1]";
        for host in hosts.split_whitespace() {
            assert!(
                parse_private(&format!("rtmp://{host}/a")).is_err(),
                "{host}"
            );
        }
    }

    #[test]
    fn resolved_addresses_are_checked_too() {
        let policy = UrlPolicy {
            own_ingest_hosts: vec!["198.20.0.1:1935".into()],
            ..UrlPolicy::default()
        };
        let check = |host, address: &str| {
            let address = address.parse().expect(address);
            policy.check_connection(host, address).is_ok()
        };
        for address in ["8.8.8.8:1935", "198.20.0.1:1936", "[2606:4700::1]:443"] {
            assert!(check("a.example.com", address), "{address}");
            assert!(!check("localhost", address), "{address}");
        }
        for address in [
            "127.0.0.1:1935",
            "10.0.0.1:1935",
            "[::1]:1935",
            "[::ffff:10.0.0.1]:1935",
            "[64:ff9b::7f00:1]:1935",
            "198.20.0.1:1935",
            "[::ffff:198.20.0.1]:1935",
        ] {
            assert!(!check("a.example.com", address), "{address}");
        }
        assert!(check("2606:4700::1", "[2606:4700::1]:443"));
    }

    #[test]
    fn own_ingests_are_always_rejected() {
        let own = "in.example Edge.example.:1936 tls.example:443 198.20.0.1 [2606::1]:1935 2606::2
            127.0.0.1:1935";
        let policy = UrlPolicy {
            allow_private: true,
            own_ingest_hosts: own.split_whitespace().map(String::from).collect(),
        };
        let refused = "rtmp://in.example/a rtmps://IN.example.:99/a srt://in.example:9000
            rtmp://edge.example:1936/a rtmps://tls.example/a rtmp://[::ffff:198.20.0.1]/a
            rtmp://[2606:0::1]/a rtmp://[2606::2]:1936/a rtmp://127.0.0.1/a";
        let taken = "rtmp://other.example/a rtmp://edge.example/a rtmp://tls.example/a
            rtmp://a.in.example/a rtmp://[2606::1]:1936/a rtmp://127.0.0.1:1936/a";
        for address in refused.split_whitespace() {
            let Invalid(text) = IngestUrl::parse(address, &policy).expect_err(address);
            assert!(text.contains("this system itself"), "{address}: {text}");
        }
        for address in taken.split_whitespace() {
            assert!(IngestUrl::parse(address, &policy).is_ok(), "{address}");
        }
    }
}

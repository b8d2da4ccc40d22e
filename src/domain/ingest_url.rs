//! Where a destination's streams are sent: the address, without the key.
//!
//! A host is judged by its text alone. A public name can still resolve to a private address, so
//! whoever connects has to judge the resolved address as well.

use std::net::{Ipv4Addr, Ipv6Addr};

use url::{Host, ParseError, Url};

use crate::domain::Invalid;

const MAX_BYTES: usize = 1024;
/// Anything shorter stands in too many addresses by chance.
const MIN_KEY_CHARS: usize = 6;
/// Names that only a private network resolves (RFC 6761, 6762, 8375 and ICANN's `.internal`).
const PRIVATE_NAMES: [&str; 6] = [
    ".localhost",
    ".localdomain",
    ".local",
    ".internal",
    ".lan",
    ".home.arpa",
];

const HOST: &str =
    "must name a host in letters, digits, hyphens and dots, or as an IP address in its usual form";
const PORT: &str = "must have a port from 1 to 65535";

/// The protocol of an ingest address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// RTMP over TCP.
    Rtmp,
    /// RTMP over TLS.
    Rtmps,
    /// SRT over UDP.
    Srt,
}

/// Which hosts an ingest address may name.
#[derive(Debug, Clone, Default)]
pub struct UrlPolicy {
    /// Whether hosts that the internet cannot reach are taken, for tests and closed networks.
    pub allow_private: bool,
    /// This system's own ingests as `host` or `host:port`, which are always refused.
    pub own_ingest_hosts: Vec<String>,
}

/// A checked ingest address, as it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestUrl {
    text: String,
    url: Url,
    scheme: Scheme,
}

impl IngestUrl {
    /// Checks an address of at most 1024 bytes that must hold no credentials and no fragment.
    pub fn parse(text: &str, policy: &UrlPolicy) -> Result<Self, Invalid> {
        let text = text.trim();
        if text.len() > MAX_BYTES {
            return refuse("must have at most 1024 bytes");
        }
        if text.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return refuse("must not contain spaces or control characters");
        }
        let (scheme, rest) = text
            .split_once("://")
            .and_then(|(scheme, rest)| Some((Scheme::parse(scheme)?, rest)))
            .ok_or_else(|| Invalid::because("must start with rtmp://, rtmps:// or srt://"))?;
        if rest.contains('#') {
            return refuse("must not have a fragment (#)");
        }
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        if authority.contains('@') {
            return refuse(
                "must not have a user name or password: credentials belong in stream_key",
            );
        }

        let url = Url::parse(text).map_err(|error| match error {
            ParseError::InvalidPort => Invalid::because(PORT),
            _ => Invalid::because(HOST),
        })?;
        let host = url
            .host_str()
            .and_then(parse_host)
            .ok_or_else(|| Invalid::because(HOST))?;
        if url.port() == Some(0) || authority.ends_with(':') {
            return refuse(PORT);
        }
        policy.check(&host, url.port().or(scheme.default_port()))?;

        let checked = Self {
            text: text.to_owned(),
            url,
            scheme,
        };
        match scheme {
            Scheme::Rtmp | Scheme::Rtmps => checked.check_application()?,
            Scheme::Srt => checked.check_srt()?,
        }
        Ok(checked)
    }

    /// The address as it was typed, without the white space around it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The protocol.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host as it was typed, an IPv6 address in its brackets.
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// Whether the path or query holds this key, if it has at least 6 characters.
    pub fn carries_key(&self, stream_key: &str) -> bool {
        let rest = self.text.split_once("://").map_or("", |(_, rest)| rest);
        let path = rest.find(['/', '?']).map_or("", |start| &rest[start..]);

        stream_key.chars().count() >= MIN_KEY_CHARS && path.contains(stream_key)
    }

    /// Whether the path goes on after that of a known address, as it does with a key pasted behind it.
    pub fn has_pasted_key(&self, known: &[&str]) -> bool {
        let host = parse_host(self.host());

        known
            .iter()
            .filter_map(|address| Url::parse(address).ok())
            .any(|address| {
                let mut typed = segments(&self.url);
                address.host_str().and_then(parse_host) == host
                    && segments(&address).all(|segment| typed.next() == Some(segment))
                    && typed.next().is_some()
            })
    }

    fn check_application(&self) -> Result<(), Invalid> {
        match segments(&self.url).next() {
            Some(_) => Ok(()),
            None => refuse("must name the application, as in rtmp://live.example.com/app"),
        }
    }

    fn check_srt(&self) -> Result<(), Invalid> {
        if self.url.port().is_none() {
            return refuse("must name the port, as in srt://live.example.com:9000");
        }
        let secret = |name: &str| {
            name.eq_ignore_ascii_case("streamid") || name.eq_ignore_ascii_case("passphrase")
        };
        if self.url.query_pairs().any(|(name, _)| secret(&name)) {
            return refuse(
                "must not have streamid or passphrase: the stream id belongs in stream_key",
            );
        }
        Ok(())
    }
}

impl Scheme {
    fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "rtmp" => Some(Self::Rtmp),
            "rtmps" => Some(Self::Rtmps),
            "srt" => Some(Self::Srt),
            _ => None,
        }
    }

    fn default_port(self) -> Option<u16> {
        match self {
            Self::Rtmp => Some(1935),
            Self::Rtmps => Some(443),
            Self::Srt => None,
        }
    }
}

impl UrlPolicy {
    fn check(&self, host: &Host, port: Option<u16>) -> Result<(), Invalid> {
        if self
            .own_ingest_hosts
            .iter()
            .any(|own| is_own(own.trim(), host, port))
        {
            return refuse("must not be an ingest of this system itself");
        }
        if !self.allow_private && !is_public(host) {
            return refuse("must have a public host: not a local, private or reserved one");
        }
        Ok(())
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

/// What a host stands for, without its final dot; an IPv4 address inside an IPv6 one is that IPv4.
///
/// `Url` takes the hosts of schemes that it does not know as they are, so that `127.1` is a name to
/// it. Other programs disagree on what `010.8.8.8` is: IPv4 has to stand in its usual form.
fn parse_host(text: &str) -> Option<Host> {
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

/// Everything but what IANA's special-purpose registry (RFC 6890) and multicast take.
fn is_public_v4(ip: Ipv4Addr) -> bool {
    !matches!(
        ip.octets(),
        [0 | 10 | 127 | 224..=255, ..]
            | [100, 64..=127, ..]
            | [169, 254, ..]
            | [172, 16..=31, ..]
            | [192, 168, ..]
            | [192, 0, 0 | 2, _]
            | [198, 18 | 19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
    )
}

/// Global unicast (2000::/3) without protocol assignments (2001::/23) and documentation.
fn is_public_v6(ip: Ipv6Addr) -> bool {
    !matches!(
        ip.segments(),
        [..=0x1fff | 0x4000.., ..] | [0x2001, ..=0x1ff | 0xdb8, ..] | [0x3fff, ..=0xfff, ..]
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

fn segments(url: &Url) -> impl Iterator<Item = &str> {
    url.path().split('/').filter(|segment| !segment.is_empty())
}

fn refuse<T>(reason: &'static str) -> Result<T, Invalid> {
    Err(Invalid::because(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn public_addresses_are_taken_as_they_were_typed() {
        use Scheme::{Rtmp, Rtmps, Srt};
        for (text, scheme, host) in [
            (
                "rtmp://a.rtmp.youtube.com/live2",
                Rtmp,
                "a.rtmp.youtube.com",
            ),
            (
                "rtmps://b.example.com:443/live2?backup=1",
                Rtmps,
                "b.example.com",
            ),
            ("RTMP://Live.Example.COM./App/", Rtmp, "Live.Example.COM."),
            ("rtmp://8.8.8.8:65535/live", Rtmp, "8.8.8.8"),
            (
                "rtmp://[2606:4700::1111]:80/live",
                Rtmp,
                "[2606:4700::1111]",
            ),
            (
                "rtmp://xn--bcher-kva.example/live",
                Rtmp,
                "xn--bcher-kva.example",
            ),
            (
                "srt://live.example.com:9000?latency=20",
                Srt,
                "live.example.com",
            ),
        ] {
            let url = parse(&format!(" {text}\n")).expect(text);
            assert_eq!(
                (url.as_str(), url.scheme(), url.host()),
                (text, scheme, host)
            );
        }
    }

    #[test]
    fn what_is_not_an_ingest_address_is_refused_with_the_reason() {
        for (reason, addresses) in [
            (
                "must start",
                "- live.example.com/app https://example.com/live rtmp:example.com",
            ),
            (
                "user name",
                "rtmp://u@a.com/a rtmp://u:p@a.com/a rtmp://@a.com/a rtmp://a.com\\@10.0.0.1/a",
            ),
            ("fragment", "rtmp://example.com/a#b rtmp://example.com/a#"),
            (
                "name a host",
                "rtmp:///a rtmp://:1935/a rtmp://./a rtmp://a..b.com/a rtmp://[::1/a",
            ),
            (
                "name a host",
                "rtmp://a;b.com/a rtmp://bücher.example/a rtmp://xn--a.example/a",
            ),
            (
                "name a host",
                "rtmp://1.2.3.4.5/a rtmp://256.1.1.1/a rtmp://a.com\\.b.com/a",
            ),
            (
                "65535",
                "rtmp://a.com:0/a rtmp://a.com:65536/a rtmp://a.com:/a rtmp://a.com:x/a",
            ),
            (
                "application",
                "rtmp://a.com rtmps://a.com/ rtmp://a.com// rtmp://a.com/.. rtmp://a.com?b",
            ),
            ("name the port", "srt://example.com srt://example.com/a"),
            (
                "belongs in stream_key",
                "srt://a.com:9000?streamid=b srt://a.com:9000?b=c&StreamId=d",
            ),
            (
                "belongs in stream_key",
                "srt://a.com:9000?stream%69d=b srt://a.com:9000/?PASSPHRASE=b",
            ),
        ] {
            for address in addresses.split_whitespace() {
                let Invalid(text) = parse(address).expect_err(address);
                assert!(
                    text.contains(reason) && !text.contains(address),
                    "{address}: {text}"
                );
            }
        }
    }

    #[test]
    fn addresses_have_at_most_1024_bytes_and_no_spaces_or_control_characters() {
        assert!(parse(&format!("rtmp://example.com/{}", "a".repeat(1005))).is_ok());
        assert!(parse(&format!("rtmp://example.com/{}", "a".repeat(1006))).is_err());
        for address in [
            "rtmp://a.com/b c",
            "rtmp://a\t.com/b",
            "rtmp://a.com/\0",
            "rtmp://a.com/\u{a0}b",
        ] {
            assert!(parse(address).is_err(), "{address:?}");
        }
    }

    #[test]
    fn hosts_that_the_internet_cannot_reach_are_refused_unless_allowed() {
        let hosts = "localhost LOCALHOST localhost. a.localhost localhost.localdomain nas.local
            NAS.LOCAL. metadata.google.internal router.lan home.arpa a.home.arpa intranet 0.0.0.0
            0.1.2.3 10.1.2.3 100.64.0.1 100.127.255.255 127.0.0.1 127.0.0.1. 127.255.255.255
            169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.8 192.0.2.1 192.168.0.1 198.18.0.1
            198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255
            [::] [::1] [0:0:0:0:0:0:0:1] [::127.0.0.1] [::ffff:10.0.0.1] [::FFFF:7f00:1]
            [64:ff9b::a00:1] [64:ff9b:1::1] [2002:7f00:1::] [2002:c0a8:1::1] [fc00::1] [fd12::1]
            [fe80::1] [febf::1] [fec0::1] [ff02::1] [100::1] [2001::1] [2001:db8::1] [3fff::1]";
        for host in hosts.split_whitespace() {
            for address in [format!("rtmp://{host}/a"), format!("srt://{host}:9000")] {
                let Invalid(text) = parse(&address).expect_err(host);
                assert!(text.contains("must have a public host"), "{host}: {text}");
                assert!(parse_private(&address).is_ok(), "{host}");
            }
        }
    }

    #[test]
    fn neighbours_of_reserved_hosts_are_taken() {
        let hosts = "1.0.0.1 9.255.255.255 11.0.0.1 100.63.255.255 100.128.0.1 126.0.0.1 128.0.0.1
            169.253.0.1 172.15.0.1 172.32.0.1 192.0.1.1 192.167.0.1 192.169.0.1 198.17.0.1
            198.20.0.1 198.51.101.1 203.0.114.1 223.255.255.255 [2001:200::1] [2001:db9::1]
            [2002:808:808::1] [64:ff9b::808:808] [::ffff:8.8.8.8] [3ffe::1] local.example
            localhost.example.com mylan.com notlocal.example";
        for host in hosts.split_whitespace() {
            assert!(parse(&format!("rtmp://{host}/a")).is_ok(), "{host}");
        }
    }

    #[test]
    fn disguised_hosts_are_refused_even_where_private_ones_are_allowed() {
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
    fn own_ingests_are_always_refused() {
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

    #[test]
    fn a_key_in_the_path_or_query_is_noticed() {
        for (address, key, carried) in [
            ("rtmp://example.com/app/abcd-efgh", "abcd-efgh", true),
            ("rtmp://example.com/app?key=abcd-efgh", "abcd-efgh", true),
            ("srt://example.com:9000?abcd-efgh", "abcd-efgh", true),
            ("rtmp://example.com/app/FB-1?s=1&a=x", "FB-1?s=1&a=x", true),
            ("rtmp://abcd-efgh.com/app", "abcd-efgh", false),
            ("rtmp://example.com/app/ABCD-EFGH", "abcd-efgh", false),
            ("rtmp://example.com/app/abcde", "abcde", false),
            ("rtmp://example.com/app", "", false),
        ] {
            assert_eq!(
                parse(address).map(|url| url.carries_key(key)),
                Ok(carried),
                "{address}"
            );
        }
    }

    #[test]
    fn a_path_that_goes_on_after_a_known_address_is_noticed() {
        let known = [
            "rtmps://a.example.com:443/live2?backup=1",
            "rtmp://b.example.com/app/",
        ];
        let pasted = "rtmp://a.example.com/live2/abcd-efgh-ijkl rtmps://a.example.com/live2/abcd
            rtmp://A.Example.com.:1935//live2//abcd rtmp://b.example.com/app/abcd?x=y";
        let clean = "rtmp://a.example.com/live2/ rtmp://a.example.com/live2?backup=1
            rtmp://a.example.com/live2x/abcd rtmp://a.example.com/other/abcd
            rtmp://c.example.com/live2/abcd rtmp://b.example.com/app";
        for address in pasted.split_whitespace() {
            assert!(
                parse(address).is_ok_and(|url| url.has_pasted_key(&known)),
                "{address}"
            );
        }
        for address in clean.split_whitespace() {
            assert!(
                parse(address).is_ok_and(|url| !url.has_pasted_key(&known)),
                "{address}"
            );
        }
    }
}

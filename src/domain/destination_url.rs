//! Ingest addresses of destinations, without the stream key.

use url::{ParseError, Url};

use super::{
    Invalid, UrlPolicy, destination_host::parse_host, invalid::refuse,
    invisible_characters::reject_invisible, srt,
};

const MAX_BYTES: usize = 1024;
/// Shorter keys occur in addresses by chance.
const MIN_KEY_CHARS: usize = 6;

const HOST_ERROR: &str =
    "must name a host in letters, digits, hyphens and dots, or as an IP address in its usual form";
const PORT_ERROR: &str = "must have a port from 1 to 65535";

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

/// A valid ingest address, stored as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestUrl {
    text: String,
    url: Url,
    scheme: Scheme,
}

impl IngestUrl {
    /// Parses an address of at most 1024 bytes, without credentials and fragment.
    pub fn parse(text: &str, policy: &UrlPolicy) -> Result<Self, Invalid> {
        let text = text.trim();
        if text.len() > MAX_BYTES {
            return refuse("must have at most 1024 bytes");
        }
        reject_invisible(text)?;
        let (scheme, rest) = split_scheme(text)?;
        if rest.contains('#') {
            return refuse("must not have a fragment (#)");
        }
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        if authority.contains('@') {
            return refuse(
                "must not have a user name or password: credentials belong in stream_key",
            );
        }

        let url = parse_url(text)?;
        let host = url.host_str().and_then(parse_host);
        let host = host.ok_or_else(|| Invalid::because(HOST_ERROR))?;
        if url.port() == Some(0) || authority.ends_with(':') {
            return refuse(PORT_ERROR);
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

    /// Reads an address that was saved, perhaps before a rule that it breaks.
    pub fn saved(text: &str) -> Result<Self, Invalid> {
        let (scheme, _) = split_scheme(text)?;
        Ok(Self {
            text: text.to_owned(),
            url: parse_url(text)?,
            scheme,
        })
    }

    /// The address as typed, without surrounding white space.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The protocol.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host as typed; an IPv6 address is in brackets.
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// Whether the stream key for `before` may be sent to this address.
    ///
    /// It may if host, port and protocol are the same. Plain RTMP may also become RTMPS on the same
    /// host, both on their default ports.
    pub fn is_same_server(&self, before: &str) -> bool {
        let Ok(before) = Url::parse(before) else {
            return false;
        };
        let hosts = (self.url.host_str(), before.host_str());
        if !matches!(hosts, (Some(a), Some(b)) if a.eq_ignore_ascii_case(b)) {
            return false;
        }

        let was = Scheme::parse(before.scheme());
        let port_was = before.port().or(was.and_then(Scheme::default_port));
        let port = self.url.port().or(self.scheme.default_port());
        let becomes_encrypted = was == Some(Scheme::Rtmp) && self.scheme == Scheme::Rtmps;
        let on_default_ports = before.port().is_none() && self.url.port().is_none();
        was == Some(self.scheme) && port_was == port || becomes_encrypted && on_default_ports
    }

    /// Whether the host is one of these domains, or below one of them.
    pub fn is_within(&self, domains: &[&str]) -> bool {
        let host = self.host().to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        domains.iter().any(|domain| {
            let above = host.strip_suffix(domain);
            above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
        })
    }

    /// Whether both lead to the same application of the same server, with or without TLS.
    pub fn is_same_ingest(&self, other: &Self) -> bool {
        let is_srt = |url: &Self| url.scheme == Scheme::Srt;
        let port = |url: &Self| {
            url.url
                .port()
                .filter(|port| Some(*port) != url.scheme.default_port())
        };
        is_srt(self) == is_srt(other)
            && parse_host(self.host()) == parse_host(other.host())
            && port(self) == port(other)
            && segments(&self.url).eq(segments(&other.url))
            && self.url.query() == other.url.query()
    }

    /// The names of the options of an SRT address that `sluice edge` does not use.
    pub fn unused_srt_options(&self) -> Vec<&str> {
        let query = self.url.query().filter(|_| self.scheme == Scheme::Srt);
        let options = query.unwrap_or_default().split('&');
        options
            .filter(|option| !option.is_empty() && !srt::is_passed_option(option))
            .filter_map(|option| option.split('=').next())
            .filter(|name| !name.eq_ignore_ascii_case("mode"))
            .collect()
    }

    /// Whether the path or query contains this key of at least 6 characters.
    pub fn contains_key(&self, stream_key: &str) -> bool {
        let rest = self.text.split_once("://").map_or("", |(_, rest)| rest);
        let path = rest.find(['/', '?']).map_or("", |start| &rest[start..]);

        stream_key.chars().count() >= MIN_KEY_CHARS && path.contains(stream_key)
    }

    /// Whether the path continues after the path of a known address, as with a pasted stream key.
    pub fn has_pasted_key(&self, known: &[&str]) -> bool {
        let host = parse_host(self.host());

        let mut known = known.iter().filter_map(|known| Url::parse(known).ok());
        known.any(|address| {
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
        let mut options = self.url.query_pairs();
        options.try_for_each(|(name, value)| srt::check_option(&name, &value))
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

fn split_scheme(text: &str) -> Result<(Scheme, &str), Invalid> {
    text.split_once("://")
        .and_then(|(scheme, rest)| Some((Scheme::parse(scheme)?, rest)))
        .ok_or_else(|| Invalid::because("must start with rtmp://, rtmps:// or srt://"))
}

fn parse_url(text: &str) -> Result<Url, Invalid> {
    Url::parse(text).map_err(|error| match error {
        ParseError::InvalidPort => Invalid::because(PORT_ERROR),
        _ => Invalid::because(HOST_ERROR),
    })
}

fn segments(url: &Url) -> impl Iterator<Item = &str> {
    url.path().split('/').filter(|segment| !segment.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<IngestUrl, Invalid> {
        IngestUrl::parse(text, &UrlPolicy::default())
    }

    #[test]
    fn public_addresses_are_stored_as_typed() {
        let cases = "
            Rtmp a.rtmp.youtube.com rtmp://a.rtmp.youtube.com/live2
            Rtmps b.example.com rtmps://b.example.com:443/live2?backup=1
            Rtmp Live.Example.COM. RTMP://Live.Example.COM./App/
            Rtmp 8.8.8.8 rtmp://8.8.8.8:65535/live
            Rtmp [2606:4700::1111] rtmp://[2606:4700::1111]:80/live
            Rtmp xn--bcher-kva.example rtmp://xn--bcher-kva.example/live
            Srt live.example.com srt://live.example.com:9000?latency=20
            Srt live.example.com srt://live.example.com:9000?mode=caller&latency=20";
        for case in cases.trim().lines() {
            let columns: Vec<_> = case.split_whitespace().collect();
            let [scheme, host, text] = columns[..] else {
                panic!("{case}");
            };
            let url = parse(&format!(" {text}\n")).expect(text);
            assert_eq!((url.as_str(), url.host()), (text, host));
            assert_eq!(format!("{:?}", url.scheme()), scheme);
        }
    }

    #[test]
    fn malformed_addresses_are_rejected_with_a_reason() {
        let cases = "
            must start: - live.example.com/app https://example.com/live rtmp:example.com
            user name: rtmp://u@a.com/a rtmp://u:p@a.com/a rtmp://@a.com/a rtmp://a.com\\@10.0.0.1/a
            fragment: rtmp://example.com/a#b rtmp://example.com/a#
            name a host: rtmp:///a rtmp://:1935/a rtmp://./a rtmp://a..b.com/a rtmp://[::1/a
            name a host: rtmp://a;b.com/a rtmp://bücher.example/a rtmp://xn--a.example/a
            name a host: rtmp://1.2.3.4.5/a rtmp://256.1.1.1/a rtmp://a.com\\.b.com/a
            65535: rtmp://a.com:0/a rtmp://a.com:65536/a rtmp://a.com:/a rtmp://a.com:x/a
            application: rtmp://a.com rtmps://a.com/ rtmp://a.com// rtmp://a.com/.. rtmp://a.com?b
            name the port: srt://example.com srt://example.com/a
            belongs in stream_key: srt://a.com:9000?streamid=b srt://a.com:9000?b=c&StreamId=d
            belongs in stream_key: srt://a.com:9000?stream%69d=b srt://a.com:9000?srt_streamid=b
            belongs in srt_passphrase: srt://a.com:9000?passphrase=b srt://a.com:9000/?PASSPHRASE=b
            belongs in srt_pbkeylen: srt://a.com:9000?latency=20&pbkeylen=16
            other than caller: srt://a.com:9000?mode=listener srt://a.com:9000?MODE=rendezvous
            other than caller: srt://a.com:9000?mode=server srt://a.com:9000?m%6fde=l%69stener";
        for case in cases.trim().lines() {
            let (reason, addresses) = case.trim().split_once(": ").expect(case);
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
    fn addresses_have_at_most_1024_bytes_and_no_invisible_characters() {
        assert!(parse(&format!("rtmp://example.com/{}", "a".repeat(1005))).is_ok());
        assert!(parse(&format!("rtmp://example.com/{}", "a".repeat(1006))).is_err());
        for address in [
            "rtmp://a.com/b c",
            "rtmp://a\t.com/b",
            "rtmp://a.com/\0",
            "rtmp://a.com/\u{a0}b",
            "rtmp://a.com/\u{200b}b",
            "\u{feff}rtmp://a.com/b",
        ] {
            assert!(parse(address).is_err(), "{address:?}");
        }
    }

    #[test]
    fn a_saved_address_that_breaks_a_later_rule_is_still_read() {
        for text in [
            "srt://a.com:9000?mode=listener&passphrase=b",
            "rtmp://10.0.0.1/a",
        ] {
            assert!(parse(text).is_err(), "{text}");
            assert_eq!(IngestUrl::saved(text).expect(text).as_str(), text);
        }
    }

    #[test]
    fn addresses_of_one_application_are_known_as_the_same_ingest() {
        let first = parse("rtmp://Live.Example.com/app?x=1").unwrap();
        for (other, is_same) in [
            ("rtmps://live.example.com.:443/app/?x=1", true),
            ("rtmp://live.example.com:1935//app?x=1", true),
            ("rtmp://live.example.com/app", false),
            ("rtmp://live.example.com:1936/app?x=1", false),
            ("rtmp://live.example.com/other?x=1", false),
            ("rtmp://example.com/app?x=1", false),
            ("srt://live.example.com:1935/app?x=1", false),
        ] {
            let is_found = parse(other).expect(other).is_same_ingest(&first);
            assert_eq!(is_found, is_same, "{other}");
        }
    }

    #[test]
    fn srt_options_without_effect_are_found() {
        let url = parse("srt://a.com:9000?latency=20&mode=caller&transtype=file&mss=x&a").unwrap();
        assert_eq!(url.unused_srt_options(), ["transtype", "mss", "a"]);
        let url = parse("rtmp://a.com/app?transtype=file").unwrap();
        assert_eq!(url.unused_srt_options(), [""; 0]);
    }

    #[test]
    fn a_key_in_the_path_or_query_is_found() {
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
            let url = parse(address).expect(address);
            assert_eq!(url.contains_key(key), carried, "{address}");
        }
    }

    #[test]
    fn a_path_that_continues_a_known_address_is_found() {
        let known = [
            "rtmps://a.example.com:443/live2?backup=1",
            "rtmp://b.example.com/app/",
        ];
        let pasted = "rtmp://a.example.com/live2/abcd-efgh-ijkl rtmps://a.example.com/live2/abcd
            rtmp://A.Example.com.:1935//live2//abcd rtmp://b.example.com/app/abcd?x=y";
        let clean = "rtmp://a.example.com/live2/ rtmp://a.example.com/live2?backup=1
            rtmp://a.example.com/live2x/abcd rtmp://a.example.com/other/abcd
            rtmp://c.example.com/live2/abcd rtmp://b.example.com/app";
        for (addresses, is_pasted) in [(pasted, true), (clean, false)] {
            for address in addresses.split_whitespace() {
                let url = parse(address).expect(address);
                assert_eq!(url.has_pasted_key(&known), is_pasted, "{address}");
            }
        }
    }
}

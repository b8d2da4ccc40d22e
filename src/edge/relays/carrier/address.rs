use crate::domain::Secret;

const NO_SCHEME: &str = "must start with rtmp://, rtmps:// or srt://";
const NO_HOST: &str = "must name a host";
const NO_PORT: &str = "must have a port from 1 to 65535";
const NO_NAME: &str = "must name an application and a stream";
const LONG_ID: &str = "must have a stream id of at most 512 bytes";

/// Where a far side is, and what it is to be told there.
#[derive(Debug, Clone)]
pub(super) enum Address {
    /// RTMP, over TLS or not.
    Rtmp(RtmpAddress),
    /// SRT.
    Srt(SrtAddress),
}

/// A host and its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Site {
    /// A name or an IP address; that of IPv6 without its brackets.
    pub(super) host: String,
    /// The port.
    pub(super) port: u16,
}

/// A stream of an RTMP server.
#[derive(Debug, Clone)]
pub(super) struct RtmpAddress {
    /// The server.
    pub(super) site: Site,
    /// Whether it is spoken to over TLS.
    pub(super) tls: bool,
    /// The application, as `connect` names it.
    pub(super) app: Secret,
    /// The address of the application, as `connect` names it.
    pub(super) tc_url: Secret,
    /// The stream: for destinations, the key.
    pub(super) name: Secret,
}

/// A stream of an SRT listener.
#[derive(Debug, Clone)]
pub(super) struct SrtAddress {
    /// The listener.
    pub(super) site: Site,
    /// Options for ffmpeg that tell nothing: `name=value`, joined by `&`.
    pub(super) options: String,
    /// The stream id; empty means that none is told.
    pub(super) stream_id: Secret,
}

impl Address {
    /// Takes an address with its key apart; says what it lacks.
    pub(super) fn parse(url: &Secret) -> Result<Self, &'static str> {
        let (scheme, rest) = url.expose().split_once("://").ok_or(NO_SCHEME)?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        match scheme.to_ascii_lowercase().as_str() {
            "rtmp" => rtmp("rtmp", authority, rest).map(Self::Rtmp),
            "rtmps" => rtmp("rtmps", authority, rest).map(Self::Rtmp),
            "srt" => srt(authority, rest).map(Self::Srt),
            _ => Err(NO_SCHEME),
        }
    }
}

fn site(authority: &str, usual: Option<u16>) -> Result<Site, &'static str> {
    if authority.contains('@') {
        return Err(NO_HOST);
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let port = match port {
        Some(text) => text.parse().ok().filter(|port| *port > 0),
        None => usual,
    };
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    if bare.is_empty() {
        return Err(NO_HOST);
    }
    Ok(Site {
        host: bare.to_owned(),
        port: port.ok_or(NO_PORT)?,
    })
}

fn rtmp(scheme: &str, authority: &str, path: &str) -> Result<RtmpAddress, &'static str> {
    let tls = scheme == "rtmps";
    let path = path.strip_prefix('/').ok_or(NO_NAME)?;
    let (app, name) = application_and_stream(path).ok_or(NO_NAME)?;
    Ok(RtmpAddress {
        site: site(authority, Some(if tls { 443 } else { 1935 }))?,
        tls,
        app: Secret::new(app),
        tc_url: Secret::new(format!("{scheme}://{authority}/{app}")),
        name: Secret::new(name),
    })
}

/// Where the application ends and the stream begins: at the last slash of the path.
///
/// Both can have a query. A slash in it parts the stream from an application such as
/// `live2?backup=1`; behind `app/stream?` the query is the stream's, and a slash in it
/// is nothing but a part of a token.
fn application_and_stream(path: &str) -> Option<(&str, &str)> {
    let (before, query) = path.split_at(path.find('?').unwrap_or(path.len()));
    let at = match before.rfind('/') {
        Some(at) => at,
        None => before.len() + query.rfind('/')?,
    };
    let (app, name) = (path[..at].trim_end_matches('/'), &path[at + 1..]);
    (!app.is_empty() && !name.is_empty()).then_some((app, name))
}

/// Options that ffmpeg needs, and that tell nothing of who sends. What is not here
/// would make it listen, encrypt for itself, or name another stream.
const OPTIONS: [&str; 12] = [
    "latency",
    "rcvlatency",
    "peerlatency",
    "tsbpddelay",
    "pkt_size",
    "payload_size",
    "mss",
    "maxbw",
    "inputbw",
    "oheadbw",
    "tlpktdrop",
    "snddropdelay",
];

fn srt(authority: &str, rest: &str) -> Result<SrtAddress, &'static str> {
    let query = rest.split_once('?').map_or("", |(_, query)| query);
    // The key comes last, and may hold anything.
    let (options, stream_id) = match query.strip_prefix("streamid=") {
        Some(stream_id) => ("", stream_id),
        None => query.split_once("&streamid=").unwrap_or((query, "")),
    };
    if stream_id.len() > 512 {
        return Err(LONG_ID);
    }
    Ok(SrtAddress {
        site: site(authority, None)?,
        options: harmless(options),
        stream_id: Secret::new(stream_id),
    })
}

fn harmless(options: &str) -> String {
    let is_known = |option: &&str| {
        option.split_once('=').is_some_and(|(name, value)| {
            let digits = value.strip_prefix('-').unwrap_or(value);
            OPTIONS.contains(&name)
                && matches!(digits.len(), 1..=12)
                && digits.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    let known: Vec<&str> = options.split('&').filter(is_known).collect();
    known.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address, &'static str> {
        Address::parse(&Secret::new(url))
    }

    #[test]
    fn an_rtmp_address_is_split_as_encoders_do_it() {
        for (url, app, tc_url, name) in [
            (
                "rtmps://a.rtmps.youtube.com:443/live2/abcd-efgh",
                "live2",
                "rtmps://a.rtmps.youtube.com:443/live2",
                "abcd-efgh",
            ),
            (
                "rtmp://b.rtmp.youtube.com/live2?backup=1/abcd",
                "live2?backup=1",
                "rtmp://b.rtmp.youtube.com/live2?backup=1",
                "abcd",
            ),
            (
                "rtmps://live-api-s.facebook.com:443/rtmp/FB-1-0-Ab?s_bl=1&s_sw=0&a=Ab%2f+",
                "rtmp",
                "rtmps://live-api-s.facebook.com:443/rtmp",
                "FB-1-0-Ab?s_bl=1&s_sw=0&a=Ab%2f+",
            ),
            (
                "rtmps://fa723.global-contribute.live-video.net/app/sk_us-west-2_x",
                "app",
                "rtmps://fa723.global-contribute.live-video.net/app",
                "sk_us-west-2_x",
            ),
            (
                "RTMP://A.example.com/app/k",
                "app",
                "rtmp://A.example.com/app",
                "k",
            ),
            (
                "rtmp://a.example.com/a/b/c/k",
                "a/b/c",
                "rtmp://a.example.com/a/b/c",
                "k",
            ),
            (
                "rtmp://a.example.com/app/?token=x",
                "app",
                "rtmp://a.example.com/app",
                "?token=x",
            ),
            (
                "rtmp://a.example.com/app/k?token=ab/cd==",
                "app",
                "rtmp://a.example.com/app",
                "k?token=ab/cd==",
            ),
            (
                "rtmp://[2001:db8::1]:1936/app/k",
                "app",
                "rtmp://[2001:db8::1]:1936/app",
                "k",
            ),
        ] {
            let Ok(Address::Rtmp(address)) = parse(url) else {
                panic!("{url}");
            };
            assert_eq!(address.app.expose(), app, "{url}");
            assert_eq!(address.tc_url.expose(), tc_url, "{url}");
            assert_eq!(address.name.expose(), name, "{url}");
        }
    }

    #[test]
    fn the_port_is_the_usual_one_unless_it_is_named() {
        for (url, host, port) in [
            ("rtmp://a.example.com/app/k", "a.example.com", 1935),
            ("rtmps://a.example.com/app/k", "a.example.com", 443),
            ("rtmp://[2001:db8::1]/app/k", "2001:db8::1", 1935),
            ("rtmps://[2001:db8::1]:8443/app/k", "2001:db8::1", 8443),
        ] {
            let Ok(Address::Rtmp(address)) = parse(url) else {
                panic!("{url}");
            };
            let host = host.to_owned();
            assert_eq!(address.site, Site { host, port });
        }
    }

    #[test]
    fn of_an_srt_address_the_stream_id_goes_as_it_is_and_harmless_options_stay() {
        for (url, options, stream_id) in [
            ("srt://a.example.com:9000", "", ""),
            ("srt://a.example.com:9000?streamid=k&a=+%20", "", "k&a=+%20"),
            (
                "srt://a.example.com:9000?latency=20000&mode=listener&streamid=#!::r=k,m=publish",
                "latency=20000",
                "#!::r=k,m=publish",
            ),
            (
                "srt://a.example.com:9000/?pkt_size=1316&maxbw=-1&transtype=file&latency=a",
                "pkt_size=1316&maxbw=-1",
                "",
            ),
            (
                "SRT://a.example.com:9000?streamid=a&streamid=b",
                "",
                "a&streamid=b",
            ),
        ] {
            let Ok(Address::Srt(address)) = parse(url) else {
                panic!("{url}");
            };
            assert_eq!(address.stream_id.expose(), stream_id, "{url}");
            assert_eq!(address.options, options, "{url}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_told() {
        let long = format!("srt://a:9000?streamid={}", "k".repeat(513));
        for (url, why) in [
            ("http://a/app/k", NO_SCHEME),
            ("a/app/k", NO_SCHEME),
            ("rtmp:///app/k", NO_HOST),
            ("rtmp://u:p@a/app/k", NO_HOST),
            ("rtmp://a:0/app/k", NO_PORT),
            ("rtmp://a:x/app/k", NO_PORT),
            ("rtmp://a", NO_NAME),
            ("rtmp://a/app", NO_NAME),
            ("rtmp://a/app/", NO_NAME),
            ("srt://a?streamid=k", NO_PORT),
            (&long, LONG_ID),
        ] {
            assert_eq!(parse(url).map(drop), Err(why), "{url}");
        }
    }
}

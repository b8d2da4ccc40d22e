use crate::{
    domain::{Secret, is_passed_option},
    outbound::Site,
};

const NO_SCHEME: &str = "must start with rtmp://, rtmps:// or srt://";
const NO_HOST: &str = "must name a host";
const NO_PORT: &str = "must have a port from 1 to 65535";
const NO_NAME: &str = "must name an application and a stream";
const LONG_ID: &str = "must have a stream id of at most 512 bytes";

/// Where the media of a relay is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output {
    /// The address and the key of the destination.
    Apart {
        /// For RTMP, everything behind the host is the application.
        server_url: Secret,
        /// The stream name of RTMP, the stream id of SRT.
        stream_key: Secret,
    },
    /// Both joined. If the key has a slash, it is split at the wrong place.
    Joined(Secret),
}

/// Where a server is, and what to name there.
#[derive(Debug, Clone)]
pub(crate) enum Address {
    /// RTMP, over TLS or not.
    Rtmp(RtmpAddress),
    /// SRT.
    Srt(SrtAddress),
}

/// A stream of an RTMP server.
#[derive(Debug, Clone)]
pub(crate) struct RtmpAddress {
    /// The server.
    pub(crate) site: Site,
    /// Whether the connection uses TLS.
    pub(crate) tls: bool,
    /// The application, as `connect` names it.
    pub(crate) app: Secret,
    /// The address of the application, as `connect` names it.
    pub(crate) tc_url: Secret,
    /// The stream: for destinations, the key.
    pub(crate) name: Secret,
}

/// A stream of an SRT listener.
#[derive(Debug, Clone)]
pub(crate) struct SrtAddress {
    /// The listener.
    pub(crate) site: Site,
    /// Options for libsrt without secrets: `name=value`, joined by `&`.
    pub(crate) options: String,
    /// The stream id; empty means none.
    pub(crate) stream_id: Secret,
}

impl Output {
    /// The key of the destination, as far as it is known.
    pub(crate) fn stream_key(&self) -> &str {
        match self {
            Self::Apart { stream_key, .. } => stream_key.expose(),
            Self::Joined(url) => match url.expose().split_once("streamid=") {
                Some((_, key)) => key,
                None => url.expose().rsplit('/').next().unwrap_or_default(),
            },
        }
    }
}

impl Address {
    /// The address of a destination. An error says what it lacks.
    pub(crate) fn of_output(output: &Output) -> Result<Self, &'static str> {
        let (server_url, key) = match output {
            Output::Joined(url) => return Self::parse(url),
            Output::Apart {
                server_url,
                stream_key,
            } => (server_url, stream_key.expose()),
        };
        let (scheme, authority, rest) = split(server_url)?;
        match &*scheme {
            "srt" => srt(authority, query_of(rest), key).map(Self::Srt),
            _ => {
                let app = rest.strip_prefix('/').ok_or(NO_NAME)?;
                rtmp(&scheme, authority, app.trim_end_matches('/'), key).map(Self::Rtmp)
            }
        }
    }

    /// Parses an address that includes the key. An error says what it lacks.
    pub(crate) fn parse(url: &Secret) -> Result<Self, &'static str> {
        let (scheme, authority, rest) = split(url)?;
        if scheme == "srt" {
            let query = query_of(rest);
            // The key comes last, and may hold anything.
            let (options, stream_id) = match query.strip_prefix("streamid=") {
                Some(stream_id) => ("", stream_id),
                None => query.split_once("&streamid=").unwrap_or((query, "")),
            };
            return srt(authority, options, stream_id).map(Self::Srt);
        }
        let path = rest.strip_prefix('/').ok_or(NO_NAME)?;
        let (app, name) = application_and_stream(path).ok_or(NO_NAME)?;
        rtmp(&scheme, authority, app, name).map(Self::Rtmp)
    }
}

/// The scheme in lower case, the authority, and what follows.
fn split(url: &Secret) -> Result<(String, &str, &str), &'static str> {
    let (scheme, rest) = url.expose().split_once("://").ok_or(NO_SCHEME)?;
    let scheme = scheme.to_ascii_lowercase();
    if !matches!(&*scheme, "rtmp" | "rtmps" | "srt") {
        return Err(NO_SCHEME);
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    Ok((scheme, authority, rest))
}

fn query_of(rest: &str) -> &str {
    rest.split_once('?').map_or("", |(_, query)| query)
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

/// As OBS names them: the application has its query, and `tcUrl` is the whole address.
fn rtmp(scheme: &str, authority: &str, app: &str, name: &str) -> Result<RtmpAddress, &'static str> {
    if app.is_empty() || name.is_empty() {
        return Err(NO_NAME);
    }
    let tls = scheme == "rtmps";
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

fn srt(authority: &str, options: &str, stream_id: &str) -> Result<SrtAddress, &'static str> {
    if stream_id.len() > 512 {
        return Err(LONG_ID);
    }
    // Others would make ffmpeg listen, encrypt for itself, or name another stream.
    let options: Vec<&str> = options
        .split('&')
        .filter(|option| is_passed_option(option))
        .collect();
    Ok(SrtAddress {
        site: site(authority, None)?,
        options: options.join("&"),
        stream_id: Secret::new(stream_id),
    })
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
    fn a_destination_keeps_its_application_and_key_apart() {
        for (server_url, key, app, tc_url) in [
            ("rtmp://far/live", "abc/def==", "live", "rtmp://far/live"),
            ("rtmp://far/live", "k?x=a/b", "live", "rtmp://far/live"),
            (
                "RTMP://far/app/inst?user=a&pass=b/",
                "key",
                "app/inst?user=a&pass=b",
                "rtmp://far/app/inst?user=a&pass=b",
            ),
            (
                "rtmps://far:443/live2?backup=1",
                "rtmp://pasted",
                "live2?backup=1",
                "rtmps://far:443/live2?backup=1",
            ),
        ] {
            let output = Output::Apart {
                server_url: Secret::new(server_url),
                stream_key: Secret::new(key),
            };
            let Ok(Address::Rtmp(address)) = Address::of_output(&output) else {
                panic!("{server_url}");
            };
            assert_eq!(address.app.expose(), app);
            assert_eq!(address.tc_url.expose(), tc_url);
            assert_eq!(address.name.expose(), key);
        }
        let output = Output::Apart {
            server_url: Secret::new("srt://far:9000?latency=20&mode=listener"),
            stream_key: Secret::new("k&streamid=x&latency=9"),
        };
        let Ok(Address::Srt(address)) = Address::of_output(&output) else {
            panic!("it is SRT");
        };
        assert_eq!(address.options, "latency=20");
        assert_eq!(address.stream_id.expose(), "k&streamid=x&latency=9");
    }

    #[test]
    fn a_destination_needs_an_application_and_a_key() {
        for (server_url, key) in [
            ("rtmp://far/", "k"),
            ("rtmp://far", "k"),
            ("rtmp://far/a", ""),
        ] {
            let output = Output::Apart {
                server_url: Secret::new(server_url),
                stream_key: Secret::new(key),
            };
            let lacks = Address::of_output(&output).map(drop);
            assert_eq!(lacks, Err(NO_NAME), "{server_url}");
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

use anyhow::{Context, bail};
use chrono::DateTime;
use http::{HeaderMap, Response, header};
use hyper::body::Bytes;
use roxmltree::{Document, Node};

use crate::proto::v1::StreamStats;

/// The `/stat` page of nginx-rtmp.
#[derive(Debug)]
pub(super) struct Stat {
    /// The process id of the worker that answers.
    pub(super) pid: u64,
    /// When its configuration was read, in seconds since 1970 by its own clock.
    pub(super) start_time: i64,
    /// Streams with a publisher.
    pub(super) streams: Vec<StatStream>,
}

/// A stream with a publisher.
#[derive(Debug)]
pub(super) struct StatStream {
    pub(super) application: String,
    /// The name: the stream key, unless the stream was renamed.
    pub(super) name: String,
    /// The publisher's connection.
    pub(super) client: u64,
    pub(super) address: String,
    pub(super) stats: StreamStats,
}

impl Stat {
    /// Parses a response of nginx. Its `Date` and the uptime are of one clock, so that their
    /// difference stays the same when that clock is changed.
    pub(super) fn parse(response: &Response<Bytes>) -> anyhow::Result<Self> {
        let text = without_forbidden_chars(response.body());
        // The parser's error quotes the page, which holds stream keys.
        let Ok(document) = Document::parse(&text) else {
            bail!("/stat is not XML");
        };
        let root = document.root_element();
        if !root.has_tag_name("rtmp") {
            bail!("/stat is not a page of nginx-rtmp");
        }
        let uptime: i64 = number(root, "uptime").context("/stat has no uptime")?;
        let applications = children(root, "server").flat_map(|node| children(node, "application"));
        Ok(Self {
            pid: number(root, "pid").context("/stat has no pid")?,
            start_time: date(response.headers())?.saturating_sub(uptime),
            streams: applications.flat_map(streams).collect(),
        })
    }
}

/// The time of a response, in seconds since 1970.
fn date(headers: &HeaderMap) -> anyhow::Result<i64> {
    let date = headers
        .get(header::DATE)
        .and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| DateTime::parse_from_rfc2822(date).ok());
    let date = date.context("the response with /stat has no valid Date header")?;
    Ok(date.timestamp())
}

/// nginx writes texts of clients unchanged. Characters that XML forbids must not make the
/// whole page invalid.
fn without_forbidden_chars(body: &[u8]) -> String {
    let is_allowed = |&char: &char| !matches!(char, '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}');
    let text = String::from_utf8_lossy(body);
    text.chars().filter(is_allowed).collect()
}

fn streams<'a>(application: Node<'a, 'a>) -> impl Iterator<Item = StatStream> {
    let name = text(application, "name").unwrap_or_default();
    let live = children(application, "live").flat_map(|node| children(node, "stream"));
    live.filter_map(move |stream| {
        let publishes = |client: &Node| child(*client, "publishing").is_some();
        let client = children(stream, "client").find(publishes)?;
        Some(StatStream {
            application: name.to_owned(),
            name: text(stream, "name")?.to_owned(),
            client: number(client, "id")?,
            address: text(client, "address").unwrap_or_default().to_owned(),
            stats: stats(stream),
        })
    })
}

fn stats(stream: Node) -> StreamStats {
    let meta = child(stream, "meta");
    let video = meta.and_then(|meta| child(meta, "video"));
    let audio = meta.and_then(|meta| child(meta, "audio"));
    let of_video = |name| video.and_then(|video| number::<i32>(video, name));
    let codec = |track: Option<Node>| {
        let codec = track.and_then(|track| text(track, "codec"));
        codec.unwrap_or_default().to_lowercase()
    };
    StreamStats {
        bytes_received: number(stream, "bytes_in").unwrap_or_default(),
        bitrate_bps: number(stream, "bw_in").unwrap_or_default(),
        width: of_video("width").unwrap_or_default(),
        height: of_video("height").unwrap_or_default(),
        fps: of_video("frame_rate").map(f64::from).unwrap_or_default(),
        video_codec: codec(video),
        audio_codec: codec(audio),
        ..StreamStats::default()
    }
}

fn children<'a>(node: Node<'a, 'a>, name: &'static str) -> impl Iterator<Item = Node<'a, 'a>> {
    node.children()
        .filter(move |child| child.has_tag_name(name))
}

fn child<'a>(node: Node<'a, 'a>, name: &'static str) -> Option<Node<'a, 'a>> {
    children(node, name).next()
}

fn text<'a>(node: Node<'a, 'a>, name: &'static str) -> Option<&'a str> {
    child(node, name).and_then(|child| child.text())
}

fn number<T: std::str::FromStr>(node: Node, name: &'static str) -> Option<T> {
    text(node, name)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use http::{Response, header};
    use hyper::body::Bytes;

    use super::Stat;

    fn parse(body: impl Into<Bytes>) -> anyhow::Result<Stat> {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        let response = Response::builder().header(header::DATE, date);
        Stat::parse(&response.body(body.into()).unwrap())
    }

    /// A shortened page of nginx 1.22 with Debian's module.
    const STAT: &str = "<?xml version=\"1.0\" encoding=\"utf-8\" ?>\r\n<rtmp>\r\n\
        <nginx_version>1.22.1</nginx_version>\r\n<pid>4711</pid>\r\n<uptime>33</uptime>\r\n\
        <server>\r\n<application>\r\n<name>live</name>\r\n<live>\r\n<stream>\r\n\
        <name>p_0123</name>\r\n<time>5012</time><bw_in>812000</bw_in>\r\n<bytes_in>512345</bytes_in>\r\n\
        <client><id>9</id><address>127.0.0.1</address><time>5000</time><flashver>LNX 9</flashver></client>\r\n\
        <client><id>3</id><address>203.0.113.5</address><time>5012</time><flashver>F&amp;\u{1}</flashver>\
        <dropped>0</dropped><publishing/><active/></client>\r\n\
        <meta><video><width>1280</width><height>720</height><frame_rate>30</frame_rate><codec>H264</codec>\
        <profile>High</profile></video><audio><codec>AAC</codec><channels>2</channels></audio></meta>\r\n\
        <nclients>2</nclients>\r\n<publishing/>\r\n<active/>\r\n</stream>\r\n\
        <stream>\r\n<name>waited for</name><client><id>8</id></client></stream>\r\n\
        </live>\r\n</application>\r\n</server>\r\n</rtmp>\r\n";

    #[test]
    fn stat_has_publishers_and_measured_values() {
        let stat = parse(STAT).unwrap();
        assert_eq!((stat.pid, stat.start_time), (4711, 784_111_777 - 33));
        let [stream] = &stat.streams[..] else {
            panic!("{stat:?}");
        };
        assert_eq!(stream.application, "live");
        assert_eq!((stream.name.as_str(), stream.client), ("p_0123", 3));
        assert_eq!(stream.address, "203.0.113.5");
        let stats = &stream.stats;
        assert_eq!(stats.bytes_received, 512_345);
        assert_eq!(stats.bitrate_bps, 812_000);
        assert_eq!((stats.width, stats.height), (1280, 720));
        assert_eq!((&*stats.video_codec, &*stats.audio_codec), ("h264", "aac"));
    }

    #[test]
    fn bytes_that_xml_forbids_are_dropped() {
        let mut body = STAT.as_bytes().to_vec();
        let at = STAT.find("LNX").unwrap();
        body.splice(at..at, *b"\xff\x00\x1b");
        assert_eq!(parse(body).unwrap().streams.len(), 1);
    }

    #[test]
    fn errors_quote_nothing_of_the_page() {
        let no_numbers = "<rtmp><pid>sk_1</pid></rtmp>";
        for wrong in ["", "<rtmp>sk_1", "<html>sk_1</html>", no_numbers] {
            let error = format!("{:#}", parse(wrong).unwrap_err());
            assert!(!error.contains("sk_"), "{error}");
        }
    }

    #[test]
    fn a_response_without_a_valid_date_is_refused() {
        for date in [None, Some("yesterday")] {
            let mut response = Response::new(Bytes::from(STAT));
            if let Some(date) = date {
                let value = date.parse().unwrap();
                response.headers_mut().insert(header::DATE, value);
            }
            let error = Stat::parse(&response).unwrap_err();
            assert!(error.to_string().contains("Date"), "{error}");
        }
    }
}

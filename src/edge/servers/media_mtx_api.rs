use serde::Deserialize;

use crate::proto::v1::{IngestProtocol, StreamStats};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page<T> {
    #[serde(default)]
    pub(super) page_count: u32,
    #[serde(default = "Vec::new")]
    pub(super) items: Vec<T>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Info {
    pub(super) started: String,
}

/// A path; its `name` ends with the stream key.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MtxPath {
    pub(super) name: String,
    pub(super) source: Option<Source>,
    #[serde(default)]
    available: bool,
    /// The name of `available` in older versions.
    #[serde(default)]
    ready: bool,
    #[serde(default)]
    inbound_bytes: i64,
    #[serde(default)]
    bytes_received: i64,
    tracks2: Option<Vec<Track>>,
    tracks: Option<Vec<String>>,
}

/// The publisher of a path.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Source {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) id: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Track {
    codec: String,
    codec_props: Option<VideoProperties>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct VideoProperties {
    width: i32,
    height: i32,
}

/// A connection or session, whatever its protocol.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct MtxConnection {
    pub(super) id: String,
    remote_addr: String,
}

/// A kind of publisher: its protocol in auth hooks, its name in sources of paths, and its
/// list in the API, which also disconnects it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SourceKind {
    hook_protocol: &'static str,
    source: &'static str,
    pub(super) list: &'static str,
    pub(super) protocol: IngestProtocol,
}

impl SourceKind {
    /// All kinds that clients publish with.
    pub(super) const ALL: [Self; 6] = [
        Self::new("rtmp", "rtmpConn", "rtmpconns", IngestProtocol::Rtmp),
        Self::new("rtmps", "rtmpsConn", "rtmpsconns", IngestProtocol::Rtmps),
        Self::new("srt", "srtConn", "srtconns", IngestProtocol::Srt),
        Self::new(
            "webrtc",
            "webRTCSession",
            "webrtcsessions",
            IngestProtocol::Whip,
        ),
        Self::new("rtsp", "rtspSession", "rtspsessions", IngestProtocol::Rtsp),
        Self::new(
            "rtsps",
            "rtspsSession",
            "rtspssessions",
            IngestProtocol::Rtsp,
        ),
    ];

    const fn new(
        hook_protocol: &'static str,
        source: &'static str,
        list: &'static str,
        protocol: IngestProtocol,
    ) -> Self {
        Self {
            hook_protocol,
            source,
            list,
            protocol,
        }
    }

    /// The kind of publishers with this protocol in auth hooks.
    pub(super) fn of_hook_protocol(name: &str) -> Option<Self> {
        let mut kinds = Self::ALL.into_iter();
        kinds.find(|kind| kind.hook_protocol == name)
    }

    /// The kind of a source; `None` if the server itself reads it from elsewhere.
    pub(super) fn of(source: &Source) -> Option<Self> {
        // The case of some letters has changed between versions.
        let is_same = |kind: &&Self| kind.source.eq_ignore_ascii_case(&source.kind);
        Self::ALL.iter().find(is_same).copied()
    }
}

impl MtxConnection {
    pub(super) fn ip(&self) -> String {
        match self.remote_addr.parse::<std::net::SocketAddr>() {
            Ok(address) => address.ip().to_canonical().to_string(),
            Err(_) => String::new(),
        }
    }
}

impl MtxPath {
    /// The measured values: 0 bytes until media flows.
    pub(super) fn stats(&self) -> StreamStats {
        let flows = self.available || self.ready;
        let bytes = self.inbound_bytes.max(self.bytes_received);
        let codecs = self.codecs();
        let find = |is_wanted: fn(&str) -> bool| {
            let codec = codecs.iter().find(|codec| is_wanted(codec));
            codec.map(|codec| short_name(codec)).unwrap_or_default()
        };
        let tracks = self.tracks2.iter().flatten();
        let mut videos = tracks.filter_map(|track| track.codec_props.as_ref());
        let video = videos.find(|video| video.width > 0);
        StreamStats {
            bytes_received: if flows { bytes.max(1) } else { 0 },
            bitrate_bps: 0,
            width: video.map_or(0, |video| video.width),
            height: video.map_or(0, |video| video.height),
            fps: 0.0,
            video_codec: find(is_video),
            audio_codec: find(is_audio),
            ..StreamStats::default()
        }
    }

    fn codecs(&self) -> Vec<&str> {
        match (&self.tracks2, &self.tracks) {
            (Some(tracks), _) => tracks.iter().map(|track| track.codec.as_str()).collect(),
            (None, Some(tracks)) => tracks.iter().map(String::as_str).collect(),
            (None, None) => Vec::new(),
        }
    }
}

fn is_video(codec: &str) -> bool {
    matches!(codec, "AV1" | "VP9" | "VP8" | "H265" | "H264" | "M-JPEG") || codec.ends_with("Video")
}

fn is_audio(codec: &str) -> bool {
    let known = [
        "Opus", "FLAC", "Vorbis", "AC3", "Speex", "G726", "G722", "G711", "LPCM",
    ];
    known.contains(&codec) || codec.contains("Audio")
}

fn short_name(codec: &str) -> String {
    match codec {
        "MPEG-4 Audio" | "MPEG-4 Audio LATM" => "aac".to_owned(),
        codec => codec.to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::{MtxPath, Page, SourceKind};
    use crate::proto::v1::IngestProtocol;

    #[test]
    fn a_path_has_a_source_and_measured_values() {
        let text = r#"{"itemCount":1,"pageCount":1,"items":[{"name":"live/sk_1","confName":"all_others",
            "ready":true,"available":true,"online":true,"source":{"type":"rtmpConn","id":"an id"},
            "tracks":["H264","MPEG-4 Audio"],"tracks2":[{"codec":"H264","codecProps":{"width":1280,"height":720,
            "profile":"High","level":"3.1"}},{"codec":"MPEG-4 Audio","codecProps":{"sampleRate":44100}}],
            "readers":[],"inboundBytes":4321,"outboundBytes":0,"bytesReceived":4321,"bytesSent":0}]}"#;
        let page: Page<MtxPath> = serde_json::from_str(text).unwrap();
        let path = &page.items[0];
        let kind = SourceKind::of(path.source.as_ref().unwrap()).unwrap();
        assert_eq!(kind.list, "rtmpconns");
        assert_eq!(kind.protocol, IngestProtocol::Rtmp);

        let stats = path.stats();
        assert_eq!(stats.bytes_received, 4321);
        assert_eq!((stats.width, stats.height), (1280, 720));
        assert_eq!((&*stats.video_codec, &*stats.audio_codec), ("h264", "aac"));
    }

    #[test]
    fn a_path_of_an_older_version_is_parsed() {
        let text = r#"{"name":"live/sk_1","source":{"type":"rtmpConn","id":"x"},"ready":true,
            "tracks":["H264","MPEG-4 Audio"],"bytesReceived":77,"readers":[]}"#;
        let path: MtxPath = serde_json::from_str(text).unwrap();
        let stats = path.stats();
        assert_eq!((stats.bytes_received, &*stats.audio_codec), (77, "aac"));
    }

    #[test]
    fn a_path_without_media_has_no_bytes() {
        let text =
            r#"{"name":"live/sk_1","source":{"type":"rtmpConn","id":"x"},"available":false}"#;
        let path: MtxPath = serde_json::from_str(text).unwrap();
        assert_eq!(path.stats().bytes_received, 0);
    }

    #[test]
    fn a_source_that_the_server_reads_itself_is_no_publisher() {
        let text = r#"{"name":"camera","source":{"type":"rtspSource","id":""},"ready":true}"#;
        let path: MtxPath = serde_json::from_str(text).unwrap();
        assert_eq!(SourceKind::of(&path.source.unwrap()), None);
    }
}

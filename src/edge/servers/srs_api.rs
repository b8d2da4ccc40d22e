use serde::Deserialize;

use crate::proto::v1::{IngestProtocol, StreamStats};

#[derive(Debug, Deserialize)]
pub(super) struct ApiAnswer {
    pub(super) code: i64,
    /// The boot id.
    #[serde(default)]
    pub(super) service: String,
    #[serde(default)]
    pub(super) clients: Vec<SrsClient>,
    #[serde(default)]
    pub(super) streams: Vec<SrsStream>,
}

/// A connection; its `name` is the stream key.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SrsClient {
    pub(super) id: String,
    /// The id of the stream that it publishes or plays.
    pub(super) stream: String,
    pub(super) ip: String,
    url: String,
    pub(super) name: String,
    #[serde(rename = "type")]
    kind: String,
    pub(super) publish: bool,
    recv_bytes: i64,
    kbps: Kbps,
}

/// A stream. It stays in the list for a while after its publisher is gone.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SrsStream {
    pub(super) id: String,
    app: String,
    recv_bytes: i64,
    kbps: Kbps,
    publish: StreamPublisher,
    video: Option<Track>,
    audio: Option<Track>,
}

/// Bitrates in kilobits per second.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Kbps {
    recv_30s: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StreamPublisher {
    active: bool,
    cid: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Track {
    codec: String,
    width: i32,
    height: i32,
}

impl SrsClient {
    /// The application: that of the stream, or the part of its URL before the stream.
    pub(super) fn application<'a>(&'a self, stream: Option<&'a SrsStream>) -> &'a str {
        if let Some(stream) = stream.filter(|stream| !stream.app.is_empty()) {
            return &stream.app;
        }
        let (before, _) = self.url.rsplit_once('/').unwrap_or_default();
        before.split_once('/').map_or(before, |(_, app)| app)
    }

    pub(super) fn protocol(&self) -> IngestProtocol {
        match self.kind.as_str() {
            "fmle-publish" | "flash-publish" | "haivision-publish" => IngestProtocol::Rtmp,
            "rtc-publish" => IngestProtocol::Whip,
            "srt-publish" => IngestProtocol::Srt,
            _ => IngestProtocol::Unspecified,
        }
    }

    /// The measured values; 0 if another connection publishes the stream. SRS counts bytes
    /// with a delay, so a known track counts as 1 byte.
    pub(super) fn stats(&self, stream: Option<&SrsStream>) -> StreamStats {
        let Some(stream) = stream.filter(|stream| stream.is_published_by(&self.id)) else {
            return StreamStats::default();
        };
        let SrsStream { video, audio, .. } = stream;
        let codec = |track: &Option<Track>| {
            let codec = track.as_ref().map(|track| track.codec.to_lowercase());
            codec.unwrap_or_default()
        };
        let has_track = i64::from(video.is_some() || audio.is_some());
        let counted = [self.recv_bytes, stream.recv_bytes, has_track];
        StreamStats {
            bytes_received: counted.into_iter().find(|&bytes| bytes > 0).unwrap_or(0),
            bitrate_bps: self.kbps.recv_30s.max(stream.kbps.recv_30s) * 1000,
            width: video.as_ref().map_or(0, |video| video.width),
            height: video.as_ref().map_or(0, |video| video.height),
            fps: 0.0,
            video_codec: codec(video),
            audio_codec: codec(audio),
            ..StreamStats::default()
        }
    }
}

impl SrsStream {
    fn is_published_by(&self, client: &str) -> bool {
        let by = self.publish.cid.as_deref();
        self.publish.active && by.is_none_or(|by| by == client)
    }
}

#[cfg(test)]
mod tests {
    use super::ApiAnswer;
    use crate::proto::v1::IngestProtocol;

    fn answer(text: &str) -> ApiAnswer {
        serde_json::from_str(text).unwrap()
    }

    const STREAMS: &str = r#"{"code":0,"server":"vid-1","service":"k1x2y3z4","pid":"7","streams":[
        {"id":"vid-s","name":"sk_1","vhost":"vid-v","app":"live","tcUrl":"rtmp://h/live","url":"/live/sk_1",
        "live_ms":1,"clients":2,"frames":90,"send_bytes":10,"recv_bytes":5000,"kbps":{"recv_30s":800,"send_30s":0},
        "publish":{"active":true,"cid":"a1"},"video":{"codec":"H264","profile":"High","level":"3.1","width":1280,
        "height":720},"audio":{"codec":"AAC","sample_rate":44100,"channel":2,"profile":"LC"}}]}"#;

    const CLIENTS: &str = r#"{"code":0,"server":"vid-1","service":"k1x2y3z4","pid":"7","clients":[
        {"id":"a1","vhost":"vid-v","stream":"vid-s","ip":"203.0.113.5","pageUrl":"","swfUrl":"",
        "tcUrl":"rtmp://h/live","url":"/live/sk_1","name":"sk_1","type":"fmle-publish","publish":true,
        "alive":3.2,"send_bytes":1,"recv_bytes":4800,"kbps":{"recv_30s":790,"send_30s":0}},
        {"id":"b2","vhost":"vid-v","stream":"vid-s","ip":"203.0.113.6","url":"/live/sk_1","name":"sk_1",
        "type":"fmle-publish","publish":true,"recv_bytes":12}]}"#;

    #[test]
    fn clients_and_streams_have_the_publishers_and_measured_values() {
        let (clients, streams) = (answer(CLIENTS), answer(STREAMS));
        assert_eq!((clients.code, &*clients.service), (0, "k1x2y3z4"));
        let (client, stream) = (&clients.clients[0], Some(&streams.streams[0]));
        assert!(client.publish);
        assert_eq!(client.application(stream), "live");
        assert_eq!(client.application(None), "live", "from its URL");
        assert_eq!(client.protocol(), IngestProtocol::Rtmp);

        let stats = client.stats(stream);
        assert_eq!((stats.bytes_received, stats.bitrate_bps), (4800, 800_000));
        assert_eq!((stats.width, stats.height), (1280, 720));
        assert_eq!((&*stats.video_codec, &*stats.audio_codec), ("h264", "aac"));
    }

    #[test]
    fn media_of_another_connection_does_not_count() {
        let (clients, streams) = (answer(CLIENTS), answer(STREAMS));
        let stats = clients.clients[1].stats(Some(&streams.streams[0]));
        assert_eq!(stats.bytes_received, 0);
    }
}

//! Codecs of Enhanced RTMP. Debian's ffmpeg encodes HEVC, but cannot publish it.

use std::{net::Ipv4Addr, time::Duration};

use bytes::Bytes;
use tokio::{net::TcpStream, process::Command, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{
    hooks::Hooks,
    rig::{KEY, MAX_WAIT, Nginx, Worker, eventually},
    server::Server,
};
use crate::{
    edge::relays::rtmp::{
        Message, Session, StreamTarget, amf0, handshake,
        message::kind::{AUDIO, DATA, VIDEO},
    },
    proto::v1::{RelayErrorSeverity, RelayState},
};

/// The types of HEVC's units of the network abstraction layer (ITU-T H.265, table 7-1).
const LAST_PICTURE_UNIT: u8 = 31;
const FIRST_KEY_UNIT: u8 = 16;
const LAST_KEY_UNIT: u8 = 23;

/// A configuration of AAC (44.1 kHz, mono) and a frame.
const AUDIO_CONFIGURATION: &[u8] = &[0xaf, 0, 0x12, 0x08];
const AUDIO_FRAME: &[u8] = &[0xaf, 1, 0x01, 0x40, 0x20, 0x07];

/// The tags of a stream: its configuration and its pictures, one every 40 ms.
struct Hevc {
    configuration: Bytes,
    pictures: Vec<Bytes>,
}

impl Hevc {
    /// Encodes some seconds.
    async fn encode(seconds: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (mp4, raw) = (folder.path().join("a.mp4"), folder.path().join("a.hevc"));
        let source = ["-f", "lavfi", "-i", "testsrc=size=160x120:rate=25"];
        let encoder = ["-c:v", "libx265", "-preset", "ultrafast", "-g", "25"];
        let form = [
            "-pix_fmt",
            "yuv420p",
            "-x265-params",
            "bframes=0:log-level=error",
        ];
        let encode = [
            &["-v", "error"][..],
            &source,
            &["-t", seconds],
            &encoder,
            &form,
        ]
        .concat();
        ffmpeg(&[&encode[..], &["-tag:v", "hvc1", mp4.to_str().unwrap()]].concat()).await;
        let copy = ["-v", "error", "-i", mp4.to_str().unwrap(), "-c", "copy"];
        ffmpeg(&[&copy[..], &[raw.to_str().unwrap()]].concat()).await;
        Self {
            configuration: tag(1, 0, &configuration(&std::fs::read(mp4).unwrap())),
            pictures: pictures(&std::fs::read(raw).unwrap()),
        }
    }

    /// Publishes it in real time, with audio; the task ends with the last picture.
    async fn publish(&self, port: u16) -> AbortOnDropHandle<()> {
        let target = StreamTarget {
            app: "source",
            tc_url: "rtmp://127.0.0.1/source",
            stream_name: "public-name",
        };
        let tcp = connect(port).await;
        let mut session = Session::publish(tcp, target, &["hvc1"]).await.unwrap();
        let stream_id = session.outgoing.stream_id();
        let mut messages = vec![
            (DATA, 0, metadata()),
            (VIDEO, 0, self.configuration.clone()),
            (AUDIO, 0, Bytes::from_static(AUDIO_CONFIGURATION)),
        ];
        for (time, picture) in (0..).step_by(40).zip(&self.pictures) {
            messages.push((VIDEO, time, picture.clone()));
            messages.push((AUDIO, time, Bytes::from_static(AUDIO_FRAME)));
        }
        AbortOnDropHandle::new(tokio::spawn(async move {
            let begin = tokio::time::Instant::now();
            for (kind, timestamp, payload) in messages {
                let at = begin + Duration::from_millis(timestamp.into());
                tokio::time::sleep_until(at).await;
                session.outgoing.queue(&Message {
                    kind,
                    timestamp,
                    stream_id,
                    payload,
                });
                session.outgoing.flush().await.unwrap();
            }
            std::future::pending::<()>().await;
        }))
    }
}

/// Metadata that announces HEVC, as in Enhanced RTMP, and AAC.
fn metadata() -> Bytes {
    let mut out = Vec::new();
    amf0::write_string("@setDataFrame", &mut out);
    amf0::write_string("onMetaData", &mut out);
    amf0::begin_object(&mut out);
    let hevc = u32::from_be_bytes(*b"hvc1");
    for (name, number) in [("videocodecid", f64::from(hevc)), ("audiocodecid", 10.0)] {
        amf0::write_name(name, &mut out);
        amf0::write_number(number, &mut out);
    }
    amf0::end_object(&mut out);
    out.into()
}

async fn ffmpeg(arguments: &[&str]) {
    let run = Command::new("ffmpeg").args(arguments).output();
    let output = timeout(MAX_WAIT, run).await.expect("it ends").unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
}

/// A video tag of Enhanced RTMP, with a frame type and a packet type.
fn tag(frame_type: u8, packet_type: u8, body: &[u8]) -> Bytes {
    let first = 0x80 | frame_type << 4 | packet_type;
    Bytes::from([&[first][..], b"hvc1", body].concat())
}

/// The configuration in an MP4 file: the body of its box `hvcC`.
fn configuration(mp4: &[u8]) -> Vec<u8> {
    let at = mp4.windows(4).position(|name| name == b"hvcC").unwrap();
    let length = u32::from_be_bytes(mp4[at - 4..at].try_into().unwrap()) as usize;
    mp4[at + 4..at - 4 + length].to_vec()
}

/// The pictures of a byte stream (ITU-T H.265, annex B), each of one unit.
fn pictures(stream: &[u8]) -> Vec<Bytes> {
    let starts = stream.windows(3).enumerate();
    let starts: Vec<_> = starts
        .filter(|(_, bytes)| *bytes == [0, 0, 1])
        .map(|(at, _)| at + 3)
        .collect();
    let ends = starts.iter().skip(1).map(|start| start - 3);
    let ends = ends.chain([stream.len()]);
    let units = starts.iter().zip(ends).map(|(start, end)| {
        let unit = &stream[*start..end];
        unit.strip_suffix(&[0]).unwrap_or(unit)
    });
    units
        .filter(|unit| unit[0] >> 1 <= LAST_PICTURE_UNIT)
        .map(|unit| {
            let is_key = (FIRST_KEY_UNIT..=LAST_KEY_UNIT).contains(&(unit[0] >> 1));
            let length = u32::try_from(unit.len()).unwrap().to_be_bytes();
            // Without a difference between the times of decoding and of presentation.
            tag(if is_key { 1 } else { 2 }, 3, &[&length, unit].concat())
        })
        .collect()
}

async fn connect(port: u16) -> TcpStream {
    let mut tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .unwrap();
    handshake::connect(&mut tcp).await.unwrap();
    tcp
}

#[tokio::test]
async fn hevc_passes_through_and_is_announced_although_the_output_has_connected_before() {
    let server = Server::start(&[]).await;
    let hevc = Hevc::encode("6").await;
    assert_eq!(hevc.pictures.len(), 150);
    let worker = Worker::new();
    let destination = format!("rtmp://127.0.0.1:{}/live", server.port);
    let relay = worker.relay(&server.url("source", "public-name"), &destination);
    let has_connected = async || !server.publishes_with(KEY, "").is_empty();
    eventually("the output has connected", has_connected).await;

    let _publisher = hevc.publish(server.port).await;
    let count = hevc.pictures.len();
    eventually("all pictures have arrived", async || {
        server.received(KEY, VIDEO).len() > count
    })
    .await;
    let video = server.received(KEY, VIDEO);
    assert_eq!(video[0].payload, hevc.configuration);
    for (at, (message, picture)) in video[1..].iter().zip(&hevc.pictures).enumerate() {
        assert_eq!(message.payload, picture, "picture {at}");
        assert_eq!(message.timestamp, 40 * u32::try_from(at).unwrap());
    }
    let audio = server.received(KEY, AUDIO);
    assert_eq!(audio[0].payload, AUDIO_CONFIGURATION);
    assert!(audio.len() >= count, "{} of {count}", audio.len());
    assert_eq!(server.publishes_with(KEY, "hvc1"), [false, true]);
    relay.reaches(RelayState::Broadcasting).await;
    relay.end().await;
}

#[tokio::test]
async fn a_codec_that_is_known_before_the_output_connects_is_announced_at_once() {
    let server = Server::start(&["hvc1"]).await;
    let hevc = Hevc::encode("4").await;
    let _publisher = hevc.publish(server.port).await;
    let worker = Worker::new();
    let source = server.url("source", "public-name");
    let destination = format!("rtmp://127.0.0.1:{}/live", server.port);
    // The first relay makes the codec known.
    let first = worker.relay_with_key(&source, &destination, "k3y-first");
    first.has_sent(1).await;
    let second = worker.relay_with_key(&source, &destination, "k3y-second");
    second.has_sent(1).await;
    assert_eq!(server.publishes_with("k3y-second", "hvc1"), [true]);
}

#[tokio::test]
async fn a_destination_that_lists_other_codecs_is_named() {
    let server = Server::start(&["av01", "Opus"]).await;
    let hevc = Hevc::encode("4").await;
    let _publisher = hevc.publish(server.port).await;
    let worker = Worker::new();
    let destination = format!("rtmp://127.0.0.1:{}/live", server.port);
    let relay = worker.relay(&server.url("source", "public-name"), &destination);

    let failure = relay.failure().await;
    assert_eq!(
        (failure.code, failure.severity),
        ("CODEC_UNSUPPORTED", RelayErrorSeverity::Fatal)
    );
    let said = failure.message;
    assert!(
        said.contains("the destination") && said.contains("hvc1"),
        "{said}"
    );
    assert!(server.received(KEY, VIDEO).is_empty());
}

#[tokio::test]
async fn a_media_server_that_does_not_pass_hevc_on_is_named() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let hevc = Hevc::encode("15").await;
    let worker = Worker::new();
    let destination = format!("rtmp://127.0.0.1:{}/live", nginx.port);
    let relay = worker.relay(&nginx.source(), &destination);
    let _publisher = hevc.publish(nginx.port).await;

    let failure = relay.failure().await;
    assert_eq!(
        (failure.code, failure.severity),
        ("CODEC_UNSUPPORTED", RelayErrorSeverity::Fatal)
    );
    let said = failure.message;
    assert!(
        said.contains("the media server") && said.contains("hvc1"),
        "{said}"
    );
}

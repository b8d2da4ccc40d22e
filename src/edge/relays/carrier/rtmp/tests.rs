use proptest::prelude::*;

use super::{
    amf,
    chunks::{Broken, Chunks, Head, Piece, write_head},
    rewriter::{LocalName, Rewriter, is_command},
    watcher::{Said, Watcher},
};
use crate::{domain::Secret, edge::relays::carrier::address::Address};

const KEY: &str = "FB-1234567890-0-AbCdEf?s_bl=1&a=x";

/// A message as both sides understand it.
#[derive(Debug, Clone, PartialEq)]
struct Message {
    id: u32,
    time: u32,
    kind: u8,
    payload: Vec<u8>,
}

fn message(id: u32, time: u32, kind: u8, payload: Vec<u8>) -> Message {
    Message {
        id,
        time,
        kind,
        payload,
    }
}

/// Writes messages as encoders do, with the shortest headers.
struct Encoder {
    size: usize,
    before: Vec<(Head, Message)>,
}

impl Encoder {
    fn new() -> Self {
        Self {
            size: 128,
            before: Vec::new(),
        }
    }

    fn chunks(&mut self, message: &Message) -> Vec<Vec<u8>> {
        let length = message.payload.len() as u32;
        let at = self
            .before
            .iter()
            .position(|(head, _)| head.id == message.id);
        let before = at.map(|at| self.before.swap_remove(at));
        let (format, time) = match &before {
            Some((head, before)) if message.time >= before.time => {
                let delta = message.time - before.time;
                let same =
                    before.payload.len() == message.payload.len() && before.kind == message.kind;
                match same {
                    true if head.time == delta && head.format > 0 => (3, delta),
                    true => (2, delta),
                    false => (1, delta),
                }
            }
            _ => (0, message.time),
        };
        let head = Head {
            id: message.id,
            // What a header without a timestamp repeats is a difference.
            format: format.min(2),
            time,
            is_extended: time >= 0xff_ffff,
            length,
            kind: message.kind,
            stream: [1, 0, 0, 0],
            begins: true,
        };
        self.before.push((head, message.clone()));

        let mut all = Vec::new();
        let mut payload = message.payload.chunks(self.size);
        for count in 0.. {
            let chunk = match payload.next() {
                Some(chunk) => chunk,
                None if count == 0 => &[],
                None => break,
            };
            let mut bytes = Vec::new();
            write_head(
                &head,
                if count == 0 { format } else { 3 },
                length,
                &mut bytes,
            );
            bytes.extend_from_slice(chunk);
            all.push(bytes);
        }
        if message.kind == 1 {
            self.size = u32::from_be_bytes(message.payload[..].try_into().unwrap()) as usize;
        }
        all
    }
}

fn encode(messages: &[Message]) -> Vec<u8> {
    let mut encoder = Encoder::new();
    messages
        .iter()
        .flat_map(|message| encoder.chunks(message))
        .flatten()
        .collect()
}

/// Reads messages as servers do.
fn decode(mut bytes: &[u8]) -> Vec<Message> {
    let mut chunks = Chunks::new();
    let mut open: Vec<Message> = Vec::new();
    let mut times: Vec<(u32, u32, u32)> = Vec::new();
    let mut all = Vec::new();
    while let Some(piece) = chunks.next(&mut bytes).unwrap() {
        match piece {
            Piece::Head(head) if head.begins => {
                let at = times.iter().position(|(id, ..)| *id == head.id);
                let (_, time, delta) = at.map_or((0, 0, 0), |at| times.swap_remove(at));
                let (time, delta) = match head.format {
                    0 => (head.time, 0),
                    3 => (time + delta, delta),
                    _ => (time + head.time, head.time),
                };
                times.push((head.id, time, delta));
                open.push(message(head.id, time, head.kind, Vec::new()));
            }
            Piece::Head(_) => {}
            Piece::Data { id, bytes, ends } => {
                let at = open.iter().position(|message| message.id == id).unwrap();
                open[at].payload.extend_from_slice(bytes);
                if ends {
                    all.push(open.remove(at));
                }
            }
        }
    }
    assert!(open.is_empty());
    all
}

fn rewriter() -> Rewriter {
    let url = Secret::new(format!("rtmps://live.example.com:443/rtmp/{KEY}"));
    let Ok(Address::Rtmp(far)) = Address::parse(&url) else {
        panic!("it is an address");
    };
    let local = LocalName {
        app: "relay/0123".into(),
        stream: "media",
    };
    Rewriter::new(local, far)
}

/// A command: its name, its number, and the values that follow.
fn command(name: &str, number: f64, values: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = text(name);
    bytes.push(0);
    bytes.extend(number.to_be_bytes());
    bytes.extend(values.concat());
    bytes
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    amf::write_string(text, &mut bytes);
    bytes
}

fn object(properties: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let properties: Vec<(&[u8], &[u8])> = properties
        .iter()
        .map(|(name, value)| (name.as_bytes(), &value[..]))
        .collect();
    let mut bytes = Vec::new();
    amf::write_object(&properties, &[], &mut bytes);
    bytes
}

const NULL: u8 = 5;

fn publish(name: &str) -> Vec<u8> {
    command("publish", 5.0, &[vec![NULL], text(name), text("live")])
}

fn connect(app: &str, tc_url: &str) -> Vec<u8> {
    let about = object(&[
        ("app", text(app)),
        ("type", text("nonprivate")),
        ("tcUrl", text(tc_url)),
        ("fpad", vec![1, 0]),
        ("more", object(&[("app", text("stays"))])),
    ]);
    command("connect", 1.0, &[about, text("after")])
}

fn rewrite(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    rewriter().feed(bytes, &mut out).unwrap();
    out
}

#[test]
fn connect_gets_the_true_application_and_keeps_all_else() {
    let mut rewriter = rewriter();
    let mut out = Vec::new();
    let asked = connect("relay/0123", "rtmp://127.0.0.1:4000/relay/0123");
    rewriter
        .feed(&encode(&[message(3, 0, 20, asked)]), &mut out)
        .unwrap();

    let wanted = connect("rtmp", "rtmps://live.example.com:443/rtmp");
    assert_eq!(decode(&out), [message(3, 0, 20, wanted)]);
    assert_eq!(rewriter.connected(), Some(true));
}

#[test]
fn a_connect_that_names_another_application_is_known() {
    let mut rewriter = rewriter();
    assert_eq!(rewriter.connected(), None);
    let asked = connect("relay/0124", "rtmp://127.0.0.1:4000/relay/0124");
    rewriter
        .feed(&encode(&[message(3, 0, 20, asked)]), &mut Vec::new())
        .unwrap();
    assert_eq!(rewriter.connected(), Some(false));
}

#[test]
fn every_command_that_names_the_stream_gets_its_true_name() {
    for name in [
        "releaseStream",
        "FCPublish",
        "FCUnpublish",
        "FCSubscribe",
        "getStreamLength",
        "play",
        "publish",
    ] {
        let with = |stream: &str| command(name, 2.0, &[vec![NULL], text(stream), text("live")]);
        let out = rewrite(&encode(&[
            message(3, 0, 20, with("media")),
            message(3, 0, 17, [vec![0], with("media")].concat()),
        ]));
        assert_eq!(
            decode(&out),
            [
                message(3, 0, 20, with(KEY)),
                message(3, 0, 17, [vec![0], with(KEY)].concat())
            ]
        );
        assert_eq!(
            rewrite(&encode(&[message(3, 0, 20, with("other"))])),
            encode(&[message(3, 0, 20, with("other"))])
        );
    }
}

#[test]
fn short_headers_after_a_longer_command_mean_what_ffmpeg_meant() {
    // All but the first have the length that ffmpeg's command had, and say so by their headers.
    let length = publish("media").len();
    let mut messages = vec![
        message(8, 0, 20, publish("media")),
        message(8, 10, 20, publish("media")),
    ];
    for (time, kind) in [(20, 20), (30, 20), (40, 8), (50, 8), (60, 8)] {
        messages.push(message(8, time, kind, vec![7; length]));
    }
    let mut wanted = messages.clone();
    wanted[0].payload = publish(KEY);
    wanted[1].payload = publish(KEY);
    assert_eq!(decode(&rewrite(&encode(&messages))), wanted);
}

#[test]
fn chunks_of_a_command_and_of_media_may_be_mixed() {
    let mut encoder = Encoder::new();
    let command = encoder.chunks(&message(
        8,
        0,
        20,
        [publish("media"), vec![NULL; 300]].concat(),
    ));
    let media = encoder.chunks(&message(6, 0, 9, vec![9; 300]));
    assert_eq!((command.len(), media.len()), (3, 3));
    let mixed: Vec<u8> = command
        .into_iter()
        .zip(media)
        .flat_map(|(a, b)| [a, b].concat())
        .collect();

    let wanted = message(8, 0, 20, [publish(KEY), vec![NULL; 300]].concat());
    assert_eq!(
        decode(&rewrite(&mixed)),
        [wanted, message(6, 0, 9, vec![9; 300])]
    );
}

#[test]
fn a_command_that_is_too_long_is_refused() {
    let long = encode(&[message(3, 0, 20, vec![0; 65_537])]);
    assert_eq!(rewriter().feed(&long, &mut Vec::new()), Err(Broken));
    assert_eq!(Watcher::new().feed(&long), Err(Broken));
}

#[test]
fn chunks_without_a_size_or_a_beginning_are_refused() {
    for size in [0, 0x8000_0000_u32] {
        let bytes = encode(&[message(2, 0, 5, Vec::new())]);
        let resize = [
            &[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0],
            &size.to_be_bytes()[..],
        ]
        .concat();
        let bytes = [bytes, resize].concat();
        assert_eq!(rewriter().feed(&bytes, &mut Vec::new()), Err(Broken));
    }
    for first in [0x83, 0xc3] {
        assert_eq!(rewriter().feed(&[first; 12], &mut Vec::new()), Err(Broken));
    }
}

#[test]
fn objects_in_objects_are_read_to_a_bound() {
    let nested = |depth: usize| {
        let open = [3, 0, 1, b'a'].repeat(depth);
        [open, vec![NULL], [0, 0, 9].repeat(depth)].concat()
    };
    assert!(amf::value(&nested(10)).is_some());
    assert!(amf::value(&nested(17)).is_none());
}

#[test]
fn it_is_known_when_ffmpeg_asked_and_when_it_leaves() {
    let mut rewriter = rewriter();
    for (bytes, asked, left) in [
        (
            command("releaseStream", 2.0, &[vec![NULL], text("media")]),
            false,
            false,
        ),
        (publish("media"), true, false),
        (
            command("deleteStream", 6.0, &[vec![NULL], vec![0; 9]]),
            true,
            true,
        ),
    ] {
        rewriter
            .feed(&encode(&[message(3, 0, 20, bytes)])[..], &mut Vec::new())
            .unwrap();
        assert_eq!((rewriter.asked(), rewriter.left()), (asked, left));
    }
}

fn status(level: &str, code: &str, description: &str) -> Vec<u8> {
    let about = object(&[
        ("level", text(level)),
        ("code", text(code)),
        ("description", text(description)),
    ]);
    command("onStatus", 0.0, &[vec![NULL], about])
}

#[test]
fn what_a_server_says_is_heard() {
    let refused = |words: &str| vec![Said::Refused(words.into())];
    let about = object(&[
        ("code", text("NetConnection.Connect.Rejected")),
        ("description", text("no such app")),
    ]);
    for (said, heard) in [
        (
            status("status", "NetStream.Publish.Start", "go"),
            vec![Said::Started],
        ),
        (
            status("status", "NetStream.Play.Start", "go"),
            vec![Said::Started],
        ),
        (status("status", "NetStream.Play.Reset", "go"), vec![]),
        (
            status("error", "NetStream.Publish.BadName", "in use"),
            refused("NetStream.Publish.BadName: in use"),
        ),
        (
            status("error", "", ""),
            refused("it refused without a reason"),
        ),
        (
            command("_error", 1.0, &[vec![NULL], about.clone()]),
            refused("NetConnection.Connect.Rejected: no such app"),
        ),
        (
            command("_error", 1.0, &[vec![NULL]]),
            refused("it refused without a reason"),
        ),
        (command("_error", 4.0, &[vec![NULL], about]), vec![]),
        (command("_result", 1.0, &[vec![NULL]]), vec![]),
    ] {
        let bytes = encode(&[message(2, 0, 5, vec![0; 4]), message(3, 0, 20, said)]);
        assert_eq!(Watcher::new().feed(&bytes), Ok(heard));
    }
}

fn payloads() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..700);
    prop_oneof![
        bytes().prop_map(|bytes| (8, bytes)),
        bytes().prop_map(|bytes| (9, bytes)),
        bytes().prop_map(|bytes| (18, bytes)),
        bytes().prop_map(|bytes| (20, bytes)),
        (1..2000u32).prop_map(|size| (1, size.to_be_bytes().to_vec())),
        Just((20, publish("media"))),
        Just((
            20,
            connect("relay/0123", "rtmp://127.0.0.1:4000/relay/0123")
        )),
    ]
}

fn messages() -> impl Strategy<Value = Vec<Message>> {
    let ids = prop::sample::select(vec![3, 4, 6, 8, 63, 64, 319, 320, 65_599]);
    let steps = prop_oneof![0..50u32, Just(0), Just(0xff_ffff), Just(0x100_0000)];
    prop::collection::vec((ids, steps, payloads()), 0..20).prop_map(|all| {
        let mut now = 0;
        let mut message_of = |(id, step, (kind, payload))| {
            now += step;
            message(id, now, kind, payload)
        };
        all.into_iter().map(&mut message_of).collect()
    })
}

/// The bytes in pieces of these lengths, again and again.
fn pieces<'a>(mut bytes: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut all = Vec::new();
    for length in lengths.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (piece, rest) = bytes.split_at((*length).min(bytes.len()));
        all.push(piece);
        bytes = rest;
    }
    all
}

proptest! {
    #[test]
    fn any_split_of_the_bytes_is_rewritten_the_same(
        messages in messages(),
        lengths in prop::collection::vec(1..300usize, 1..5),
    ) {
        let bytes = encode(&messages);
        let (mut rewriter, mut out) = (rewriter(), Vec::new());
        for piece in pieces(&bytes, &lengths) {
            rewriter.feed(piece, &mut out).unwrap();
        }
        let wanted: Vec<Message> = messages.into_iter().map(|mut message| {
            if message.payload == publish("media") {
                message.payload = publish(KEY);
            } else if message.payload.starts_with(&text("connect")) && message.kind == 20 {
                message.payload = connect("rtmp", "rtmps://live.example.com:443/rtmp");
            }
            message
        }).collect();
        prop_assert_eq!(decode(&out), wanted);
    }

    #[test]
    fn what_is_no_command_passes_byte_for_byte(messages in messages()) {
        let media: Vec<Message> = messages.into_iter().filter(|message| !is_command(message.kind)).collect();
        let bytes = encode(&media);
        prop_assert_eq!(rewrite(&bytes), bytes);
    }

    #[test]
    fn no_bytes_are_a_reason_to_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..2000),
        message_bytes in prop::collection::vec(prop::sample::select(vec![0u8, 1, 2, 3, 5, 8, 9, 10, 12, 16, 255]), 0..200),
    ) {
        let _ = rewriter().feed(&bytes, &mut Vec::new());
        let _ = Watcher::new().feed(&bytes);
        let _ = amf::value(&message_bytes);
        let _ = amf::properties(&message_bytes);
        for name in ["connect", "publish", "onStatus"] {
            let told = [command(name, 1.0, &[]), message_bytes.clone()].concat();
            let told = encode(&[message(3, 0, 20, told)]);
            let _ = rewriter().feed(&told, &mut Vec::new());
            let _ = Watcher::new().feed(&told);
        }
    }
}

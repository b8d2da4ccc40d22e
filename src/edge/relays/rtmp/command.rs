use super::{
    amf0,
    message::{Message, event, kind, user_control},
};

/// The name that ffmpeg gives itself when it publishes.
const PUBLISHER_VERSION: &str = "FMLE/3.0 (compatible; Lavf59.27.100)";

/// The name that ffmpeg gives itself when it plays.
const PLAYER_VERSION: &str = "LNX 9,0,124,2";

/// The codecs of Enhanced RTMP that a play session takes: all, as media is only passed on.
pub(crate) const FOUR_CCS: [&str; 11] = [
    "av01", "vp08", "vp09", "avc1", "hvc1", "vvc1", "Opus", "fLaC", "ac-3", "ec-3", "mp4a",
];

/// Multitrack and `ModEx` of Enhanced RTMP version 2.
const CAPABILITIES: f64 = 6.0;

/// The live stream, or else a recorded one: what ffmpeg asks for.
const PLAY_START: f64 = -2000.0;

/// The time that a player buffers, in milliseconds, as servers are told.
const BUFFER_LENGTH_MS: u32 = 3000;

/// `connect`, which is always the first command, with the transaction 1.
pub(crate) fn connect(app: &str, tc_url: &str, is_publisher: bool, four_ccs: &[&str]) -> Message {
    let mut out = start("connect", 1);
    amf0::begin_object(&mut out);
    let mut text = |name, text: &str| {
        amf0::write_name(name, &mut out);
        amf0::write_string(text, &mut out);
    };
    text("app", app);
    match is_publisher {
        true => {
            text("type", "nonprivate");
            text("flashVer", PUBLISHER_VERSION);
        }
        false => text("flashVer", PLAYER_VERSION),
    }
    text("tcUrl", tc_url);
    if !four_ccs.is_empty() {
        amf0::write_name("fourCcList", &mut out);
        amf0::write_strings(four_ccs, &mut out);
        amf0::write_name("capsEx", &mut out);
        amf0::write_number(CAPABILITIES, &mut out);
    }
    amf0::end_object(&mut out);
    command(out, 0)
}

/// A command with the name of a stream and without an expected result, such as
/// `releaseStream`, `FCPublish` and `FCUnpublish`.
pub(crate) fn with_stream_name(name: &str, transaction: u32, stream_name: &str) -> Message {
    let mut out = start(name, transaction);
    amf0::write_null(&mut out);
    amf0::write_string(stream_name, &mut out);
    command(out, 0)
}

/// `createStream`.
pub(crate) fn create_stream(transaction: u32) -> Message {
    let mut out = start("createStream", transaction);
    amf0::write_null(&mut out);
    command(out, 0)
}

/// `publish` of a live stream.
pub(crate) fn publish(transaction: u32, stream_id: u32, stream_name: &str) -> Message {
    let mut out = start("publish", transaction);
    amf0::write_null(&mut out);
    amf0::write_string(stream_name, &mut out);
    amf0::write_string("live", &mut out);
    command(out, stream_id)
}

/// `play` of a live stream.
pub(crate) fn play(transaction: u32, stream_id: u32, stream_name: &str) -> Message {
    let mut out = start("play", transaction);
    amf0::write_null(&mut out);
    amf0::write_string(stream_name, &mut out);
    amf0::write_number(PLAY_START, &mut out);
    command(out, stream_id)
}

/// How much the player buffers.
pub(crate) fn buffer_length(stream_id: u32) -> Message {
    let data = [stream_id.to_be_bytes(), BUFFER_LENGTH_MS.to_be_bytes()].concat();
    user_control(event::SET_BUFFER_LENGTH, &data)
}

/// `deleteStream`.
pub(crate) fn delete_stream(transaction: u32, stream_id: u32) -> Message {
    let mut out = start("deleteStream", transaction);
    amf0::write_null(&mut out);
    amf0::write_number(stream_id.into(), &mut out);
    command(out, 0)
}

fn start(name: &str, transaction: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    amf0::write_string(name, &mut out);
    amf0::write_number(transaction.into(), &mut out);
    out
}

fn command(payload: Vec<u8>, stream_id: u32) -> Message {
    Message {
        stream_id,
        ..Message::control(kind::COMMAND, payload)
    }
}

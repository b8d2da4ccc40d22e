use bytes::Bytes;
use proptest::prelude::*;

use super::{
    Message, Response, amf0,
    chunk_reader::{ChunkReader, InvalidChunk},
    chunk_writer::ChunkWriter,
    message::kind,
};

const MAX_MESSAGE_BYTES: usize = 1 << 20;

fn message(kind: u8, timestamp: u32, payload: impl Into<Bytes>) -> Message {
    Message {
        kind,
        timestamp,
        stream_id: 1,
        payload: payload.into(),
    }
}

async fn written(messages: &[Message]) -> Vec<u8> {
    let mut writer = ChunkWriter::default();
    writer.queue(&Message::control(
        kind::SET_CHUNK_SIZE,
        60_000_u32.to_be_bytes().to_vec(),
    ));
    for message in messages {
        writer.queue(message);
    }
    let mut out = Vec::new();
    writer.flush(&mut out).await.unwrap();
    assert_eq!(writer.written(), out.len() as u64);
    out
}

/// The messages in pieces of these lengths, without the announced chunk size.
fn read(bytes: &[u8], lengths: &[usize], limit: usize) -> Result<Vec<Message>, InvalidChunk> {
    let mut reader = ChunkReader::new(limit);
    let mut messages = Vec::new();
    let mut rest = bytes;
    for length in lengths.iter().cycle() {
        let (piece, after) = rest.split_at((*length).min(rest.len()));
        reader.input().extend_from_slice(piece);
        while let Some(message) = reader.next()? {
            messages.push(message);
        }
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    messages.retain(|message| message.kind != kind::SET_CHUNK_SIZE);
    Ok(messages)
}

proptest! {
    #[test]
    fn messages_are_read_as_they_were_written_however_they_are_split(
        sent in prop::collection::vec(
            (
                prop::sample::select(vec![8_u8, 9, 18, 20]),
                prop_oneof![any::<u32>(), Just(0xff_ffff), Just(0)],
                0..130_000_usize,
            ),
            1..6,
        ),
        lengths in prop::collection::vec(1..5_000_usize, 1..5),
    ) {
        let sent: Vec<_> = sent
            .into_iter()
            .map(|(kind, timestamp, length)| message(kind, timestamp, vec![kind; length]))
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let bytes = runtime.block_on(written(&sent));
        prop_assert_eq!(read(&bytes, &lengths, MAX_MESSAGE_BYTES).unwrap(), sent);
    }
}

#[test]
fn short_headers_leave_out_what_did_not_change() {
    let bytes = [
        // Format 0 on chunk stream 6: timestamp 1000, 2 bytes, video, message stream 1.
        &[6, 0, 0x03, 0xe8, 0, 0, 2, 9, 1, 0, 0, 0, 1, 2][..],
        // Format 1: 40 later, 1 byte of audio.
        &[0x46, 0, 0, 40, 0, 0, 1, 8, 3],
        // Format 2: 20 later. Format 3: 20 later again.
        &[0x86, 0, 0, 20, 4],
        &[0xc6, 5],
    ];
    let messages = read(&bytes.concat(), &[1], MAX_MESSAGE_BYTES).unwrap();
    let wanted = [
        message(9, 1000, vec![1, 2]),
        message(8, 1040, vec![3]),
        message(8, 1060, vec![4]),
        message(8, 1080, vec![5]),
    ];
    assert_eq!(messages, wanted);
}

#[test]
fn an_aborted_message_is_discarded() {
    let start = [&[6, 0, 0, 0, 0, 0, 200, 9, 1, 0, 0, 0][..], &[7; 128]].concat();
    let abort = [2, 0, 0, 0, 0, 0, 4, 2, 0, 0, 0, 0, 0, 0, 0, 6];
    let next = [&[6, 0, 0, 0, 0, 0, 1, 9, 1, 0, 0, 0][..], &[8]].concat();
    let messages = read(
        &[&start[..], &abort, &next].concat(),
        &[50],
        MAX_MESSAGE_BYTES,
    )
    .unwrap();
    assert_eq!(messages.last(), Some(&message(9, 0, vec![8])));
}

#[test]
fn chunks_beyond_a_limit_are_refused() {
    let long = [6, 0, 0, 0, 0, 2, 0, 9, 1, 0, 0, 0];
    assert_eq!(read(&long, &[100], 511), Err(InvalidChunk));
    for size in [0, 0x8000_0000_u32] {
        let resize = [
            &[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0],
            &size.to_be_bytes()[..],
        ]
        .concat();
        assert_eq!(read(&resize, &[100], MAX_MESSAGE_BYTES), Err(InvalidChunk));
    }
    // Formats 2 and 3 without a message before.
    for first in [0x83, 0xc3] {
        assert_eq!(
            read(&[first; 12], &[100], MAX_MESSAGE_BYTES),
            Err(InvalidChunk)
        );
    }
    // A header within a message.
    let twice = [&[6, 0, 0, 0, 0, 0, 200, 9, 1, 0, 0, 0][..], &[7; 128]].concat();
    assert_eq!(
        read(&twice.repeat(2), &[100], MAX_MESSAGE_BYTES),
        Err(InvalidChunk)
    );
    // More chunk streams than a peer may open.
    let streams = (3..=70_u8).flat_map(|id| {
        let basic = if id < 64 { vec![id] } else { vec![0, id - 64] };
        [&basic[..], &[0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0]].concat()
    });
    assert_eq!(
        read(&streams.collect::<Vec<_>>(), &[100], MAX_MESSAGE_BYTES),
        Err(InvalidChunk)
    );
}

fn object(properties: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    amf0::begin_object(&mut out);
    for (name, value) in properties {
        amf0::write_name(name, &mut out);
        amf0::write_string(value, &mut out);
    }
    amf0::end_object(&mut out);
    out
}

fn command(name: &str, transaction: f64, arguments: &[Vec<u8>]) -> Message {
    let mut out = Vec::new();
    amf0::write_string(name, &mut out);
    amf0::write_number(transaction, &mut out);
    Message::control(kind::COMMAND, [out, arguments.concat()].concat())
}

#[test]
fn responses_are_understood() {
    let status = |level, code, description| Response::Status {
        is_error: level == "error",
        code: code_of(code),
        words: description,
    };
    fn code_of(code: &str) -> String {
        code.to_owned()
    }
    let about =
        |level, code, text| object(&[("level", level), ("code", code), ("description", text)]);
    let null = vec![5];
    let started = "NetStream.Publish.Start";
    let bad_name = "NetStream.Publish.BadName";
    let number = [&[0][..], &7_f64.to_be_bytes()].concat();
    let mut listed = vec![3];
    amf0::write_name("fourCcList", &mut listed);
    amf0::write_strings(&["hvc1", "av01"], &mut listed);
    amf0::end_object(&mut listed);
    for (message, response) in [
        (
            command(
                "onStatus",
                0.0,
                &[null.clone(), about("status", started, "go")],
            ),
            status("status", started, format!("{started}: go")),
        ),
        (
            command(
                "onStatus",
                0.0,
                &[null.clone(), about("error", bad_name, "in use")],
            ),
            status("error", bad_name, format!("{bad_name}: in use")),
        ),
        (
            command("_error", 1.0, std::slice::from_ref(&null)),
            Response::Error {
                transaction: 1.0,
                words: "refused without a reason".to_owned(),
            },
        ),
        (
            command("_result", 4.0, &[null.clone(), number]),
            Response::Result {
                transaction: 4.0,
                number: Some(7.0),
                four_ccs: Vec::new(),
            },
        ),
        (
            command("_result", 1.0, &[listed, null.clone()]),
            Response::Result {
                transaction: 1.0,
                number: None,
                four_ccs: vec!["hvc1".to_owned(), "av01".to_owned()],
            },
        ),
    ] {
        assert_eq!(Response::of(&message), Some(response.clone()));
        let payload = [&[0][..], &message.payload].concat();
        let amf3 = Message::control(kind::COMMAND_AMF3, payload);
        assert_eq!(Response::of(&amf3), Some(response));
    }
    assert_eq!(Response::of(&command("onBWDone", 0.0, &[null])), None);
}

#[test]
fn values_are_nested_to_a_limit() {
    let nested = |depth: usize| {
        let open = [3, 0, 1, b'a'].repeat(depth);
        [open, vec![5], [0, 0, 9].repeat(depth)].concat()
    };
    assert!(amf0::value(&nested(10)).is_some());
    assert!(amf0::value(&nested(17)).is_none());
}

//! Random and mutated inputs for the parsers of chunks, commands and packets.

use bytes::Bytes;

use super::{Message, Response, amf0, chunk_reader::ChunkReader, message::kind};
use crate::edge::relays::{fuzzing::fuzz, media::Packet};

const MAX_MESSAGE: usize = 64 * 1024;

/// Inputs that reach deep into the parsers, to be mutated.
const CORPUS: [&[u8]; 8] = [
    // Chunks: a chunk size of 64 KiB, then video in formats 0 to 3, with an extended timestamp.
    b"\x02\0\0\0\0\0\x04\x01\0\0\0\0\0\x01\0\0\x06\0\x03\xe8\0\0\x02\x09\x01\0\0\0\x17\x01\
      \x46\0\0\x28\0\0\x01\x08\x03\x86\0\0\x14\x04\xc6\x05\
      \x04\xff\xff\xff\0\0\x02\x08\x01\0\0\0\x01\0\0\0\xaf\x01\xc4\x01\0\0\0\xaf\x01",
    // An abort, and an acknowledgement window.
    b"\x02\0\0\0\0\0\x04\x02\0\0\0\0\0\0\0\x06\x02\0\0\0\0\0\x04\x05\0\0\0\0\0\x26\x25\xa0",
    // onStatus with an information object.
    b"\x02\0\x08onStatus\0\0\0\0\0\0\0\0\0\x05\x03\0\x05level\x02\0\x05error\0\x04code\x02\0\
      \x03a.b\0\x0bdescription\x02\0\x02no\0\0\x09",
    // _result with a list of codecs.
    b"\x02\0\x07_result\0\x3f\xf0\0\0\0\0\0\0\x03\0\x0afourCcList\x0a\0\0\0\x02\x02\0\x04hvc1\
      \x02\0\x04av01\0\0\x09\x05",
    // Metadata as a publisher sends it.
    b"\x02\0\x0d@setDataFrame\x02\0\x0aonMetaData\x08\0\0\0\x01\0\x0cvideocodecid\0\x40\x1c\0\0\
      \0\0\0\0\0\0\x09",
    // Enhanced RTMP: modifiers, multitrack, and a sequence start.
    b"\x97\x02abc\x16\x01av01\x02data",
    b"\x90hvc1\x01\x01\x60\0\0",
    // An aggregate of two tags.
    b"\x09\0\0\x02\0\0\0\0\0\0\0\x17\x01\0\0\0\x0d\x08\0\0\x01\0\0\x28\0\0\0\0\xaf\0\0\0\x0c",
];

fn parse(input: &[u8], split: usize) {
    let mut reader = ChunkReader::new(MAX_MESSAGE);
    'chunks: for piece in input.chunks(split) {
        reader.input().extend_from_slice(piece);
        loop {
            match reader.next() {
                Ok(Some(message)) => {
                    assert!(message.payload.len() <= MAX_MESSAGE);
                    interpret(&message);
                }
                Ok(None) => break,
                Err(_) => break 'chunks,
            }
        }
        assert!(
            reader.held() <= 2 * MAX_MESSAGE,
            "{} bytes are held",
            reader.held()
        );
    }
    let payload = Bytes::copy_from_slice(input);
    for kind in [
        kind::AUDIO,
        kind::VIDEO,
        kind::DATA,
        kind::DATA_AMF3,
        kind::COMMAND,
    ] {
        interpret(&Message {
            kind,
            timestamp: 0,
            stream_id: 1,
            payload: payload.clone(),
        });
    }
    let _ = (
        amf0::value(input),
        amf0::properties(input),
        amf0::strings(input),
    );
}

fn interpret(message: &Message) {
    let _ = (Response::of(message), message.event(), message.number());
    if let Some(packet) = Packet::of(message, 1) {
        let _ = (packet.announced_video(), packet.codec_name(), packet.kind());
    }
    for message in crate::edge::relays::media::split_aggregate(message) {
        let _ = Packet::of(&message, 1);
    }
}

#[test]
fn no_input_makes_a_parser_panic_or_hold_more_than_its_limit() {
    for input in CORPUS {
        parse(input, 1);
    }
    fuzz(&CORPUS, |input, random| parse(input, 1 + random.below(600)));
}

use bytes::{Buf, Bytes, BytesMut};

use super::message::{Message, kind};

/// The most chunk streams that a peer can open; servers and encoders use fewer than ten.
const MAX_CHUNK_STREAMS: usize = 64;

const DEFAULT_CHUNK_SIZE: usize = 128;

/// The timestamp that means that an extended one follows.
const EXTENDED: u32 = 0xff_ffff;

/// The longest chunk header: basic header, message header and extended timestamp.
const MAX_HEADER_BYTES: usize = 3 + 11 + 4;

/// Memory that is allocated before the bytes of a message arrive.
const MAX_PREALLOCATED_BYTES: usize = 64 * 1024;

/// The bytes are no chunk stream, or exceed a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InvalidChunk;

/// Splits a chunk stream into messages (RTMP 1.0, section 5.3), from pieces of any length.
///
/// It holds at most twice the longest message plus the unread input. Each message is copied
/// once, so that a message that is kept does not keep the read buffer.
#[derive(Debug)]
pub(crate) struct ChunkReader {
    input: BytesMut,
    chunk_size: usize,
    streams: Vec<ChunkStream>,
    /// The chunk stream of the chunk that is being read, and the bytes that it still has.
    open: Option<(usize, usize)>,
    max_message: usize,
    /// The bytes in incomplete messages.
    held: usize,
}

#[derive(Debug)]
struct ChunkStream {
    id: u32,
    header: Header,
    partial: BytesMut,
    is_open: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Header {
    timestamp: u32,
    delta: u32,
    is_extended: bool,
    length: usize,
    kind: u8,
    stream_id: u32,
}

impl ChunkReader {
    /// A chunk stream after its handshake, with messages of at most this many bytes.
    pub(crate) fn new(max_message: usize) -> Self {
        Self {
            input: BytesMut::new(),
            chunk_size: DEFAULT_CHUNK_SIZE,
            streams: Vec::new(),
            open: None,
            max_message,
            held: 0,
        }
    }

    /// Where received bytes are appended.
    pub(crate) fn input(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    /// The number of bytes in incomplete messages.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// The next complete message; `None` if more input is needed.
    pub(crate) fn next(&mut self) -> Result<Option<Message>, InvalidChunk> {
        loop {
            let Some((at, left)) = self.open else {
                match self.read_header()? {
                    Some(open) => self.open = Some(open),
                    None => return Ok(None),
                }
                continue;
            };
            let count = left.min(self.input.len());
            if count == 0 && left > 0 {
                return Ok(None);
            }
            let stream = &mut self.streams[at];
            stream.partial.extend_from_slice(&self.input[..count]);
            self.input.advance(count);
            self.held += count;
            self.open = (count < left).then_some((at, left - count));
            if self.open.is_none()
                && let Some(message) = self.complete(at)?
            {
                return Ok(Some(message));
            }
        }
    }

    /// Reads the header of a chunk: its chunk stream, and the bytes that it has.
    fn read_header(&mut self) -> Result<Option<(usize, usize)>, InvalidChunk> {
        let head = &self.input[..self.input.len().min(MAX_HEADER_BYTES)];
        let Some((format, id, basic)) = basic_header(head) else {
            return Ok(None);
        };
        let known = self.streams.iter().position(|stream| stream.id == id);
        let before = match known {
            Some(at) => self.streams[at].header,
            // Without a header before, nothing can be left out but the message stream.
            None if format > 1 => return Err(InvalidChunk),
            None => Header::default(),
        };
        let Some((header, length)) = message_header(&head[basic..], format, before) else {
            return Ok(None);
        };
        if header.length > self.max_message {
            return Err(InvalidChunk);
        }
        self.input.advance(basic + length);
        let at = known.map_or_else(|| self.add_stream(id), Ok)?;
        self.begin_chunk(at, format, header).map(Some)
    }

    fn add_stream(&mut self, id: u32) -> Result<usize, InvalidChunk> {
        if self.streams.len() == MAX_CHUNK_STREAMS {
            return Err(InvalidChunk);
        }
        self.streams.push(ChunkStream {
            id,
            header: Header::default(),
            partial: BytesMut::new(),
            is_open: false,
        });
        Ok(self.streams.len() - 1)
    }

    fn begin_chunk(
        &mut self,
        at: usize,
        format: u8,
        header: Header,
    ) -> Result<(usize, usize), InvalidChunk> {
        let stream = &mut self.streams[at];
        if stream.is_open {
            // Within a message no header can change.
            if format < 3 {
                return Err(InvalidChunk);
            }
        } else {
            stream.header = header;
            stream.header.timestamp = match format {
                0 => header.delta,
                _ => header.timestamp.wrapping_add(header.delta),
            };
            stream.is_open = true;
            stream
                .partial
                .reserve(header.length.min(MAX_PREALLOCATED_BYTES));
        }
        let left = stream.header.length - stream.partial.len();
        let size = left.min(self.chunk_size);
        if self.held + size > 2 * self.max_message {
            return Err(InvalidChunk);
        }
        Ok((at, size))
    }

    /// The message of a chunk stream, if its last chunk has been read.
    fn complete(&mut self, at: usize) -> Result<Option<Message>, InvalidChunk> {
        let stream = &mut self.streams[at];
        if stream.partial.len() < stream.header.length {
            return Ok(None);
        }
        stream.is_open = false;
        self.held -= stream.partial.len();
        let message = Message {
            kind: stream.header.kind,
            timestamp: stream.header.timestamp,
            stream_id: stream.header.stream_id,
            payload: std::mem::take(&mut stream.partial).freeze(),
        };
        match message.kind {
            kind::SET_CHUNK_SIZE => self.resize(&message.payload)?,
            kind::ABORT => self.abort(&message)?,
            _ => {}
        }
        Ok(Some(message))
    }

    fn resize(&mut self, payload: &Bytes) -> Result<(), InvalidChunk> {
        let size: [u8; 4] = payload[..].try_into().map_err(|_| InvalidChunk)?;
        self.chunk_size = match u32::from_be_bytes(size) {
            0 | 0x8000_0000.. => return Err(InvalidChunk),
            // No message is longer.
            size => size.min(EXTENDED) as usize,
        };
        Ok(())
    }

    /// Discards the incomplete message of a chunk stream.
    fn abort(&mut self, message: &Message) -> Result<(), InvalidChunk> {
        let id = message.number().ok_or(InvalidChunk)?;
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == id) {
            self.held -= stream.partial.len();
            stream.partial.clear();
            stream.is_open = false;
        }
        Ok(())
    }
}

/// The format, the chunk stream and the length of a basic header.
fn basic_header(bytes: &[u8]) -> Option<(u8, u32, usize)> {
    let first = *bytes.first()?;
    let (id, length) = match first & 0x3f {
        0 => (64 + u32::from(*bytes.get(1)?), 2),
        1 => {
            let (low, high) = (*bytes.get(1)?, *bytes.get(2)?);
            (64 + u32::from(low) + 256 * u32::from(high), 3)
        }
        id => (u32::from(id), 1),
    };
    Some((first >> 6, id, length))
}

/// The message header with what it leaves out, and its length. `delta` is the timestamp
/// field: a timestamp in format 0 and a difference otherwise.
fn message_header(bytes: &[u8], format: u8, before: Header) -> Option<(Header, usize)> {
    let length = [11, 7, 3, 0][usize::from(format)];
    let fields = bytes.get(..length)?;
    let mut header = before;
    if format < 3 {
        header.delta = three_bytes(fields);
        header.is_extended = header.delta == EXTENDED;
    }
    if format < 2 {
        header.length = three_bytes(&fields[3..]) as usize;
        header.kind = fields[6];
    }
    if format == 0 {
        header.stream_id = u32::from_le_bytes(*fields[7..].first_chunk()?);
    }
    if !header.is_extended {
        return Some((header, length));
    }
    header.delta = u32::from_be_bytes(*bytes.get(length..)?.first_chunk()?);
    Some((header, length + 4))
}

fn three_bytes(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]])
}

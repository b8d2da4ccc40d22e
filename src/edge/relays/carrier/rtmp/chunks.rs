//! RTMP's chunk stream: messages in chunks, with headers that say only what changed.

/// A bound of what can be opened by either side; encoders use less than ten.
const MAX_STREAMS: usize = 64;
const FIRST_CHUNK_SIZE: usize = 128;
/// The timestamp that says that the true one follows.
const EXTENDED: u32 = 0xff_ffff;

const SET_CHUNK_SIZE: u8 = 1;

/// The bytes are no chunk stream, or more than is taken of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken;

/// The beginning of a chunk, with all that was left out in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// The chunk stream.
    pub(super) id: u32,
    /// How much stands in the header, from 0 (all) to 3 (nothing).
    pub(super) format: u8,
    /// The timestamp, or what it has grown by.
    pub(super) time: u32,
    /// Whether the timestamp stands behind the header.
    pub(super) is_extended: bool,
    /// The bytes of the message.
    pub(super) length: u32,
    /// The type of the message.
    pub(super) kind: u8,
    /// The message stream, in its own order of bytes.
    pub(super) stream: [u8; 4],
    /// Whether the message begins with this chunk.
    pub(super) begins: bool,
}

/// A piece of a chunk stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// A header.
    Head(Head),
    /// Some bytes of a message.
    Data {
        /// The chunk stream.
        id: u32,
        /// The bytes.
        bytes: &'a [u8],
        /// Whether the message ends with them.
        ends: bool,
    },
}

#[derive(Debug)]
struct Stream {
    head: Head,
    left: usize,
}

/// Takes a chunk stream apart, however its bytes come in.
#[derive(Debug)]
pub(super) struct Chunks {
    size: usize,
    streams: Vec<Stream>,
    header: Vec<u8>,
    open: Option<(usize, usize)>,
    control: Vec<u8>,
}

impl Chunks {
    /// A stream from its beginning, after the handshake.
    pub(super) fn new() -> Self {
        Self {
            size: FIRST_CHUNK_SIZE,
            streams: Vec::new(),
            header: Vec::new(),
            open: None,
            control: Vec::new(),
        }
    }

    /// The bytes of a chunk at most.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// The bytes of the header that was last given out.
    pub(super) fn header(&self) -> &[u8] {
        &self.header
    }

    /// The next piece, which is taken from the input; `None` when more bytes are needed.
    pub(super) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Piece<'a>>, Broken> {
        match self.open {
            Some((at, left)) => self.data(at, left, input),
            None => self.head(input),
        }
    }

    fn head<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Piece<'a>>, Broken> {
        loop {
            let missing = self.needed().saturating_sub(self.header.len());
            if missing == 0 {
                break;
            }
            if input.is_empty() {
                return Ok(None);
            }
            let (taken, rest) = input.split_at(missing.min(input.len()));
            self.header.extend_from_slice(taken);
            *input = rest;
        }
        let (at, head) = self.begin()?;
        self.open = Some((at, self.streams[at].left.min(self.size)));
        Ok(Some(Piece::Head(head)))
    }

    /// How long the header is, as far as its bytes so far tell.
    fn needed(&self) -> usize {
        let Some(first) = self.header.first() else {
            return 1;
        };
        let basic = basic_length(*first);
        let message = basic + [11, 7, 3, 0][usize::from(first >> 6)];
        if self.header.len() < message {
            return message;
        }
        let is_extended = match self.header.get(basic..basic + 3) {
            Some(time) if message > basic => time == [0xff; 3],
            _ => {
                let id = id_of(&self.header);
                let known = self.streams.iter().find(|stream| stream.head.id == id);
                known.is_some_and(|stream| stream.head.is_extended)
            }
        };
        message + if is_extended { 4 } else { 0 }
    }

    fn begin(&mut self) -> Result<(usize, Head), Broken> {
        let id = id_of(&self.header);
        let at = self.streams.iter().position(|stream| stream.head.id == id);
        let format = self.header[0] >> 6;
        let known = at.map(|at| &self.streams[at]);
        let begins = known.is_none_or(|stream| stream.left == 0);
        let head = match known {
            // In the midst of a message nothing can change.
            Some(_) if format < 3 && !begins => return Err(Broken),
            // Some servers leave out the message stream even where there was none before.
            None if format > 1 => return Err(Broken),
            known => read_head(&self.header, id, known.map(|stream| stream.head)),
        };
        let head = Head { begins, ..head };

        let at = match at {
            Some(at) => at,
            None if self.streams.len() == MAX_STREAMS => return Err(Broken),
            None => {
                self.streams.push(Stream { head, left: 0 });
                self.streams.len() - 1
            }
        };
        let stream = &mut self.streams[at];
        stream.head = head;
        if begins {
            stream.left = head.length as usize;
        }
        Ok((at, head))
    }

    fn data<'a>(
        &mut self,
        at: usize,
        left: usize,
        input: &mut &'a [u8],
    ) -> Result<Option<Piece<'a>>, Broken> {
        if input.is_empty() && left > 0 {
            return Ok(None);
        }
        let (bytes, rest) = input.split_at(left.min(input.len()));
        *input = rest;
        let stream = &mut self.streams[at];
        stream.left -= bytes.len();
        let (head, ends) = (stream.head, stream.left == 0);
        self.open = Some((at, left - bytes.len()));
        if bytes.len() == left {
            self.open = None;
            self.header.clear();
        }
        if head.kind == SET_CHUNK_SIZE {
            self.resize(bytes, ends)?;
        }
        Ok(Some(Piece::Data {
            id: head.id,
            bytes,
            ends,
        }))
    }

    fn resize(&mut self, bytes: &[u8], ends: bool) -> Result<(), Broken> {
        self.control.extend_from_slice(bytes);
        if self.control.len() > 4 {
            return Err(Broken);
        }
        if ends {
            let size: [u8; 4] = self.control[..].try_into().map_err(|_| Broken)?;
            self.control.clear();
            self.size = match u32::from_be_bytes(size) {
                0 | 0x8000_0000.. => return Err(Broken),
                // No message is longer.
                size => size.min(EXTENDED) as usize,
            };
        }
        Ok(())
    }
}

fn basic_length(first: u8) -> usize {
    match first & 0x3f {
        0 => 2,
        1 => 3,
        _ => 1,
    }
}

/// The chunk stream of a header whose first bytes are there.
fn id_of(header: &[u8]) -> u32 {
    match (header[0] & 0x3f, &header[1..]) {
        (0, [low, ..]) => 64 + u32::from(*low),
        (1, [low, high, ..]) => 64 + u32::from(*low) + 256 * u32::from(*high),
        (id, _) => u32::from(id),
    }
}

fn read_head(header: &[u8], id: u32, before: Option<Head>) -> Head {
    let basic = basic_length(header[0]);
    let format = header[0] >> 6;
    let fields = &header[basic..];
    let mut head = before.unwrap_or(Head {
        id,
        format,
        time: 0,
        is_extended: false,
        length: 0,
        kind: 0,
        stream: [0; 4],
        begins: true,
    });
    head.format = format;
    if format < 3 {
        head.time = three(fields);
        head.is_extended = head.time == EXTENDED;
    }
    if format < 2 {
        head.length = three(&fields[3..]);
        head.kind = fields[6];
    }
    if format == 0 {
        head.stream.copy_from_slice(&fields[7..11]);
    }
    if head.is_extended {
        let end = header.len();
        head.time = u32::from_be_bytes([
            header[end - 4],
            header[end - 3],
            header[end - 2],
            header[end - 1],
        ]);
    }
    head
}

fn three(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]])
}

/// Writes the header of a chunk; it begins a message of `length` bytes.
pub(super) fn write_head(head: &Head, format: u8, length: u32, out: &mut Vec<u8>) {
    write_basic(format, head.id, out);
    let time = if head.is_extended {
        EXTENDED
    } else {
        head.time
    };
    if format < 3 {
        out.extend_from_slice(&time.to_be_bytes()[1..]);
    }
    if format < 2 {
        out.extend_from_slice(&length.to_be_bytes()[1..]);
        out.push(head.kind);
    }
    if format == 0 {
        out.extend_from_slice(&head.stream);
    }
    if head.is_extended {
        out.extend_from_slice(&head.time.to_be_bytes());
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "each is what the format has room for"
)]
fn write_basic(format: u8, id: u32, out: &mut Vec<u8>) {
    let format = format << 6;
    match id {
        ..64 => out.push(format | id as u8),
        64..320 => out.extend([format, (id - 64) as u8]),
        _ => out.extend([format | 1, (id - 64) as u8, ((id - 64) >> 8) as u8]),
    }
}

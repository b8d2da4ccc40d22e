use super::{
    amf,
    chunks::{Broken, Chunks, Head, Piece, write_head},
};
use crate::edge::relays::carrier::{address::RtmpAddress, random::is_same};

/// Commands are gathered to be read; no encoder's is longer.
pub(super) const MAX_COMMAND: u32 = 64 * 1024;

const COMMAND_AMF3: u8 = 17;
const COMMAND: u8 = 20;

/// The commands whose fourth value is the name of the stream.
const NAMING: [&[u8]; 7] = [
    b"releaseStream",
    b"FCPublish",
    b"FCUnpublish",
    b"FCSubscribe",
    b"getStreamLength",
    b"publish",
    b"play",
];

/// Whether a message of this type is a command.
pub(super) fn is_command(kind: u8) -> bool {
    matches!(kind, COMMAND | COMMAND_AMF3)
}

/// A command without the byte that says that it may hold AMF3, which none does.
pub(super) fn values_of(kind: u8, message: &[u8]) -> &[u8] {
    match message {
        [0, values @ ..] if kind == COMMAND_AMF3 => values,
        values => values,
    }
}

/// What ffmpeg calls the application and the stream.
#[derive(Debug, Clone)]
pub(super) struct LocalName {
    /// Nobody guesses it.
    pub(super) app: String,
    /// Says nothing.
    pub(super) stream: &'static str,
}

/// What is kept of a chunk stream.
#[derive(Debug)]
struct Flow {
    id: u32,
    /// The first header of the message.
    head: Head,
    /// The message, if it is a command.
    gathered: Option<Vec<u8>>,
    /// Whether the far side knows another length of the last message than ffmpeg does.
    is_longer_there: bool,
}

/// Puts the true names into the commands of ffmpeg; all else passes byte for byte.
#[derive(Debug)]
pub(super) struct Rewriter {
    chunks: Chunks,
    flows: Vec<Flow>,
    local: LocalName,
    far: RtmpAddress,
    connected: Option<bool>,
    asked: bool,
    left: bool,
}

impl Rewriter {
    /// For a connection whose handshake is done.
    pub(super) fn new(local: LocalName, far: RtmpAddress) -> Self {
        Self {
            chunks: Chunks::new(),
            flows: Vec::new(),
            local,
            far,
            connected: None,
            asked: false,
            left: false,
        }
    }

    /// Whether `connect` named our application; `None` until it came.
    pub(super) fn connected(&self) -> Option<bool> {
        self.connected
    }

    /// Whether `publish` or `play` has passed.
    pub(super) fn asked(&self) -> bool {
        self.asked
    }

    /// Whether ffmpeg has taken its leave.
    pub(super) fn left(&self) -> bool {
        self.left
    }

    /// Takes bytes of ffmpeg and adds those for the far side to `out`.
    pub(super) fn feed(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> Result<(), Broken> {
        while let Some(piece) = self.chunks.next(&mut input)? {
            match piece {
                Piece::Head(head) => self.head(head, out)?,
                Piece::Data { id, bytes, ends } => self.data(id, bytes, ends, out)?,
            }
        }
        Ok(())
    }

    fn head(&mut self, head: Head, out: &mut Vec<u8>) -> Result<(), Broken> {
        let at = self.flow(head);
        let flow = &mut self.flows[at];
        if !head.begins {
            if flow.gathered.is_none() {
                out.extend_from_slice(self.chunks.header());
            }
            return Ok(());
        }
        flow.head = head;
        if is_command(head.kind) {
            if head.length > MAX_COMMAND {
                return Err(Broken);
            }
            flow.gathered = Some(Vec::new());
        } else {
            // It says its length: without that it would be a command as the one before.
            out.extend_from_slice(self.chunks.header());
            flow.is_longer_there = false;
        }
        Ok(())
    }

    fn flow(&mut self, head: Head) -> usize {
        let known = self.flows.iter().position(|flow| flow.id == head.id);
        known.unwrap_or_else(|| {
            self.flows.push(Flow {
                id: head.id,
                head,
                gathered: None,
                is_longer_there: false,
            });
            self.flows.len() - 1
        })
    }

    fn data(&mut self, id: u32, bytes: &[u8], ends: bool, out: &mut Vec<u8>) -> Result<(), Broken> {
        let found = self.flows.iter_mut().find(|flow| flow.id == id);
        let flow = found.ok_or(Broken)?;
        let Some(gathered) = &mut flow.gathered else {
            out.extend_from_slice(bytes);
            return Ok(());
        };
        gathered.extend_from_slice(bytes);
        if ends {
            let message = flow.gathered.take().unwrap_or_default();
            let (head, was_longer) = (flow.head, flow.is_longer_there);
            let message = self.rewritten(head.kind, message);
            let is_longer = self.write(&head, was_longer, &message, out)?;
            if let Some(flow) = self.flows.iter_mut().find(|flow| flow.id == id) {
                flow.is_longer_there = is_longer;
            }
        }
        Ok(())
    }

    /// Writes a gathered message; says whether its length is another one now.
    fn write(
        &self,
        head: &Head,
        was_longer: bool,
        message: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<bool, Broken> {
        let length = u32::try_from(message.len()).map_err(|_| Broken)?;
        let is_longer = length != head.length;
        let format = match head.format {
            2.. if is_longer || was_longer => 1,
            format => format,
        };
        write_head(head, format, length, out);
        for (count, chunk) in message.chunks(self.chunks.size()).enumerate() {
            if count > 0 {
                write_head(head, 3, length, out);
            }
            out.extend_from_slice(chunk);
        }
        Ok(is_longer)
    }

    fn rewritten(&mut self, kind: u8, message: Vec<u8>) -> Vec<u8> {
        let values = values_of(kind, &message);
        match self.command(values) {
            Some(new) => [&message[..message.len() - values.len()], &new].concat(),
            None => message,
        }
    }

    /// A command with the true names; `None` if it has none.
    fn command(&mut self, values: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = amf::value(values)?;
        let (_, rest) = amf::value(rest)?;
        let (third, rest) = amf::value(rest)?;
        let name = amf::string(name)?;
        if name == b"connect" {
            return self.connect(
                &values[..values.len() - third.len() - rest.len()],
                third,
                rest,
            );
        }
        self.left |= name == b"deleteStream";
        let (fourth, after) = amf::value(rest)?;
        if !NAMING.contains(&name) || amf::string(fourth)? != self.local.stream.as_bytes() {
            return None;
        }
        self.asked |= matches!(name, b"publish" | b"play");
        let mut new = values[..values.len() - rest.len()].to_vec();
        amf::write_string(self.far.name.expose(), &mut new);
        new.extend_from_slice(after);
        Some(new)
    }

    fn connect(&mut self, before: &[u8], about: &[u8], after: &[u8]) -> Option<Vec<u8>> {
        let properties = amf::properties(about)?;
        let app = amf::text_of(&properties, "app")?;
        self.connected = Some(is_same(app, self.local.app.as_bytes()));
        let mut new = before.to_vec();
        let texts = [
            ("app", self.far.app.expose()),
            ("tcUrl", self.far.tc_url.expose()),
        ];
        amf::write_object(&properties, &texts, &mut new);
        new.extend_from_slice(after);
        Some(new)
    }
}

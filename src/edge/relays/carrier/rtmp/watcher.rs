use super::{
    amf,
    chunks::{Broken, Chunks, Piece},
    rewriter::{MAX_COMMAND, is_command, values_of},
};

/// What a server says of what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// The stream may begin.
    Started,
    /// It may not, or not go on: the server's words, which may hold anything.
    Refused(String),
}

/// Listens to what a server answers, without holding it up.
#[derive(Debug)]
pub(super) struct Watcher {
    chunks: Chunks,
    gathered: Vec<(u32, u8, Vec<u8>)>,
}

impl Watcher {
    /// For a connection whose handshake is done.
    pub(super) fn new() -> Self {
        Self {
            chunks: Chunks::new(),
            gathered: Vec::new(),
        }
    }

    /// What is said in these bytes, in its order.
    pub(super) fn feed(&mut self, mut input: &[u8]) -> Result<Vec<Said>, Broken> {
        let mut said = Vec::new();
        while let Some(piece) = self.chunks.next(&mut input)? {
            match piece {
                Piece::Head(head) if head.begins && is_command(head.kind) => {
                    if head.length > MAX_COMMAND {
                        return Err(Broken);
                    }
                    self.gathered.push((head.id, head.kind, Vec::new()));
                }
                Piece::Head(_) => {}
                Piece::Data { id, bytes, ends } => said.extend(self.data(id, bytes, ends)),
            }
        }
        Ok(said)
    }

    fn data(&mut self, id: u32, bytes: &[u8], ends: bool) -> Option<Said> {
        let at = self.gathered.iter().position(|(other, ..)| *other == id)?;
        self.gathered[at].2.extend_from_slice(bytes);
        if !ends {
            return None;
        }
        let (_, kind, message) = self.gathered.swap_remove(at);
        what_is_said(values_of(kind, &message))
    }
}

fn what_is_said(values: &[u8]) -> Option<Said> {
    let (name, rest) = amf::value(values)?;
    let (number, rest) = amf::value(rest)?;
    let (_, rest) = amf::value(rest)?;
    let about = amf::value(rest).map(|(about, _)| amf::properties(about).unwrap_or_default());
    let about = about.unwrap_or_default();
    let text = |name| {
        let bytes = amf::text_of(&about, name).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    };
    let (code, level) = (text("code"), text("level"));
    match amf::string(name)? {
        // Many servers answer so to what encoders ask by custom; only `connect`, which
        // is always the first, has to succeed.
        b"_error" if amf::number(number) == Some(1.0) => {
            Some(Said::Refused(words(&code, &text("description"))))
        }
        b"onStatus" if level == "error" => Some(Said::Refused(words(&code, &text("description")))),
        b"onStatus" if code == "NetStream.Publish.Start" || code == "NetStream.Play.Start" => {
            Some(Said::Started)
        }
        _ => None,
    }
}

fn words(code: &str, description: &str) -> String {
    match (code, description) {
        ("", "") => "it refused without a reason".to_owned(),
        (code, "") => code.to_owned(),
        ("", description) => description.to_owned(),
        (code, description) => format!("{code}: {description}"),
    }
}

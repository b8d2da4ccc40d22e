use super::{
    amf0,
    message::{Message, kind},
};

/// What a server says in a command.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Response {
    /// The result of a command.
    Result {
        transaction: f64,
        /// The number in it: the message stream that `createStream` has made.
        number: Option<f64>,
        /// The codecs of Enhanced RTMP that the server accepts; empty if it does not say.
        four_ccs: Vec<String>,
    },
    /// A command failed, with the reason in the server's words.
    Error { transaction: f64, words: String },
    /// The status of a stream.
    Status {
        is_error: bool,
        code: String,
        /// The code and the description in the server's words.
        words: String,
    },
}

impl Response {
    /// The response in a message; `None` if it has none, or an unknown one.
    pub(crate) fn of(message: &Message) -> Option<Self> {
        let values = match (message.kind, &message.payload[..]) {
            (kind::COMMAND, values) => values,
            // AMF0 after a byte that could announce AMF3.
            (kind::COMMAND_AMF3, [0, values @ ..]) => values,
            _ => return None,
        };
        let (name, rest) = amf0::value(values)?;
        let (transaction, rest) = amf0::value(rest)?;
        let transaction = amf0::number(transaction)?;
        let arguments: Vec<_> = arguments(rest).take(4).collect();
        match amf0::string(name)? {
            b"_result" => Some(Self::Result {
                transaction,
                number: arguments.iter().find_map(|value| amf0::number(value)),
                four_ccs: four_ccs(&arguments),
            }),
            b"_error" => Some(Self::Error {
                transaction,
                words: status(&arguments).2,
            }),
            b"onStatus" => {
                let (level, code, words) = status(&arguments);
                Some(Self::Status {
                    is_error: level == "error",
                    code,
                    words,
                })
            }
            _ => None,
        }
    }
}

fn arguments(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (value, after) = amf0::value(rest)?;
        rest = after;
        Some(value)
    })
}

fn four_ccs(arguments: &[&[u8]]) -> Vec<String> {
    let objects = arguments.iter().filter_map(|value| amf0::properties(value));
    let lists = objects.flatten().filter(|(name, _)| *name == b"fourCcList");
    let names = lists.flat_map(|(_, list)| amf0::strings(list));
    names
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect()
}

/// The level, the code, and the words of the information object.
fn status(arguments: &[&[u8]]) -> (String, String, String) {
    let about = arguments
        .iter()
        .filter_map(|value| amf0::properties(value))
        .find(|properties| amf0::text_of(properties, "code").is_some())
        .unwrap_or_default();
    let text = |name| {
        let bytes = amf0::text_of(&about, name).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    };
    let (code, description) = (text("code"), text("description"));
    let words = match (&*code, &*description) {
        ("", "") => "refused without a reason".to_owned(),
        (code, "") => code.to_owned(),
        ("", description) => description.to_owned(),
        (code, description) => format!("{code}: {description}"),
    };
    (text("level"), code, words)
}

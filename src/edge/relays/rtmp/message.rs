use bytes::Bytes;

/// The message types that the engine knows (RTMP 1.0, sections 5.4 and 7.1).
pub(crate) mod kind {
    pub(crate) const SET_CHUNK_SIZE: u8 = 1;
    pub(crate) const ABORT: u8 = 2;
    pub(crate) const ACKNOWLEDGEMENT: u8 = 3;
    pub(crate) const USER_CONTROL: u8 = 4;
    pub(crate) const WINDOW_SIZE: u8 = 5;
    pub(crate) const AUDIO: u8 = 8;
    pub(crate) const VIDEO: u8 = 9;
    pub(crate) const DATA_AMF3: u8 = 15;
    pub(crate) const COMMAND_AMF3: u8 = 17;
    pub(crate) const DATA: u8 = 18;
    pub(crate) const COMMAND: u8 = 20;
    pub(crate) const AGGREGATE: u8 = 22;
}

/// The events of user control messages (RTMP 1.0, section 7.1.7).
pub(crate) mod event {
    pub(crate) const STREAM_EOF: u16 = 1;
    pub(crate) const SET_BUFFER_LENGTH: u16 = 3;
    pub(crate) const PING_REQUEST: u16 = 6;
    pub(crate) const PING_RESPONSE: u16 = 7;
}

/// A message of RTMP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// One of [`kind`], or a type that the engine ignores.
    pub(crate) kind: u8,
    /// In milliseconds. It wraps.
    pub(crate) timestamp: u32,
    /// The message stream.
    pub(crate) stream_id: u32,
    pub(crate) payload: Bytes,
}

impl Message {
    /// A message of the connection itself, which has neither a time nor a message stream.
    pub(crate) fn control(kind: u8, payload: impl Into<Bytes>) -> Self {
        Self {
            kind,
            timestamp: 0,
            stream_id: 0,
            payload: payload.into(),
        }
    }

    /// The first four bytes as a number: chunk sizes, windows and acknowledgements.
    pub(crate) fn number(&self) -> Option<u32> {
        let bytes = self.payload.first_chunk::<4>()?;
        Some(u32::from_be_bytes(*bytes))
    }

    /// The event of a user control message, and its data.
    pub(crate) fn event(&self) -> Option<(u16, Bytes)> {
        let event = self.payload.first_chunk::<2>()?;
        (self.kind == kind::USER_CONTROL)
            .then(|| (u16::from_be_bytes(*event), self.payload.slice(2..)))
    }
}

/// A user control message.
pub(crate) fn user_control(event: u16, data: &[u8]) -> Message {
    let payload = [&event.to_be_bytes(), data].concat();
    Message::control(kind::USER_CONTROL, payload)
}

//! The round trips of PostgreSQL's protocol, as a client causes them.

/// The code of a request for TLS, which the startup message of a session follows.
const TLS_REQUEST: [u8; 4] = 80_877_103_u32.to_be_bytes();

/// Reads the messages of one connection.
#[derive(Default)]
pub struct RoundTrips {
    unread: Vec<u8>,
    is_started: bool,
}

impl RoundTrips {
    /// The number of messages in these bytes that the server answers and the client waits for:
    /// `Query` and `Sync`, of which every statement has one, as have `begin` and `commit`, and the
    /// preparation of a statement.
    pub fn count(&mut self, bytes: &[u8]) -> usize {
        self.unread.extend_from_slice(bytes);
        let mut round_trips = 0;
        while let Some(message) = self.next() {
            round_trips += usize::from(matches!(message.first(), Some(b'Q' | b'S')));
        }
        round_trips
    }

    /// The next complete message; empty if it belongs to the start of the session.
    fn next(&mut self) -> Option<Vec<u8>> {
        let tag = usize::from(self.is_started);
        let length = self.unread.get(tag..tag + 4)?;
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        if self.unread.len() < tag + length {
            return None;
        }
        let message: Vec<u8> = self.unread.drain(..tag + length).collect();
        if self.is_started {
            return Some(message);
        }
        self.is_started = message[4..8] != TLS_REQUEST;
        Some(Vec::new())
    }
}

#[test]
fn a_statement_is_one_round_trip_however_its_bytes_arrive() {
    let mut session = Vec::new();
    session.extend([0, 0, 0, 8]);
    session.extend(TLS_REQUEST);
    session.extend([0, 0, 0, 9, 0, 3, 0, 0, 0]);
    session.extend(b"Q\0\0\0\x0abegin\0");
    session.extend(b"B\0\0\0\x06SQE\0\0\0\x04S\0\0\0\x04");

    assert_eq!(RoundTrips::default().count(&session), 2);
    let mut messages = RoundTrips::default();
    let counts = session.iter().map(|byte| messages.count(&[*byte]));
    assert_eq!(counts.sum::<usize>(), 2);
}

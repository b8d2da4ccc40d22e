use crate::error::{Error, Result};

/// The bytes before each message: a flag and the length.
const PREFIX_SIZE: usize = 5;

/// Follows the messages in a gRPC body, of which it keeps none.
#[derive(Debug)]
pub(super) struct MessageFrames {
    max_message_size: usize,
    prefix: [u8; PREFIX_SIZE],
    prefix_size: usize,
    /// The bytes of the current message that are missing.
    missing: usize,
    messages: usize,
}

impl MessageFrames {
    /// A body that has not begun, with messages up to a size in bytes.
    pub fn new(max_message_size: usize) -> Self {
        Self {
            max_message_size,
            prefix: [0; PREFIX_SIZE],
            prefix_size: 0,
            missing: 0,
            messages: 0,
        }
    }

    /// Follows the next bytes; fails at the prefix of a message that is too large or
    /// compressed.
    pub fn push(&mut self, mut data: &[u8]) -> Result<()> {
        while let Some((first, rest)) = data.split_first() {
            if self.prefix_size < PREFIX_SIZE {
                self.prefix[self.prefix_size] = *first;
                self.prefix_size += 1;
                data = rest;
                if self.prefix_size == PREFIX_SIZE {
                    self.missing = self.message_size()?;
                }
            } else {
                let size = self.missing.min(data.len());
                self.missing -= size;
                data = &data[size..];
            }
            if self.prefix_size == PREFIX_SIZE && self.missing == 0 {
                self.messages += 1;
                self.prefix_size = 0;
            }
        }
        Ok(())
    }

    /// The number of complete messages.
    pub fn messages(&self) -> usize {
        self.messages
    }

    /// Whether the last message is complete, and there is one.
    pub fn is_complete(&self) -> bool {
        self.messages > 0 && self.prefix_size == 0
    }

    fn message_size(&self) -> Result<usize> {
        let [flag, a, b, c, d] = self.prefix;
        let size = u32::from_be_bytes([a, b, c, d]) as usize;
        if flag != 0 {
            return Err(Error::RequestMalformed);
        }
        match size > self.max_message_size {
            true => Err(Error::RequestTooLarge(self.max_message_size)),
            false => Ok(size),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::MessageFrames;
    use crate::error::Error;

    #[test]
    fn messages_are_counted_in_any_chunks() {
        let body = [0, 0, 0, 0, 2, 7, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 7];
        for size in 1..=body.len() {
            let mut frames = MessageFrames::new(2);
            for chunk in body.chunks(size) {
                frames.push(chunk).unwrap();
            }
            assert!(frames.is_complete());
            assert_eq!(frames.messages(), 3, "chunks of {size}");
        }
    }

    #[test]
    fn an_empty_or_cut_off_body_is_incomplete() {
        for body in [
            &[][..],
            &[0],
            &[0, 0, 0, 0],
            &[0, 0, 0, 0, 2, 7],
            &[0, 0, 0, 0, 0, 0],
        ] {
            let mut frames = MessageFrames::new(2);
            frames.push(body).unwrap();
            assert!(!frames.is_complete(), "{body:?}");
        }
    }

    #[test]
    fn the_prefix_decides_about_size_and_compression() {
        let push = |body: &[u8]| MessageFrames::new(2).push(body);

        assert!(matches!(
            push(&[0, 0, 0, 0, 3]),
            Err(Error::RequestTooLarge(2))
        ));
        assert!(matches!(
            push(&[1, 0, 0, 0, 1]),
            Err(Error::RequestMalformed)
        ));
        assert!(matches!(
            push(&[9, 255, 255, 255, 255]),
            Err(Error::RequestMalformed)
        ));
        push(&[1, 0, 0, 0]).unwrap();
    }
}

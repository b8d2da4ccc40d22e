//! Calls an RPC by its path, with encoded messages and any `authorization` headers.

use prost::bytes::{Buf, BufMut};
use tonic::{
    Code, Request, Response, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::{Ascii, KeyAndValueRef, MetadataValue},
    transport::Channel,
};

/// Leaves messages encoded.
#[derive(Default)]
struct RawCodec;

impl Codec for RawCodec {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, target: &mut EncodeBuf<'_>) -> Result<(), Status> {
        target.put_slice(&item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let length = source.remaining();
        Ok(Some(source.copy_to_bytes(length).to_vec()))
    }
}

/// Calls an RPC by its path with these `authorization` headers; of a stream it returns the
/// first message.
pub async fn call(
    channel: &Channel,
    path: &str,
    authorization: &[Vec<u8>],
    message: Vec<u8>,
) -> Result<Response<Vec<u8>>, Status> {
    let mut request = Request::new(message);
    for header in authorization {
        let header: MetadataValue<Ascii> = header.as_slice().try_into().unwrap();
        request.metadata_mut().append("authorization", header);
    }
    let mut client = Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let path = path.parse().unwrap();
    let answer = client.server_streaming(request, path, RawCodec).await?;
    let (metadata, mut messages, extensions) = answer.into_parts();
    let first = messages.message().await?;
    let first = first.expect("a response has a message");
    Ok(Response::from_parts(metadata, first, extensions))
}

/// The `authorization` header of an access token.
pub fn bearer(token: &str) -> Vec<u8> {
    format!("Bearer {token}").into_bytes()
}

/// Everything that a caller sees of an error, except headers that are specific to the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservableError {
    pub code: Code,
    pub text: String,
    pub details: Vec<u8>,
    headers: Vec<String>,
}

impl ObservableError {
    /// The observable parts of a status.
    pub fn of(status: &Status) -> Self {
        let headers = status.metadata().iter().map(|header| match header {
            KeyAndValueRef::Ascii(key, value) => format!("{key}: {value:?}"),
            KeyAndValueRef::Binary(key, value) => format!("{key}: {value:?}"),
        });
        let is_specific =
            |header: &String| header.starts_with("x-request-id:") || header.starts_with("date:");
        let mut headers: Vec<_> = headers.filter(|header| !is_specific(header)).collect();
        headers.sort_unstable();
        Self {
            code: status.code(),
            text: status.message().to_owned(),
            details: status.details().to_vec(),
            headers,
        }
    }

    /// The same, with every occurrence of an id masked.
    pub fn with_id_masked(self, id: &str) -> Self {
        let replaced = |bytes: &[u8]| {
            let text: String = bytes.iter().copied().map(char::from).collect();
            text.replace(id, "<id>")
        };
        Self {
            text: replaced(self.text.as_bytes()),
            details: replaced(&self.details).into_bytes(),
            ..self
        }
    }
}

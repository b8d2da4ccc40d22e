//! Calls by the path of an RPC, with messages as bytes and any headers.

use prost::bytes::{Buf, BufMut};
use tonic::{
    Code, Request, Response, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::{Ascii, KeyAndValueRef, MetadataValue},
    transport::Channel,
};

/// Passes messages on as they are.
#[derive(Default)]
struct Bytes;

impl Codec for Bytes {
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

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, target: &mut EncodeBuf<'_>) -> Result<(), Status> {
        target.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let length = source.remaining();
        Ok(Some(source.copy_to_bytes(length).to_vec()))
    }
}

/// Calls an RPC by its path with these `authorization` headers; of an answer of many
/// messages it takes the first.
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
    let answer = client.server_streaming(request, path, Bytes).await?;
    let (metadata, mut messages, extensions) = answer.into_parts();
    let first = messages.message().await?;
    let first = first.expect("an answer has a message");
    Ok(Response::from_parts(metadata, first, extensions))
}

/// The header of an access token.
pub fn bearer(token: &str) -> Vec<u8> {
    format!("Bearer {token}").into_bytes()
}

/// All that a caller can see of a refusal, but for what names the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    pub code: Code,
    pub text: String,
    pub details: Vec<u8>,
    headers: Vec<String>,
}

impl Shape {
    /// The shape of a refusal.
    pub fn of(status: &Status) -> Self {
        let headers = status.metadata().iter().map(|header| match header {
            KeyAndValueRef::Ascii(key, value) => format!("{key}: {value:?}"),
            KeyAndValueRef::Binary(key, value) => format!("{key}: {value:?}"),
        });
        let of_the_call =
            |header: &String| header.starts_with("x-request-id:") || header.starts_with("date:");
        let mut headers: Vec<_> = headers.filter(|header| !of_the_call(header)).collect();
        headers.sort_unstable();
        Self {
            code: status.code(),
            text: status.message().to_owned(),
            details: status.details().to_vec(),
            headers,
        }
    }

    /// The same, but for an id, wherever it stands.
    pub fn without(self, id: &str) -> Self {
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

use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use h2::{RecvStream, SendStream, client};
use http::{HeaderMap, Request, Response};
use prost::Message;
use tokio::{net::TcpStream, task::JoinHandle};
use tonic::Status;

/// A connection without the manners of a gRPC client: it enforces no deadline of
/// its own, and a request can stay unfinished.
pub struct RawConnection {
    send: client::SendRequest<Bytes>,
    _driver: JoinHandle<()>,
}

/// A call whose request is not finished.
pub struct HalfCall {
    body: SendStream<Bytes>,
    answer: client::ResponseFuture,
}

impl RawConnection {
    /// A connection to a server.
    pub async fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (send, connection) = client::handshake(stream).await.unwrap();
        let driver = tokio::spawn(async move {
            let _ = connection.await;
        });
        Self {
            send,
            _driver: driver,
        }
    }

    /// Begins a call, for example of `sluice.v1.ProjectService/GetProject`.
    pub async fn begin(&mut self, rpc: &str, headers: &[(&str, &str)]) -> HalfCall {
        let mut request = Request::post(format!("http://sluice/{rpc}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut ready = self.send.clone().ready().await.unwrap();
        let (answer, body) = ready
            .send_request(request.body(()).unwrap(), false)
            .unwrap();
        HalfCall { body, answer }
    }

    /// How a call ends that has this request.
    pub async fn call(
        &mut self,
        rpc: &str,
        headers: &[(&str, &str)],
        request: &impl Message,
    ) -> Status {
        self.begin(rpc, headers).await.finish(request).await
    }
}

impl HalfCall {
    /// Sends the request, and waits for the end of the answer.
    pub async fn finish(mut self, request: &impl Message) -> Status {
        let mut frame = BytesMut::new();
        frame.put_u8(0);
        frame.put_u32(request.encoded_len().try_into().unwrap());
        request.encode(&mut frame).unwrap();
        self.body.send_data(frame.freeze(), true).unwrap();
        self.ended().await
    }

    /// Waits for the end of the answer.
    pub async fn ended(self) -> Status {
        let (head, body) = self.answer.await.unwrap().into_parts();
        match Status::from_header_map(&head.headers) {
            Some(status) => status,
            None => Status::from_header_map(&trailers(Response::from_parts(head, body)).await)
                .expect("the answer has a status"),
        }
    }
}

async fn trailers(answer: Response<RecvStream>) -> HeaderMap {
    let mut body = answer.into_body();
    while let Some(data) = body.data().await {
        let length = data.unwrap().len();
        body.flow_control().release_capacity(length).unwrap();
    }
    body.trailers().await.unwrap().expect("the answer ends")
}

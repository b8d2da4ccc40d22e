use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use h2::{RecvStream, SendStream, client};
use http::{HeaderMap, Request, Response};
use prost::Message;
use tokio::{net::TcpStream, task::JoinHandle};
use tonic::Status;

/// An HTTP/2 connection without a gRPC client: it enforces no deadline, and a request
/// can stay unfinished.
pub struct RawConnection {
    send: client::SendRequest<Bytes>,
    _driver: JoinHandle<()>,
}

/// A call whose request body is still open.
pub struct OpenCall {
    body: SendStream<Bytes>,
    response: client::ResponseFuture,
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

    /// Starts a call and keeps its body open, for example of `sluice.v1.ProjectService/GetProject`.
    pub async fn begin(&mut self, rpc: &str, headers: &[(&str, &str)]) -> OpenCall {
        let mut request = Request::post(format!("http://sluice/{rpc}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut ready = self.send.clone().ready().await.unwrap();
        let (response, body) = ready
            .send_request(request.body(()).unwrap(), false)
            .unwrap();
        OpenCall { body, response }
    }

    /// Makes a call; returns its status.
    pub async fn call(
        &mut self,
        rpc: &str,
        headers: &[(&str, &str)],
        request: &impl Message,
    ) -> Status {
        self.begin(rpc, headers).await.finish(request).await
    }
}

impl OpenCall {
    /// Sends the request and ends its body; returns the status.
    pub async fn finish(mut self, request: &impl Message) -> Status {
        let mut frame = BytesMut::new();
        frame.put_u8(0);
        frame.put_u32(request.encoded_len().try_into().unwrap());
        request.encode(&mut frame).unwrap();
        self.body.send_data(frame.freeze(), true).unwrap();
        self.status().await
    }

    /// Waits for the end of the response; returns the status.
    pub async fn status(self) -> Status {
        let (head, body) = self.response.await.unwrap().into_parts();
        match Status::from_header_map(&head.headers) {
            Some(status) => status,
            None => Status::from_header_map(&trailers(Response::from_parts(head, body)).await)
                .expect("the response has a status"),
        }
    }
}

async fn trailers(response: Response<RecvStream>) -> HeaderMap {
    let mut body = response.into_body();
    while let Some(data) = body.data().await {
        let length = data.unwrap().len();
        body.flow_control().release_capacity(length).unwrap();
    }
    body.trailers()
        .await
        .unwrap()
        .expect("the response has trailers")
}

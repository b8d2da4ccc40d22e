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
    driver: JoinHandle<()>,
}

/// A call whose request body is still open.
pub struct OpenCall {
    body: SendStream<Bytes>,
    response: client::ResponseFuture,
}

impl RawConnection {
    /// A connection to a server.
    pub async fn to(address: SocketAddr) -> Self {
        Self::with_window(address, 64 * 1024).await
    }

    /// A connection on which the server may send so many unread bytes of each response.
    pub async fn with_window(address: SocketAddr, window: u32) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut client = client::Builder::new();
        client.initial_window_size(window);
        let (send, connection) = client.handshake(stream).await.unwrap();
        let driver = tokio::spawn(async move {
            let _ = connection.await;
        });
        Self { send, driver }
    }

    /// Waits until the server closes the connection.
    pub async fn closed(self) {
        self.driver.await.unwrap();
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
    pub async fn finish(self, request: &impl Message) -> Status {
        self.send(request).status().await
    }

    /// Sends the request and ends its body.
    pub fn send(mut self, request: &impl Message) -> Self {
        let mut frame = BytesMut::new();
        frame.put_u8(0);
        frame.put_u32(request.encoded_len().try_into().unwrap());
        request.encode(&mut frame).unwrap();
        self.body.send_data(frame.freeze(), true).unwrap();
        self
    }

    /// The head of the response. Its body is left unread.
    pub async fn response(self) -> Response<RecvStream> {
        self.response.await.unwrap()
    }

    /// Waits for the end of the response; returns the status.
    pub async fn status(self) -> Status {
        read_status(self.response().await).await
    }
}

/// Reads a response to its end; returns the status.
pub async fn read_status(response: Response<RecvStream>) -> Status {
    let (head, body) = response.into_parts();
    match Status::from_header_map(&head.headers) {
        Some(status) => status,
        None => Status::from_header_map(&trailers(Response::from_parts(head, body)).await)
            .expect("the response has a status"),
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

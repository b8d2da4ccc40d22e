use std::net::{IpAddr, SocketAddr};

use bytes::{BufMut, Bytes, BytesMut};
use h2::{RecvStream, SendStream, client};
use http::{HeaderMap, Request, Response};
use prost::Message;
use tokio::{
    net::{TcpSocket, TcpStream},
    task::JoinHandle,
};
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
        let mut http = client::Builder::new();
        http.initial_window_size(window);
        let (send, connection) = http.handshake(stream).await.unwrap();
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
        self.send_message(request).status().await
    }

    /// Sends the request and ends its body.
    pub fn send_message(mut self, request: &impl Message) -> Self {
        self.send(&message_frame(request), true);
        self
    }

    /// Sends bytes of the body.
    pub fn send(&mut self, bytes: &[u8], is_end: bool) {
        self.body
            .send_data(Bytes::copy_from_slice(bytes), is_end)
            .unwrap();
    }

    /// Waits until the response begins; returns it.
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

/// A message with its prefix.
pub fn message_frame(message: &impl Message) -> Vec<u8> {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.encoded_len().try_into().unwrap());
    message.encode(&mut frame).unwrap();
    frame.to_vec()
}

/// A TCP connection from another address of this machine.
pub async fn connect_from(local: IpAddr, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((local, 0).into()).unwrap();
    socket.connect(address).await.unwrap()
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

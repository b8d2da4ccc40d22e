use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use http::{Request, Response};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// The HTTP API of a media server, with fixed responses and a record of requests. It ends with the
/// runtime of its test.
#[derive(Clone)]
pub struct StubApi {
    pub address: String,
    answers: Arc<Mutex<HashMap<String, String>>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl StubApi {
    /// On a free port, without any response yet.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stub = Self {
            address: format!("http://{}", listener.local_addr().unwrap()),
            answers: Arc::default(),
            requests: Arc::default(),
        };
        tokio::spawn(stub.clone().serve(listener));
        stub
    }

    /// Sets the body of the response to a method and path, with status 200.
    pub fn answer(&self, request: &str, text: &str) {
        let mut answers = self.answers.lock().unwrap();
        answers.insert(request.to_owned(), text.to_owned());
    }

    /// Whether a method and path was requested.
    pub fn was_requested(&self, expected: &str) -> bool {
        self.requests
            .lock()
            .unwrap()
            .iter()
            .any(|request| request == expected)
    }

    fn take(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let key = format!("{} {}", request.method(), request.uri().path());
        let answer = self.answers.lock().unwrap().get(&key).cloned();
        self.requests.lock().unwrap().push(key);
        let status = if answer.is_some() { 200 } else { 404 };
        let body = Full::from(answer.unwrap_or_default());
        Response::builder().status(status).body(body).unwrap()
    }

    async fn serve(self, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let stub = self.clone();
            let service = service_fn(move |request| {
                let answer = stub.take(&request);
                async { Ok::<_, Infallible>(answer) }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    }
}

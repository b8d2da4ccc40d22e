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

/// A media server's HTTP side: fixed answers, and what it was asked. It ends with the
/// runtime of its test.
#[derive(Clone)]
pub struct StubApi {
    pub address: String,
    answers: Arc<Mutex<HashMap<String, String>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl StubApi {
    /// On a port of its own; whatever is asked is not found.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stub = Self {
            address: format!("http://{}", listener.local_addr().unwrap()),
            answers: Arc::default(),
            asked: Arc::default(),
        };
        tokio::spawn(stub.clone().serve(listener));
        stub
    }

    /// From now on answers 200 with a text to a method and path, whatever the query.
    pub fn answer(&self, asked: &str, text: &str) {
        let mut answers = self.answers.lock().unwrap();
        answers.insert(asked.to_owned(), text.to_owned());
    }

    /// Whether it was asked this, a method and path.
    pub fn was_asked(&self, what: &str) -> bool {
        self.asked.lock().unwrap().iter().any(|asked| asked == what)
    }

    fn take(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let asked = format!("{} {}", request.method(), request.uri().path());
        let answer = self.answers.lock().unwrap().get(&asked).cloned();
        self.asked.lock().unwrap().push(asked);
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

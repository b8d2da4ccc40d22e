use std::{
    collections::BTreeMap,
    convert::Infallible,
    fmt::Write,
    future::pending,
    sync::{Arc, Mutex},
    time::Instant,
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

/// The HTTP side of an nginx-rtmp that has whatever publishers a test gives it. It ends
/// with the runtime of its test.
#[derive(Clone)]
pub struct NginxStub {
    pub address: String,
    run: Arc<Mutex<Run>>,
}

/// One run of it.
struct Run {
    pid: u32,
    start: Instant,
    /// Of each connection the name of its stream, and its bytes.
    publishers: BTreeMap<u32, (String, u64)>,
    dropped: Vec<String>,
    is_silent: bool,
}

impl Run {
    fn new(pid: u32) -> Self {
        Self {
            pid,
            start: Instant::now(),
            publishers: BTreeMap::new(),
            dropped: Vec::new(),
            is_silent: false,
        }
    }

    fn stat(&self) -> String {
        let mut streams = String::new();
        for (client, (name, bytes)) in &self.publishers {
            write!(
                streams,
                "<stream><name>{name}</name><bytes_in>{bytes}</bytes_in><client><id>{client}</id>\
                 <address>203.0.113.5</address><publishing/></client></stream>"
            )
            .unwrap();
        }
        let (pid, uptime) = (self.pid, self.start.elapsed().as_secs() + 100);
        format!(
            "<rtmp><pid>{pid}</pid><uptime>{uptime}</uptime><server><application>\
             <name>live</name><live>{streams}</live></application></server></rtmp>"
        )
    }
}

impl NginxStub {
    /// On a port of its own.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stub = Self {
            address: format!("http://{}", listener.local_addr().unwrap()),
            run: Arc::new(Mutex::new(Run::new(4711))),
        };
        tokio::spawn(stub.clone().serve(listener));
        stub
    }

    /// A connection publishes, and so many bytes have come.
    pub fn has(&self, client: u32, name: &str, bytes: u64) {
        let mut run = self.run.lock().unwrap();
        run.publishers.insert(client, (name.to_owned(), bytes));
    }

    /// A connection is gone.
    pub fn loses(&self, client: u32) {
        self.run.lock().unwrap().publishers.remove(&client);
    }

    /// It starts anew; nobody publishes.
    pub fn restart(&self) {
        let mut run = self.run.lock().unwrap();
        *run = Run::new(run.pid + 1);
    }

    /// It takes requests, and answers none any more.
    pub fn falls_silent(&self) {
        self.run.lock().unwrap().is_silent = true;
    }

    /// Whether it was asked to disconnect a connection.
    pub fn was_told_to_drop(&self, client: u32) -> bool {
        let run = self.run.lock().unwrap();
        let wanted = format!("clientid={client}");
        let asks = |query: &String| query.split('&').any(|part| part == wanted);
        run.dropped.iter().any(asks)
    }

    fn take(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let mut run = self.run.lock().unwrap();
        let body = match request.uri().path() {
            "/stat" => run.stat(),
            "/control/drop/publisher" => {
                let query = request.uri().query().unwrap_or_default();
                run.dropped.push(query.to_owned());
                "1".to_owned()
            }
            path => panic!("nginx has no {path}"),
        };
        Response::new(Full::from(body))
    }

    async fn serve(self, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let stub = self.clone();
            let service = service_fn(move |request| {
                let answer = stub.take(&request);
                let is_silent = stub.run.lock().unwrap().is_silent;
                async move {
                    if is_silent {
                        pending::<()>().await;
                    }
                    Ok::<_, Infallible>(answer)
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    }
}

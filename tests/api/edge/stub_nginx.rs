use std::{
    collections::BTreeMap,
    convert::Infallible,
    fmt::Write,
    future::pending,
    sync::{Arc, Mutex},
};

use chrono::{DateTime, TimeDelta, Utc};
use http::{Request, Response, header};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// A stub for the HTTP API of nginx-rtmp, with publishers set by the test. It ends with the
/// runtime of its test.
#[derive(Clone)]
pub struct StubNginx {
    pub address: String,
    run: Arc<Mutex<Run>>,
}

/// The state of one run of nginx.
struct Run {
    pid: u32,
    start: DateTime<Utc>,
    /// How much its clock is ahead of that of this machine.
    clock_offset: TimeDelta,
    /// The stream name and byte count of each connection.
    publishers: BTreeMap<u32, (String, u64)>,
    drop_requests: Vec<String>,
    is_unresponsive: bool,
}

impl Run {
    fn new(pid: u32) -> Self {
        Self {
            pid,
            start: Utc::now() - TimeDelta::seconds(100),
            clock_offset: TimeDelta::zero(),
            publishers: BTreeMap::new(),
            drop_requests: Vec::new(),
            is_unresponsive: false,
        }
    }

    fn now(&self) -> DateTime<Utc> {
        Utc::now() + self.clock_offset
    }

    fn stat(&self, now: DateTime<Utc>) -> String {
        let mut streams = String::new();
        for (client, (name, bytes)) in &self.publishers {
            write!(
                streams,
                "<stream><name>{name}</name><bytes_in>{bytes}</bytes_in><client><id>{client}</id>\
                 <address>203.0.113.5</address><publishing/></client></stream>"
            )
            .unwrap();
        }
        let (pid, uptime) = (self.pid, now.timestamp() - self.start.timestamp());
        format!(
            "<rtmp><pid>{pid}</pid><uptime>{uptime}</uptime><server><application>\
             <name>live</name><live>{streams}</live></application></server></rtmp>"
        )
    }
}

impl StubNginx {
    /// On a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stub = Self {
            address: format!("http://{}", listener.local_addr().unwrap()),
            run: Arc::new(Mutex::new(Run::new(4711))),
        };
        tokio::spawn(stub.clone().serve(listener));
        stub
    }

    /// Sets the stream name and byte count of a connection.
    pub fn set_publisher(&self, client: u32, name: &str, bytes: u64) {
        let mut run = self.run.lock().unwrap();
        run.publishers.insert(client, (name.to_owned(), bytes));
    }

    /// Removes a connection.
    pub fn remove_publisher(&self, client: u32) {
        self.run.lock().unwrap().publishers.remove(&client);
    }

    /// Restarts, without publishers.
    pub fn restart(&self) {
        let mut run = self.run.lock().unwrap();
        *run = Run::new(run.pid + 1);
    }

    /// Changes the clock of its machine. Its start time, from which it computes its uptime,
    /// stays the same.
    pub fn change_clock(&self, by: TimeDelta) {
        self.run.lock().unwrap().clock_offset += by;
    }

    /// Accepts requests without responding from now on.
    pub fn stop_responding(&self) {
        self.run.lock().unwrap().is_unresponsive = true;
    }

    /// Whether a drop of a connection was requested.
    pub fn was_asked_to_drop(&self, client: u32) -> bool {
        let run = self.run.lock().unwrap();
        let wanted = format!("clientid={client}");
        let asks = |query: &String| query.split('&').any(|part| part == wanted);
        run.drop_requests.iter().any(asks)
    }

    fn take(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let mut run = self.run.lock().unwrap();
        let now = run.now();
        let body = match request.uri().path() {
            "/stat" => run.stat(now),
            "/control/drop/publisher" => {
                let query = request.uri().query().unwrap_or_default();
                run.drop_requests.push(query.to_owned());
                "1".to_owned()
            }
            path => panic!("nginx has no {path}"),
        };
        let date = now.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let response = Response::builder().header(header::DATE, date);
        response.body(Full::from(body)).unwrap()
    }

    async fn serve(self, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let stub = self.clone();
            let service = service_fn(move |request| {
                let answer = stub.take(&request);
                let is_unresponsive = stub.run.lock().unwrap().is_unresponsive;
                async move {
                    if is_unresponsive {
                        pending::<()>().await;
                    }
                    Ok::<_, Infallible>(answer)
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    }
}

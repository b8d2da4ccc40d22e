use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use sluice::domain::{Time, now};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::{OwnedRwLockWriteGuard, RwLock},
    task::{JoinHandle, JoinSet},
};

use super::IssuerKey;

/// The path of an issuer's discovery document.
pub const DISCOVERY: &str = "/.well-known/openid-configuration";

/// The path of its keys.
pub const JWKS: &str = "/keys";

/// An OpenID Connect issuer of its own, over HTTP, on a port of its own.
pub struct Issuer {
    pub url: String,
    address: SocketAddr,
    site: Arc<Site>,
    running: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Site {
    pages: Mutex<HashMap<String, Page>>,
    fetches: Mutex<HashMap<String, usize>>,
    gate: Arc<RwLock<()>>,
}

/// What is answered for a path.
#[derive(Clone)]
struct Page {
    status: &'static str,
    header: String,
    body: String,
}

impl Issuer {
    /// An issuer with these keys.
    pub async fn start(keys: &[&IssuerKey]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let site = Arc::<Site>::default();
        let issuer = Self {
            url: format!("http://{address}"),
            address,
            running: Some(tokio::spawn(serve(listener, Arc::clone(&site)))),
            site,
        };
        let jwks_uri = format!("{}{JWKS}", issuer.url);
        let discovery = json!({"issuer": issuer.url, "jwks_uri": jwks_uri});
        issuer.answer(DISCOVERY, "200 OK", "", &discovery.to_string());
        issuer.publish(keys, "max-age=3600");
        issuer
    }

    /// Replaces the keys, and the `Cache-Control` that comes with them.
    pub fn publish(&self, keys: &[&IssuerKey], cache_control: &str) {
        let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
        self.publish_jwks(&json!({ "keys": keys }), cache_control);
    }

    /// Replaces the whole key set.
    pub fn publish_jwks(&self, jwks: &Value, cache_control: &str) {
        let header = format!("Cache-Control: {cache_control}");
        self.answer(JWKS, "200 OK", &header, &jwks.to_string());
    }

    /// Answers a path with a status, a header or none, and a body.
    pub fn answer(&self, path: &str, status: &'static str, header: &str, body: &str) {
        let page = Page {
            status,
            header: header.to_owned(),
            body: body.to_owned(),
        };
        let mut pages = self.site.pages.lock().unwrap();
        pages.insert(path.to_owned(), page);
    }

    /// How often a path was asked for.
    pub fn fetches(&self, path: &str) -> usize {
        let fetches = self.site.fetches.lock().unwrap();
        fetches.get(path).copied().unwrap_or_default()
    }

    /// Leaves requests without an answer for as long as the guard lives.
    pub async fn hold(&self) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.site.gate).write_owned().await
    }

    /// Refuses connections.
    pub async fn go_away(&mut self) {
        let running = self.running.take().unwrap();
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
    }

    /// Takes connections again.
    pub async fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.running = Some(tokio::spawn(serve(listener, Arc::clone(&self.site))));
    }

    /// The setting of a server that calls it `acme`, is its clients `ours` and
    /// `also-ours`, and relies on it for addresses of example.com.
    pub fn setting(&self) -> String {
        let url = &self.url;
        format!("name=acme,issuer={url},client_id=ours,client_id=also-ours,domains=example.com")
    }

    /// The claims of a token about a person without an address.
    pub fn claims(&self, subject: &str) -> Value {
        self.claims_at(subject, now())
    }

    /// The same, made at some time.
    pub fn claims_at(&self, subject: &str, time: Time) -> Value {
        let time = time.timestamp();
        json!({"iss": self.url, "sub": subject, "aud": "ours", "iat": time, "exp": time + 300})
    }

    /// The claims of a token about a person with a verified address.
    pub fn claims_of(&self, subject: &str, email: &str) -> Value {
        let mut claims = self.claims(subject);
        claims["email"] = json!(email);
        claims["email_verified"] = json!(true);
        claims
    }
}

async fn serve(listener: TcpListener, site: Arc<Site>) {
    // Aborted with this task, and with it their sockets closed.
    let mut connections = JoinSet::new();
    loop {
        let (connection, _) = listener.accept().await.unwrap();
        connections.spawn(answer(connection, Arc::clone(&site)));
    }
}

/// Answers the one request of a connection.
async fn answer(mut connection: TcpStream, site: Arc<Site>) {
    let mut lines = BufReader::new(&mut connection).lines();
    let Ok(Some(request)) = lines.next_line().await else {
        return;
    };
    while !lines.next_line().await.unwrap().unwrap().is_empty() {}
    let path = request.split(' ').nth(1).unwrap().to_owned();
    *site
        .fetches
        .lock()
        .unwrap()
        .entry(path.clone())
        .or_default() += 1;
    drop(site.gate.read().await);

    let page = site.pages.lock().unwrap().get(&path).cloned();
    let Page {
        status,
        header,
        body,
    } = page.unwrap_or(Page {
        status: "404 Not Found",
        header: String::new(),
        body: String::new(),
    });
    let header = match header.as_str() {
        "" => header,
        header => format!("{header}\r\n"),
    };
    // Without a length: the body ends with the connection.
    let answer = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{header}\r\n{body}");
    // The client may have seen enough.
    let _ = connection.write_all(answer.as_bytes()).await;
    let _ = connection.shutdown().await;
}

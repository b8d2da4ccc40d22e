use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use sluice::domain::{Time, now};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpListener,
    sync::{OwnedRwLockWriteGuard, RwLock},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring::default_provider,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use super::{Certificate, IssuerKey, eventually};

/// The path of an issuer's discovery document.
pub const DISCOVERY: &str = "/.well-known/openid-configuration";

/// The path of an issuer's key set.
pub const JWKS: &str = "/keys";

/// An OpenID Connect issuer over HTTP or HTTPS, on a free port.
pub struct Issuer {
    pub url: String,
    address: SocketAddr,
    state: Arc<State>,
    tls: Option<TlsAcceptor>,
    task: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    responses: Mutex<HashMap<String, CannedResponse>>,
    request_counts: Mutex<HashMap<String, usize>>,
    /// Responses wait for a read lock.
    response_lock: Arc<RwLock<()>>,
}

/// The response to requests for a path.
#[derive(Clone)]
struct CannedResponse {
    status: &'static str,
    header: String,
    body: String,
}

impl Issuer {
    /// Starts an issuer with these keys.
    pub async fn start(keys: &[&IssuerKey]) -> Self {
        Self::start_over(None, keys).await
    }

    /// Starts an issuer over TLS, at `localhost`.
    pub async fn start_with_tls(certificate: &Certificate, keys: &[&IssuerKey]) -> Self {
        let chain = vec![CertificateDer::from_pem_file(&certificate.file).unwrap()];
        let key = PrivateKeyDer::from_pem_file(&certificate.key).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        Self::start_over(Some(Arc::new(config).into()), keys).await
    }

    async fn start_over(tls: Option<TlsAcceptor>, keys: &[&IssuerKey]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = match tls {
            Some(_) => format!("https://localhost:{}", address.port()),
            None => format!("http://{address}"),
        };
        let state = Arc::<State>::default();
        let serving = serve(listener, tls.clone(), Arc::clone(&state));
        let issuer = Self {
            url,
            address,
            tls,
            task: Some(tokio::spawn(serving)),
            state,
        };
        let jwks_uri = format!("{}{JWKS}", issuer.url);
        let discovery = json!({"issuer": issuer.url, "jwks_uri": jwks_uri});
        issuer.set_response(DISCOVERY, "200 OK", "", &discovery.to_string());
        issuer.publish(keys, "max-age=3600");
        issuer
    }

    /// Replaces the keys and their `Cache-Control` header.
    pub fn publish(&self, keys: &[&IssuerKey], cache_control: &str) {
        let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
        self.publish_jwks(&json!({ "keys": keys }), cache_control);
    }

    /// Replaces the whole key set.
    pub fn publish_jwks(&self, jwks: &Value, cache_control: &str) {
        let header = format!("Cache-Control: {cache_control}");
        self.set_response(JWKS, "200 OK", &header, &jwks.to_string());
    }

    /// Sets the response of a path; without a header if `header` is empty.
    pub fn set_response(&self, path: &str, status: &'static str, header: &str, body: &str) {
        let response = CannedResponse {
            status,
            header: header.to_owned(),
            body: body.to_owned(),
        };
        let mut responses = self.state.responses.lock().unwrap();
        responses.insert(path.to_owned(), response);
    }

    /// The number of requests for a path.
    pub fn request_count(&self, path: &str) -> usize {
        let counts = self.state.request_counts.lock().unwrap();
        counts.get(path).copied().unwrap_or_default()
    }

    /// Blocks all responses until the guard is dropped.
    pub async fn block_responses(&self) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.state.response_lock).write_owned().await
    }

    /// Stops the issuer: connections are refused.
    pub async fn stop(&mut self) {
        let task = self.task.take().unwrap();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }

    /// Accepts connections again.
    pub async fn restart(&mut self) {
        // A connection of another test may have the port for a moment.
        let listener = eventually("the port is free", async || {
            TcpListener::bind(self.address).await.ok()
        })
        .await;
        let serving = serve(listener, self.tls.clone(), Arc::clone(&self.state));
        self.task = Some(tokio::spawn(serving));
    }

    /// The provider setting: name `acme`, client ids `ours` and `also-ours`, authoritative
    /// for e-mail addresses of example.com.
    pub fn setting(&self) -> String {
        let url = &self.url;
        format!("name=acme,issuer={url},client_id=ours,client_id=also-ours,domains=example.com")
    }

    /// The claims of a token without an e-mail address, issued now.
    pub fn claims(&self, subject: &str) -> Value {
        self.claims_at(subject, now())
    }

    /// The claims of a token without an e-mail address, issued at `time`.
    pub fn claims_at(&self, subject: &str, time: Time) -> Value {
        let time = time.timestamp();
        json!({"iss": self.url, "sub": subject, "aud": "ours", "iat": time, "exp": time + 300})
    }

    /// The claims of a token with a verified e-mail address.
    pub fn claims_with_email(&self, subject: &str, email: &str) -> Value {
        let mut claims = self.claims(subject);
        claims["email"] = json!(email);
        claims["email_verified"] = json!(true);
        claims
    }
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<State>) {
    // Aborting this task drops the set, which aborts the connection tasks.
    let mut connections = JoinSet::new();
    loop {
        let (connection, _) = listener.accept().await.unwrap();
        let (tls, state) = (tls.clone(), Arc::clone(&state));
        connections.spawn(async move {
            match tls {
                None => respond(connection, state).await,
                // A client that does not trust the certificate ends the handshake.
                Some(tls) => {
                    if let Ok(connection) = tls.accept(connection).await {
                        respond(connection, state).await;
                    }
                }
            }
        });
    }
}

/// Responds to the only request of a connection.
async fn respond(mut connection: impl AsyncRead + AsyncWrite + Unpin, state: Arc<State>) {
    let mut lines = BufReader::new(&mut connection).lines();
    let Ok(Some(request)) = lines.next_line().await else {
        return;
    };
    while !lines.next_line().await.unwrap().unwrap().is_empty() {}
    let path = request.split(' ').nth(1).unwrap().to_owned();
    *state
        .request_counts
        .lock()
        .unwrap()
        .entry(path.clone())
        .or_default() += 1;
    drop(state.response_lock.read().await);

    let response = state.responses.lock().unwrap().get(&path).cloned();
    let CannedResponse {
        status,
        header,
        body,
    } = response.unwrap_or(CannedResponse {
        status: "404 Not Found",
        header: String::new(),
        body: String::new(),
    });
    let header = match header.as_str() {
        "" => header,
        header => format!("{header}\r\n"),
    };
    // Without `Content-Length`, the body ends with the connection.
    let response = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{header}\r\n{body}");
    // The client may have closed the connection already.
    let _ = connection.write_all(response.as_bytes()).await;
    let _ = connection.shutdown().await;
}

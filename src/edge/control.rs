use std::time::Duration;

use http::Uri;
use tokio::time::{Instant, timeout_at};
use tonic::{
    Code, Request, Response, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use super::{
    credentials::{ApiKey, Credentials},
    grievance::Grievance,
};
use crate::proto::v1::stream_service_client::StreamServiceClient;

/// How long a call may take. A hook waits for it, and media servers wait for hooks for
/// 10 seconds and more.
pub(super) const CALL: Duration = Duration::from_secs(5);

/// How long a connection may take to stand.
const CONNECT: Duration = Duration::from_secs(3);

/// How often a silent connection is asked whether it is there, and how long that may take.
const PING: Duration = Duration::from_secs(5);

/// Where the control plane is, and how it is called.
#[derive(Debug, Clone)]
pub struct Terms {
    /// `http://` or `https://`, host and port.
    pub address: Uri,
    /// The certificates (PEM) that are trusted instead of the usual authorities.
    pub ca: Option<Vec<u8>>,
    /// The key that is exchanged for access tokens.
    pub api_key: ApiKey,
}

/// The control plane, as a client sees it. Cheap to clone: all share one connection.
#[derive(Debug, Clone)]
pub struct ControlPlane {
    channel: Channel,
    credentials: Credentials,
    grievance: Grievance,
}

impl ControlPlane {
    /// Nothing is connected until the first call.
    pub fn new(terms: Terms) -> anyhow::Result<Self> {
        let mut endpoint = Endpoint::from(terms.address.clone())
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .keep_alive_while_idle(false)
            .tcp_nodelay(true);
        if terms.address.scheme_str() == Some("https") {
            endpoint = endpoint.tls_config(tls(terms.ca.as_ref()))?;
        }
        Ok(Self {
            channel: endpoint.connect_lazy(),
            credentials: Credentials::new(terms.api_key),
            grievance: Grievance::default(),
        })
    }

    /// Calls StreamService with a valid token, and once more with a new one if that is
    /// refused: `call` is given a client and a request with the token and the time limit,
    /// within which all of it ends. That an operator has to put something right is
    /// logged, once a minute.
    pub async fn call<Q, A, F>(
        &self,
        limit: Option<Duration>,
        message: Q,
        call: impl Fn(StreamServiceClient<Channel>, Request<Q>) -> F,
    ) -> Result<A, Status>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let deadline = limit.map(|limit| Instant::now() + limit);
        let calling = self.call_until(deadline, message, call);
        let answer = match deadline {
            Some(deadline) => match timeout_at(deadline, calling).await {
                Ok(answer) => answer,
                Err(_) => Err(Status::deadline_exceeded("no answer in time")),
            },
            None => calling.await,
        };
        answer.inspect_err(|status| self.grievance.heed(status))
    }

    async fn call_until<Q, A, F>(
        &self,
        deadline: Option<Instant>,
        message: Q,
        call: impl Fn(StreamServiceClient<Channel>, Request<Q>) -> F,
    ) -> Result<A, Status>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let mut is_second = false;
        loop {
            let bearer = self.credentials.bearer(&self.channel).await?;
            let mut request = match deadline {
                Some(deadline) => within(deadline - Instant::now(), message.clone()),
                None => Request::new(message.clone()),
            };
            request
                .metadata_mut()
                .insert("authorization", bearer.clone());

            let client = StreamServiceClient::new(self.channel.clone());
            match call(client, request).await {
                Err(status) if status.code() == Code::Unauthenticated && !is_second => {
                    self.credentials.refused(&bearer).await;
                    is_second = true;
                }
                answer => return answer.map(Response::into_inner),
            }
        }
    }
}

/// A request that must be answered in time.
pub(super) fn within<Q>(limit: Duration, message: Q) -> Request<Q> {
    let mut request = Request::new(message);
    request.set_timeout(limit);
    request
}

fn tls(ca: Option<&Vec<u8>>) -> ClientTlsConfig {
    let tls = ClientTlsConfig::new();
    match ca {
        Some(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
        None => tls.with_webpki_roots(),
    }
}

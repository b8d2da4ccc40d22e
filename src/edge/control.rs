use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::Uri;
use tokio::time::{Instant, timeout_at};
use tonic::{
    Code, Request, Response, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};
use tonic_types::StatusExt;

use super::credentials::{ApiKey, Credentials, within};
use crate::proto::v1::stream_service_client::StreamServiceClient;

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

fn tls(ca: Option<&Vec<u8>>) -> ClientTlsConfig {
    let tls = ClientTlsConfig::new();
    match ca {
        Some(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
        None => tls.with_webpki_roots(),
    }
}

/// How often it is said.
const EVERY: Duration = Duration::from_mins(1);

/// What an operator has to put right, said once a minute however many calls meet it.
#[derive(Debug, Clone, Default)]
pub(super) struct Grievance {
    said: Arc<Mutex<Option<Instant>>>,
}

impl Grievance {
    /// Says it, if an error is of that kind.
    pub(super) fn heed(&self, status: &Status) {
        let Some(reason) = locked_out(status) else {
            return;
        };
        if self.is_due(Instant::now()) {
            tracing::error!(
                reason,
                "the control plane does not let this edge in: see its API key (SLUICE_API_KEY)"
            );
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = said.is_none_or(|said| now.duration_since(said) >= EVERY);
        if is_due {
            *said = Some(now);
        }
        is_due
    }
}

/// The reason, if it is the key or what it is good for.
fn locked_out(status: &Status) -> Option<String> {
    let reason = status.get_details_error_info().map(|info| info.reason);
    match status.code() {
        Code::Unauthenticated => Some(reason.unwrap_or_default()),
        Code::PermissionDenied => reason.filter(|reason| reason == "SCOPE_MISSING"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn it_is_said_once_a_minute() {
        let grievance = Grievance::default();
        let now = Instant::now();
        assert!(grievance.is_due(now));
        assert!(!grievance.clone().is_due(now + Duration::from_secs(59)));
        assert!(grievance.is_due(now + EVERY));
    }

    #[test]
    fn only_the_key_and_its_scopes_are_an_operators_matter() {
        let with = |code, reason| {
            let details = ErrorDetails::with_error_info(reason, "sluice", []);
            locked_out(&Status::with_error_details(code, "no", details))
        };
        let missing = Some("SCOPE_MISSING".to_owned());
        assert_eq!(with(Code::PermissionDenied, "SCOPE_MISSING"), missing);
        assert_eq!(with(Code::PermissionDenied, "STREAM_KEY_INVALID"), None);
        assert!(with(Code::Unauthenticated, "API_KEY_INVALID").is_some());
        assert_eq!(with(Code::Unavailable, "STARTING"), None);
    }
}

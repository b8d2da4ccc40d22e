use std::{
    error::Error as StdError,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, Client},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::{
    sync::{Semaphore, TryAcquireError},
    time::timeout,
};
use tokio_rustls::rustls;

use super::connector::EndpointConnector;
use crate::{
    auth::WebhookSecret,
    domain::{UrlPolicy, WebhookAttempt, WebhookMessage, WebhookTarget, now},
    error::{Error, Result},
    outbound::OutboundError,
    root_certificates::{platform_roots, trusting},
    telemetry::metrics::WEBHOOKS,
};

const USER_AGENT: &str = concat!("sluice/", env!("CARGO_PKG_VERSION"));

/// The most bytes of a response that are read, so that its connection can be used again.
const MAX_RESPONSE_BYTES: usize = 16 * 1024;

/// The longest head of a response, in bytes.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// How long the rest of a response is waited for.
const BODY_TIMEOUT: Duration = Duration::from_secs(1);

/// The time after which an unused connection is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// The most requests that callers wait for.
const MAX_CALLERS: usize = 16;

/// When a caller may try again to send while too many others do.
const CALLER_RETRY_DELAY: Duration = Duration::from_secs(1);

/// The longest waiting time that an endpoint can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

type EndpointClient = Client<HttpsConnector<EndpointConnector>, Full<Bytes>>;

/// Sends messages to endpoints. A clone shares the connections.
///
/// The certificate of an endpoint is verified with the authorities of the platform. Redirects are
/// not followed: they are failures.
#[derive(Debug, Clone)]
pub struct WebhookSender {
    connector: EndpointConnector,
    client: Arc<OnceLock<EndpointClient>>,
    timeout: Duration,
    callers: Arc<Semaphore>,
}

/// Why a message was not taken: a class for metrics, and its text.
#[derive(Debug)]
struct Failure {
    class: &'static str,
    text: String,
}

impl Failure {
    fn new(class: &'static str, text: impl Into<String>) -> Self {
        Self {
            class,
            text: text.into(),
        }
    }
}

impl WebhookSender {
    /// A sender to hosts that the policy allows. An attempt ends after the timeout.
    pub fn new(policy: UrlPolicy, timeout: Duration) -> Self {
        Self {
            connector: EndpointConnector::new(policy),
            client: Arc::default(),
            timeout,
            callers: Arc::new(Semaphore::new(MAX_CALLERS)),
        }
    }

    /// Sends a message while a caller waits, for `limit` at the longest. `Overloaded` if too many
    /// callers do.
    pub async fn send_for_caller(
        &self,
        target: &WebhookTarget,
        secrets: &[WebhookSecret],
        message: &WebhookMessage,
        limit: Duration,
    ) -> Result<WebhookAttempt> {
        let permit = self.callers.try_acquire();
        let _permit = permit.map_err(|_: TryAcquireError| Error::Overloaded(CALLER_RETRY_DELAY))?;
        let limit = limit.min(self.timeout);
        self.send_within(target, secrets, message, limit).await
    }

    /// Sends a message once. Fails only if it cannot be signed.
    pub async fn send(
        &self,
        target: &WebhookTarget,
        secrets: &[WebhookSecret],
        message: &WebhookMessage,
    ) -> Result<WebhookAttempt> {
        let limit = self.timeout;
        self.send_within(target, secrets, message, limit).await
    }

    async fn send_within(
        &self,
        target: &WebhookTarget,
        secrets: &[WebhookSecret],
        message: &WebhookMessage,
        limit: Duration,
    ) -> Result<WebhookAttempt> {
        let request = signed(target, secrets, message)?;
        let started_at = Instant::now();
        let response = timeout(limit, self.exchange(request)).await;
        let response = response.unwrap_or_else(|_| {
            Err(Failure::new(
                "timeout",
                "TIMEOUT: the endpoint did not answer in time",
            ))
        });
        let latency = started_at.elapsed();
        let (status, retry_after, failure) = match response {
            Ok((status, headers)) => (Some(status), retry_after(&headers), failure(status)),
            Err(failure) => (None, None, Some(failure)),
        };
        let outcome = failure
            .as_ref()
            .map_or("delivered", |failure| failure.class);
        WEBHOOKS.attempt(outcome, latency);
        Ok(WebhookAttempt {
            status_code: status.map(|status| status.as_u16()),
            error: failure.map(|failure| failure.text),
            latency,
            retry_after,
        })
    }

    /// The status and the headers of the response. The body is read so far that the connection can
    /// be used again.
    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, HeaderMap), Failure> {
        let client = self.client(request.uri().scheme_str() == Some("https"))?;
        let response = client.request(request).await;
        let response = response.map_err(|error| request_failure(&error))?;
        let (head, body) = response.into_parts();
        // Its content does not matter, nor does its end.
        let body = Limited::new(body, MAX_RESPONSE_BYTES).collect();
        drop(timeout(BODY_TIMEOUT, body).await);
        Ok((head.status, head.headers))
    }

    /// The client, made when it is first needed: without certificate authorities it is made for
    /// each request over plain HTTP.
    fn client(&self, is_https: bool) -> Result<EndpointClient, Failure> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        let roots = match platform_roots() {
            Ok(roots) => roots,
            Err(error) if is_https => {
                tracing::error!(error = format!("{error:#}"), "cannot send to webhooks");
                let text = "TLS_FAILED: the server has no certificate authorities";
                return Err(Failure::new("tls", text));
            }
            Err(_) => return Ok(self.new_client(rustls::RootCertStore::empty().into())),
        };
        Ok(self.client.get_or_init(|| self.new_client(roots)).clone())
    }

    fn new_client(&self, roots: Arc<rustls::RootCertStore>) -> EndpointClient {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(trusting(roots))
            .https_or_http()
            .enable_http1()
            .wrap_connector(self.connector.clone());
        Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(1)
            .http1_max_buf_size(MAX_HEAD_BYTES)
            .build(connector)
    }
}

/// The request of a message, signed with each secret (Standard Webhooks).
fn signed(
    target: &WebhookTarget,
    secrets: &[WebhookSecret],
    message: &WebhookMessage,
) -> Result<Request<Full<Bytes>>> {
    let WebhookMessage { id, body, .. } = message;
    let timestamp = now().timestamp();
    let content = format!("{id}.{timestamp}.{body}");
    let signatures = secrets.iter().map(|secret| {
        let signature = secret.sign(content.as_bytes())?;
        Ok(format!("v1,{signature}"))
    });
    let signatures = signatures.collect::<Result<Vec<_>>>()?;
    Request::post(&target.url)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, USER_AGENT)
        .header("webhook-id", id)
        .header("webhook-timestamp", timestamp)
        .header("webhook-signature", signatures.join(" "))
        .body(Full::from(body.clone()))
        .map_err(Error::internal)
}

/// Why a response with this status is a failure; `None` if it is not.
fn failure(status: StatusCode) -> Option<Failure> {
    let code = status.as_u16();
    match code {
        200..300 => None,
        300..400 => {
            let text =
                format!("REDIRECT: the endpoint answered {code}; redirects are not followed");
            Some(Failure::new("redirect", text))
        }
        _ => Some(Failure::new(
            "status",
            format!("HTTP_STATUS: the endpoint answered {code}"),
        )),
    }
}

/// How long the endpoint asks to wait, in seconds (RFC 9110 section 10.2.3). Dates are ignored.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    let seconds = value.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

/// Why there was no response. The text does not come from the endpoint.
fn request_failure(error: &legacy::Error) -> Failure {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(found) = known_failure(cause) {
            return found;
        }
        next = cause.source();
    }
    match error.is_connect() {
        true => Failure::new("tls", "TLS_FAILED: the TLS handshake failed"),
        false => Failure::new(
            "lost",
            "CONNECTION_LOST: the endpoint closed the connection, or its answer is no HTTP",
        ),
    }
}

/// What one cause of an error says.
fn known_failure(cause: &(dyn StdError + 'static)) -> Option<Failure> {
    if let Some(outbound) = cause.downcast_ref::<OutboundError>() {
        return Some(outbound_failure(outbound));
    }
    let io = cause.downcast_ref::<std::io::Error>()?;
    let tls = io.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(tls_failure(tls))
}

fn outbound_failure(error: &OutboundError) -> Failure {
    let (class, code) = match error {
        OutboundError::Forbidden(_) => ("forbidden", "ADDRESS_FORBIDDEN"),
        OutboundError::HostNotFound => ("unreachable", "HOST_NOT_FOUND"),
        OutboundError::ConnectTimeout => ("timeout", "TIMEOUT"),
        OutboundError::ConnectionRefused => ("unreachable", "CONNECTION_REFUSED"),
        OutboundError::Unreachable => ("unreachable", "HOST_UNREACHABLE"),
    };
    Failure::new(class, format!("{code}: {error}"))
}

fn tls_failure(error: &rustls::Error) -> Failure {
    let why = match error {
        rustls::Error::InvalidCertificate(_) => "the certificate of the endpoint is not valid",
        _ => "the TLS handshake failed",
    };
    Failure::new("tls", format!("TLS_FAILED: {why}"))
}

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use http::Uri;
use parking_lot::Mutex;
use prost::Name;
use tokio::time::{Instant, timeout_at};
use tonic::{
    Code, Request, Response, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

use super::{
    credentials::{ApiKey, Credentials},
    error_class::ErrorClass,
};
use crate::{
    proto::v1::stream_service_client::StreamServiceClient,
    root_certificates::grpc_client_tls,
    telemetry::{Throttle, metrics::EDGE},
};

/// The usual timeout of a call. Hooks wait for calls, and media servers wait for hooks for
/// 10 seconds and more.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(5);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The HTTP/2 keepalive: the interval of pings, and the longest time until their answer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// The shortest time between two log lines about a refused API key.
const AUTH_ALERT_INTERVAL: Duration = Duration::from_mins(1);

/// A client of the control plane. Cheap to clone: clones share one connection.
#[derive(Debug, Clone)]
pub struct ControlPlane {
    channel: Channel,
    credentials: Credentials,
    auth_alert: Arc<Mutex<Throttle>>,
}

impl ControlPlane {
    /// A client that connects to this `http://` or `https://` address at its first call.
    /// `ca` are certificates (PEM) that are trusted instead of the authorities of the platform.
    pub fn new(address: Uri, ca: Option<&[u8]>, api_key: ApiKey) -> anyhow::Result<Self> {
        let is_https = address.scheme_str() == Some("https");
        let mut endpoint = Endpoint::from(address)
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_INTERVAL)
            .keep_alive_while_idle(false)
            .tcp_nodelay(true);
        if is_https {
            let tls = grpc_client_tls(ca).context("SLUICE_CONTROL_PLANE")?;
            endpoint = endpoint.tls_config(tls)?;
        }
        Ok(Self {
            channel: endpoint.connect_lazy(),
            credentials: Credentials::new(api_key),
            auth_alert: Arc::new(Mutex::new(Throttle::new(AUTH_ALERT_INTERVAL))),
        })
    }

    /// Exchanges the API key. Returns the scopes of its access token.
    pub(super) async fn exchange_api_key(&self) -> Result<Vec<String>, Status> {
        self.credentials.exchange_scopes(&self.channel).await
    }

    /// Calls StreamService with a valid token, and once more with a new token if that one
    /// is refused. `call` gets a client and a request with the token and its timeout; the
    /// timeout covers both tries. A refused API key is logged once a minute.
    pub async fn call<Q, A, F>(
        &self,
        timeout: Option<Duration>,
        message: Q,
        call: F,
    ) -> Result<A, Status>
    where
        Q: Clone + Name,
        F: AsyncFn(&mut StreamServiceClient<Channel>, Request<Q>) -> Result<Response<A>, Status>,
    {
        let called_at = Instant::now();
        let deadline = timeout.map(|timeout| called_at + timeout);
        let calling = async {
            let mut is_second = false;
            loop {
                let bearer = self.credentials.bearer(&self.channel).await?;
                let mut request = Request::new(message.clone());
                if let Some(deadline) = deadline {
                    request.set_timeout(deadline - Instant::now());
                }
                let metadata = request.metadata_mut();
                metadata.insert("authorization", bearer.clone());

                let mut client = StreamServiceClient::new(self.channel.clone());
                match call(&mut client, request).await {
                    Err(status) if status.code() == Code::Unauthenticated && !is_second => {
                        self.credentials.discard(&bearer).await;
                        is_second = true;
                    }
                    answer => return answer.map(Response::into_inner),
                }
            }
        };
        let answer = match deadline {
            Some(deadline) => timeout_at(deadline, calling)
                .await
                .unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time"))),
            None => calling.await,
        };
        let code = answer.as_ref().map_or_else(Status::code, |_| Code::Ok);
        EDGE.call(method_name::<Q>(), code, called_at.elapsed());
        answer.inspect_err(|status| self.alert_if_access_denied(status))
    }

    /// Logs an error that only an operator can fix.
    fn alert_if_access_denied(&self, status: &Status) {
        if let Some(reason) = access_denied_reason(status)
            && let Some(count) = self.auth_alert.lock().record()
        {
            tracing::error!(
                reason,
                count,
                "the control plane refuses this edge's API key (SLUICE_API_KEY)"
            );
        }
    }
}

/// The name of the RPC with this request.
fn method_name<Q: Name>() -> &'static str {
    Q::NAME.strip_suffix("Request").unwrap_or(Q::NAME)
}

/// The reason of an error that concerns the API key or its scopes.
fn access_denied_reason(status: &Status) -> Option<String> {
    let is_denied = ErrorClass::of(status) == ErrorClass::AccessDenied;
    let reason = || Some(status.get_details_error_info()?.reason);
    is_denied.then(|| reason().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;
    use crate::domain::Secret;

    #[tokio::test]
    async fn a_refused_key_is_logged_once_a_minute_by_all_clones() {
        let address = Uri::from_static("http://127.0.0.1:1");
        let api_key = ApiKey::Text(Secret::new("sluice_key"));
        let control = ControlPlane::new(address, None, api_key).unwrap();
        let refused = Status::unauthenticated("no");
        control.clone().alert_if_access_denied(&refused);
        assert_eq!(control.auth_alert.lock().record(), None);
        assert_eq!(AUTH_ALERT_INTERVAL, Duration::from_mins(1));
    }

    #[test]
    fn only_errors_of_the_key_and_its_scopes_are_access_denied() {
        let with = |code, reason| {
            let details = ErrorDetails::with_error_info(reason, "sluice", []);
            access_denied_reason(&Status::with_error_details(code, "no", details))
        };
        let missing = Some("SCOPE_MISSING".to_owned());
        assert_eq!(with(Code::PermissionDenied, "SCOPE_MISSING"), missing);
        assert_eq!(with(Code::PermissionDenied, "STREAM_KEY_INVALID"), None);
        assert!(with(Code::Unauthenticated, "API_KEY_INVALID").is_some());
        assert_eq!(with(Code::Unavailable, "STARTING"), None);
    }
}

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::Service;

use crate::{
    domain::UrlPolicy,
    outbound::{Addresses, OutboundError, Site},
};

/// Connects to the hosts of endpoints, and to no address that the policy forbids.
#[derive(Debug, Clone)]
pub(super) struct EndpointConnector {
    policy: Arc<UrlPolicy>,
}

impl EndpointConnector {
    pub fn new(policy: UrlPolicy) -> Self {
        Self {
            policy: Arc::new(policy),
        }
    }
}

impl Service<Uri> for EndpointConnector {
    type Response = TokioIo<TcpStream>;
    type Error = OutboundError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, OutboundError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OutboundError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let policy = Arc::clone(&self.policy);
        Box::pin(async move {
            let host = uri.host().ok_or(OutboundError::HostNotFound)?;
            let bare = host
                .strip_prefix('[')
                .and_then(|host| host.strip_suffix(']'));
            let usual = match uri.scheme_str() {
                Some("http") => 80,
                _ => 443,
            };
            let site = Site {
                host: bare.unwrap_or(host).to_owned(),
                port: uri.port_u16().unwrap_or(usual),
            };
            let addresses = Addresses::find(&site, Some(&policy)).await?;
            let connection = addresses.connect().await?;
            connection
                .set_nodelay(true)
                .map_err(|_| OutboundError::Unreachable)?;
            Ok(TokioIo::new(connection))
        })
    }
}

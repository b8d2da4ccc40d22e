use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, bail};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// The longest response, in bytes: about ten thousand connections.
const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

/// The time after which an idle connection is closed: media servers close theirs soon.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// An HTTP client of a media server's API, which follows no redirects. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct HttpApi {
    client: Client<HttpConnector, Empty<Bytes>>,
    base: String,
}

impl HttpApi {
    /// A client that connects at its first request. `base` has a scheme, an authority and
    /// the prefix of all paths.
    pub(super) fn new(base: &Uri) -> Self {
        Self::at(base.to_string())
    }

    /// A client of a process on this address.
    pub(crate) fn of_address(address: SocketAddr) -> Self {
        Self::at(format!("http://{address}"))
    }

    fn at(base: String) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(REQUEST_TIMEOUT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(2)
            .build(connector);
        let base = base.trim_end_matches('/').to_owned();
        Self { client, base }
    }

    /// A response with status 200; any other status is an error.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Response<Bytes>> {
        let response = self.request(Method::GET, path).await?;
        match response.status() {
            StatusCode::OK => Ok(response),
            status => bail!("the media server answers {}", status.as_u16()),
        }
    }

    /// A response with any status; an error if it is not complete within 3 seconds. Its body
    /// may hold stream keys.
    pub(crate) async fn request(
        &self,
        method: Method,
        path: &str,
    ) -> anyhow::Result<Response<Bytes>> {
        let response = timeout(REQUEST_TIMEOUT, self.send(method, path)).await;
        response.context("the media server does not answer in time")?
    }

    async fn send(&self, method: Method, path: &str) -> anyhow::Result<Response<Bytes>> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .body(Empty::new())
            .context("the path is not valid in a URL")?;
        let response = self.client.request(request).await;
        let response = response.context("the media server is unreachable")?;

        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_BODY_BYTES).collect().await.ok();
        let body = body.context("the response of the media server is incomplete or too long")?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }
}

/// Parses an answer of a media server of this name.
pub(super) fn parse_json<T: DeserializeOwned>(body: &[u8], server: &str) -> anyhow::Result<T> {
    // The parser's error may quote the answer, which holds stream keys.
    let parsed = serde_json::from_slice(body).ok();
    parsed.with_context(|| format!("the answer of {server} has an unexpected format"))
}

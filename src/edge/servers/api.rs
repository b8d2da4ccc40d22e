use std::time::Duration;

use anyhow::{Context, bail};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::timeout;

/// How long an answer may take, to its last byte.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The longest answer, in bytes: some ten thousand connections.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// After how long an idle connection is given up: media servers do so soon.
const IDLE: Duration = Duration::from_secs(10);

/// The media server's HTTP side. Follows no redirects. A clone shares it.
#[derive(Debug, Clone)]
pub(super) struct Api {
    client: Client<HttpConnector, Empty<Bytes>>,
    base: String,
}

/// What it answered.
#[derive(Debug)]
pub(super) struct Answer {
    /// Whether it did what it was asked.
    pub(super) status: StatusCode,
    /// The whole body. Stream keys stand in it.
    pub(super) body: Bytes,
}

impl Api {
    /// Nothing is connected yet. `base` has no more than a scheme, an authority and a
    /// path before those that are asked for.
    pub(super) fn new(base: &Uri) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(TIMEOUT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(2)
            .build(connector);
        let base = base.to_string().trim_end_matches('/').to_owned();
        Self { client, base }
    }

    /// The body of a page that must be there.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Bytes> {
        let answer = self.ask(Method::GET, path).await?;
        if answer.status != StatusCode::OK {
            bail!("the media server answers {}", answer.status.as_u16());
        }
        Ok(answer.body)
    }

    /// Whatever it answers; an error if that does not come within 3 seconds.
    pub(super) async fn ask(&self, method: Method, path: &str) -> anyhow::Result<Answer> {
        let asking = timeout(TIMEOUT, self.send(method, path)).await;
        asking.context("the media server does not answer in time")?
    }

    async fn send(&self, method: Method, path: &str) -> anyhow::Result<Answer> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .body(Empty::new())
            .context("no request can be made of that path")?;
        let answer = self.client.request(request).await;
        let answer = answer.context("the media server cannot be reached")?;

        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
        match body {
            Ok(body) => Ok(Answer {
                status,
                body: body.to_bytes(),
            }),
            Err(_) => bail!("the media server's answer breaks off, or is too long"),
        }
    }
}

use std::time::Duration;

use anyhow::{Context, ensure};
use chrono::TimeDelta;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::time::timeout;
use url::Url;

/// How long a document may take, from looking up the host to its last byte.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The longest document, in bytes.
const MAX_BYTES: usize = 256 * 1024;

/// How long a document is fresh if its headers do not say.
const FRESH_BY_DEFAULT: TimeDelta = TimeDelta::minutes(10);

/// How long it is fresh at least and at most, whatever its headers say.
const FRESH_AT_LEAST: TimeDelta = TimeDelta::minutes(1);
const FRESH_AT_MOST: TimeDelta = TimeDelta::hours(24);

/// Fetches documents of issuers. Follows no redirects. A clone shares it.
#[derive(Debug, Clone)]
pub(super) struct Web {
    client: Client<HttpsConnector<HttpConnector>, String>,
}

/// What was fetched, and how long it is fresh.
#[derive(Debug)]
pub(super) struct Document {
    pub body: Vec<u8>,
    pub fresh: TimeDelta,
}

impl Web {
    /// Trusts the certificate authorities that browsers trust.
    pub fn new() -> Self {
        let connector = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new())
            // Fetches are minutes apart.
            .pool_max_idle_per_host(0)
            .build(connector);
        Self { client }
    }

    /// Fetches a document.
    pub async fn get(&self, url: &Url) -> anyhow::Result<Document> {
        let fetched = timeout(TIMEOUT, self.fetch(url)).await;
        fetched
            .context("it takes too long")
            .flatten()
            .with_context(|| format!("cannot fetch {url}"))
    }

    async fn fetch(&self, url: &Url) -> anyhow::Result<Document> {
        let request = Request::get(url.as_str())
            .header(header::ACCEPT, "application/json")
            .header(
                header::USER_AGENT,
                concat!("sluice/", env!("CARGO_PKG_VERSION")),
            )
            .body(String::new())?;
        let answer = self.client.request(request).await?;
        ensure!(
            answer.status() == StatusCode::OK,
            "the answer is {}",
            answer.status()
        );

        let fresh = freshness(answer.headers());
        let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
        let body = body.map_err(|cause| anyhow::anyhow!(cause))?;
        Ok(Document {
            body: body.to_bytes().to_vec(),
            fresh,
        })
    }
}

/// How long a document with these headers is fresh (RFC 9111 section 4.2).
fn freshness(headers: &HeaderMap) -> TimeDelta {
    let directives = headers
        .get_all(header::CACHE_CONTROL)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|directive| directive.trim().to_ascii_lowercase());
    let mut max_age = None;
    for directive in directives {
        match directive.split_once('=') {
            Some(("max-age", seconds)) => max_age = max_age.or(seconds_of(seconds)),
            None if ["no-store", "no-cache"].contains(&&*directive) => return FRESH_AT_LEAST,
            _ => {}
        }
    }

    let age = headers.get(header::AGE).and_then(|age| age.to_str().ok());
    let age = age.and_then(seconds_of).unwrap_or_default();
    max_age.map_or(FRESH_BY_DEFAULT, |max_age| {
        (max_age - age).clamp(FRESH_AT_LEAST, FRESH_AT_MOST)
    })
}

fn seconds_of(text: &str) -> Option<TimeDelta> {
    let seconds = text.trim_matches('"').parse::<u32>().ok()?;
    Some(TimeDelta::seconds(seconds.into()))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, header};

    use super::freshness;

    #[test]
    fn a_document_is_fresh_as_its_headers_say_within_bounds() {
        for (cache_control, age, seconds) in [
            ("", "", 600),
            ("public", "", 600),
            ("max-age=120", "", 120),
            ("public, Max-Age=\"3600\", must-revalidate", "", 3600),
            ("max-age=3600", "600", 3000),
            ("max-age=3600", "9999999", 60),
            ("max-age=0", "", 60),
            ("max-age=99999999", "", 86400),
            ("max-age=soon", "", 600),
            ("s-maxage=120", "", 600),
            ("no-store", "", 60),
            ("max-age=3600, no-cache", "", 60),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CACHE_CONTROL, cache_control.parse().unwrap());
            headers.insert(header::AGE, age.parse().unwrap());
            let fresh = freshness(&headers).num_seconds();
            assert_eq!(fresh, seconds, "{cache_control} {age}");
        }
    }
}

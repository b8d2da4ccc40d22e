use std::time::Duration;

use anyhow::{Context, ensure};
use chrono::TimeDelta;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::time::timeout;
use tokio_rustls::rustls::RootCertStore;
use url::Url;

use crate::root_certificates::{platform_roots, trusting};

const USER_AGENT: &str = concat!("sluice/", env!("CARGO_PKG_VERSION"));

/// The time for one document, from the DNS lookup to the last byte.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest document, in bytes.
const MAX_DOCUMENT_BYTES: usize = 256 * 1024;

/// The freshness lifetime of a document whose headers have none.
const DEFAULT_FRESHNESS: TimeDelta = TimeDelta::minutes(10);

/// The bounds of the freshness lifetime, whatever the headers say.
const MIN_FRESHNESS: TimeDelta = TimeDelta::minutes(1);
const MAX_FRESHNESS: TimeDelta = TimeDelta::hours(24);

/// A fetched document with its freshness lifetime.
#[derive(Debug)]
pub(super) struct Document {
    pub body: Vec<u8>,
    pub freshness: TimeDelta,
}

/// Fetches a document of an issuer, over a new connection: fetches are minutes apart. Follows
/// no redirects.
pub(super) async fn get(url: &Url) -> anyhow::Result<Document> {
    let fetched = timeout(FETCH_TIMEOUT, fetch(url)).await;
    fetched
        .context("timed out")
        .flatten()
        .with_context(|| format!("cannot fetch {url}"))
}

async fn fetch(url: &Url) -> anyhow::Result<Document> {
    let roots = match url.scheme() {
        "https" => platform_roots()?,
        _ => RootCertStore::empty().into(),
    };
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(trusting(roots))
        .https_or_http()
        .enable_http1()
        .build();
    let request = Request::get(url.as_str())
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, USER_AGENT)
        .body(String::new())?;
    let client = Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build(connector);
    let response = client.request(request).await?;
    let status = response.status();
    ensure!(status == StatusCode::OK, "the response is {status}");

    let freshness = freshness(response.headers());
    let body = Limited::new(response.into_body(), MAX_DOCUMENT_BYTES).collect();
    let body = body.await.map_err(|cause| anyhow::anyhow!(cause))?;
    Ok(Document {
        body: body.to_bytes().to_vec(),
        freshness,
    })
}

/// The freshness lifetime of a response with these headers (RFC 9111 section 4.2).
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
            None if ["no-store", "no-cache"].contains(&&*directive) => return MIN_FRESHNESS,
            _ => {}
        }
    }

    let age = headers.get(header::AGE).and_then(|age| age.to_str().ok());
    let age = age.and_then(seconds_of).unwrap_or_default();
    max_age.map_or(DEFAULT_FRESHNESS, |max_age| {
        (max_age - age).clamp(MIN_FRESHNESS, MAX_FRESHNESS)
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
    fn the_freshness_lifetime_follows_the_headers_within_bounds() {
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

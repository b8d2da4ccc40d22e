use anyhow::{Context, ensure};
use chrono::TimeDelta;
use serde::Deserialize;
use url::Url;

use super::{key_set::KeySet, provider::is_local, web::Web};

/// The part of an issuer's discovery document that matters here (OpenID Connect
/// Discovery section 3).
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

/// Asks an issuer for its keys; tells how long they are fresh.
pub(super) async fn fetch_keys(web: &Web, issuer: &str) -> anyhow::Result<(KeySet, TimeDelta)> {
    let url = format!(
        "{}/.well-known/openid-configuration",
        issuer.trim_end_matches('/')
    );
    let url = Url::parse(&url)?;
    let document = web.get(&url).await?;
    let discovery: Discovery = serde_json::from_slice(&document.body)
        .with_context(|| format!("{url} is not a discovery document"))?;
    // Section 4.3: else anybody's document would do.
    ensure!(discovery.issuer == issuer, "{url} is about another issuer");

    let jwks_uri = Url::parse(&discovery.jwks_uri)
        .ok()
        .filter(|uri| uri.scheme() == "https" || is_local(uri) && is_local(&url));
    let jwks_uri = jwks_uri.with_context(|| format!("{url} has a jwks_uri without https"))?;
    let document = web.get(&jwks_uri).await?;
    let keys = KeySet::parse(&document.body).with_context(|| format!("cannot use {jwks_uri}"))?;
    Ok((keys, document.fresh))
}

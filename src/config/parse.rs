//! Parsers of setting values. Each error continues a sentence that begins with the setting's name,
//! and never repeats the value, which may be a secret.

use std::{
    fmt::Display,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    str::FromStr,
    time::Duration,
};

use lettre::message::Mailbox;
use sqlx_postgres::PgSslMode;
use zeroize::Zeroizing;

use crate::{
    auth::{parse_jwt_secret, parse_sealing_key},
    domain::Secret,
};

pub(crate) fn parsed<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

pub(crate) fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse()
        .map_err(|_| "must be an IP address and a port, such as 127.0.0.1:50051")
}

pub(crate) fn port(text: &str) -> Result<u16, &'static str> {
    match text.parse() {
        Ok(port @ 1..) => Ok(port),
        _ => Err("must be a whole number from 1 to 65535"),
    }
}

pub(crate) fn within(range: RangeInclusive<u32>) -> impl Fn(&str) -> Result<u32, String> + Clone {
    move |text| match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!(
            "must be a whole number from {} to {}",
            range.start(),
            range.end()
        )),
    }
}

pub(crate) fn duration(
    min: &'static str,
    max: &'static str,
) -> impl Fn(&str) -> Result<Duration, String> + Clone {
    let bound = |text| humantime::parse_duration(text).unwrap_or_default();
    move |text| match humantime::parse_duration(text) {
        Ok(duration) if (bound(min)..=bound(max)).contains(&duration) => Ok(duration),
        _ => Err(format!(
            "must be a duration from {min} to {max}, with a unit"
        )),
    }
}

pub(crate) fn secret(text: &str) -> Result<Secret, &'static str> {
    Ok(Secret::new(text))
}

pub(crate) fn hooks_secret(text: &str) -> Result<Secret, &'static str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    match text.len() {
        16..=128 if text.bytes().all(plain) => Ok(Secret::new(text)),
        _ => Err("must have from 16 to 128 letters, digits, hyphens and underscores"),
    }
}

/// Surrounding white space is allowed, as in a file.
pub(crate) fn api_key(text: &str) -> Result<Secret, &'static str> {
    match text.trim() {
        "" => Err("must not be empty"),
        key => Ok(Secret::new(key)),
    }
}

pub(crate) fn node_id(text: &str) -> Result<String, &'static str> {
    match text.len() {
        1..=128 if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(text.to_owned()),
        _ => Err("must have from 1 to 128 visible ASCII characters"),
    }
}

pub(crate) fn jwt_secret(text: &str) -> Result<Secret, String> {
    parse_jwt_secret(text)
        .map_err(|error| format!("{error}; make one with `openssl rand -base64 48`"))
}

pub(crate) fn sealing_key(text: &str) -> Result<Zeroizing<[u8; 32]>, String> {
    parse_sealing_key(text)
        .map_err(|error| format!("{error}; make one with `openssl rand -base64 32`"))
}

pub(crate) fn not_empty(text: &str) -> Result<String, &'static str> {
    match text.trim() {
        "" => Err("must not be empty"),
        text => Ok(text.to_owned()),
    }
}

pub(crate) fn boolean(text: &str) -> Result<bool, &'static str> {
    match text {
        "true" | "1" | "on" | "yes" => Ok(true),
        "false" | "0" | "off" | "no" => Ok(false),
        _ => Err("must be true or false"),
    }
}

pub(crate) fn ssl_mode(text: &str) -> Result<PgSslMode, &'static str> {
    text.parse()
        .map_err(|_| "must be disable, allow, prefer, require, verify-ca or verify-full")
}

pub(crate) fn ingest_host(text: &str) -> Result<String, &'static str> {
    const REQUIREMENT: &str = "must be a host or host:port, such as ingest.example.com:1935";
    let host = match text.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        Some(_) if text.parse::<IpAddr>().is_err() => return Err(REQUIREMENT),
        _ => text,
    };
    match url::Host::parse(host) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) if host.parse::<IpAddr>().is_ok() => Ok(text.to_owned()),
        Err(_) => Err(REQUIREMENT),
    }
}

pub(crate) fn mailbox(text: &str) -> Result<Mailbox, &'static str> {
    const REQUIREMENT: &str = "must be an address such as Sluice <sluice@example.com>";
    match text.parse() {
        Ok(mailbox) if !text.contains(char::is_control) => Ok(mailbox),
        _ => Err(REQUIREMENT),
    }
}

/// A page to which a token is appended. Short enough for a line of a message.
pub(crate) fn page_url(text: &str) -> Result<String, &'static str> {
    let is_page = |url: &url::Url| matches!(url.scheme(), "http" | "https");
    let fits = text.len() <= 500 && text.bytes().all(|byte| byte.is_ascii_graphic());
    match url::Url::parse(text) {
        Ok(url) if fits && is_page(&url) => Ok(text.to_owned()),
        _ => Err("must be a URL such as https://app.example.com/verify#token="),
    }
}

/// Without a path, because each RPC has its own.
pub(crate) fn control_plane(text: &str) -> Result<http::Uri, &'static str> {
    match text.parse::<http::Uri>() {
        Ok(uri) if is_web(&uri) && matches!(uri.path(), "" | "/") => Ok(uri),
        _ => Err("must be a URL such as http://127.0.0.1:50051 or https://sluice.example.com"),
    }
}

/// Over TLS with `https://`.
pub(crate) fn collector_url(text: &str) -> Result<http::Uri, &'static str> {
    match text.parse::<http::Uri>() {
        Ok(uri) if is_web(&uri) => Ok(uri),
        _ => Err("must be a URL such as http://127.0.0.1:4317 or https://otel.example.com:4317"),
    }
}

/// Without TLS: the other program should run beside this one.
pub(crate) fn http_url(
    example: &'static str,
) -> impl Fn(&str) -> Result<http::Uri, String> + Clone {
    move |text| match text.parse::<http::Uri>() {
        Ok(uri) if uri.scheme_str() == Some("http") && uri.authority().is_some() => Ok(uri),
        _ => Err(format!("must be a URL such as {example}")),
    }
}

fn is_web(uri: &http::Uri) -> bool {
    matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some()
}

/// A URL to which an application and a stream are appended.
pub(crate) fn read_url(text: &str) -> Result<String, &'static str> {
    match url::Url::parse(text) {
        Ok(url) if url.scheme() == "rtmp" && url.has_host() && url.path().len() <= 1 => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err("must be a URL such as rtmp://127.0.0.1:1935"),
    }
}

pub(crate) fn ratio(text: &str) -> Result<f64, &'static str> {
    match text.parse() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => Err("must be a number from 0 to 1, such as 0.01"),
    }
}

pub(crate) fn log_filter(text: &str) -> Result<String, &'static str> {
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("must be a filter such as info or sluice=debug,sqlx=debug"),
    }
}

//! The answer to HTTP/1.1 where gRPC-Web is off: a sentence instead of a reset, which a browser
//! would show as a network failure. The request is not parsed.

use std::{io, sync::LazyLock, time::Duration};

use http::StatusCode;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

use super::http1_server::short_response;
use crate::telemetry::Throttle;

/// What is wrong, and what an operator can do.
pub const GRPC_WEB_IS_OFF: &str = "This port speaks gRPC over HTTP/2. Web pages may call it \
    (gRPC-Web) if SLUICE_WEB_ORIGINS has their origin; it is not set.\n";

/// How long the peer may take to send its request and to read the answer.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(2);

/// How much of a request is read, in bytes.
const MAX_REQUEST_BYTES: usize = 16 * 1024;

/// The least time between two log lines.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

static LOG: LazyLock<Mutex<Throttle>> = LazyLock::new(|| Mutex::new(Throttle::new(LOG_INTERVAL)));

/// Logs a call of a web page that is refused because gRPC-Web is off.
pub fn log_grpc_web_is_off(origin: Option<&str>) {
    const MAX_ORIGIN_LENGTH: usize = 200;
    if let Some(times) = LOG.lock().record() {
        let origin = origin.unwrap_or("unknown").chars().take(MAX_ORIGIN_LENGTH);
        let origin: String = origin.filter(|letter| !letter.is_control()).collect();
        tracing::warn!(
            origin,
            times,
            "refused HTTP/1.1 or gRPC-Web: SLUICE_WEB_ORIGINS is not set"
        );
    }
}

/// Whether the first bytes of a connection may be those of an HTTP/1.1 request.
pub(super) fn is_http1(prefix: &[u8]) -> bool {
    let first = prefix.first().copied().unwrap_or_default();
    first.is_ascii_uppercase() && !prefix.starts_with(b"PRI * HTTP/2")
}

/// Answers the request that begins with `prefix`, and closes the connection.
pub(super) async fn refuse(stream: impl AsyncRead + AsyncWrite + Unpin, prefix: &[u8]) {
    // An error means that the peer is gone or too slow.
    let _ = timeout(EXCHANGE_TIMEOUT, exchange(stream, prefix)).await;
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    prefix: &[u8],
) -> io::Result<()> {
    let mut request = prefix.to_vec();
    while request.len() < MAX_REQUEST_BYTES && !contains_head(&request) {
        if stream.read_buf(&mut request).await? == 0 {
            break;
        }
    }
    log_grpc_web_is_off(origin(&request).as_deref());

    stream.write_all(&answer()).await?;
    stream.shutdown().await?;
    // A close with unread bytes would reset the connection before the answer is read.
    let mut rest = [0; 4096];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

fn answer() -> Vec<u8> {
    let status = StatusCode::HTTP_VERSION_NOT_SUPPORTED;
    let response = short_response(status, "text/plain; charset=utf-8", GRPC_WEB_IS_OFF);
    let mut bytes = format!("HTTP/1.1 {status}\r\n").into_bytes();
    for (name, value) in response.headers() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    let length = GRPC_WEB_IS_OFF.len();
    let end = format!("content-length: {length}\r\nconnection: close\r\n\r\n{GRPC_WEB_IS_OFF}");
    bytes.extend(end.into_bytes());
    bytes
}

fn contains_head(request: &[u8]) -> bool {
    request.windows(4).any(|window| window == b"\r\n\r\n")
}

fn origin(request: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(request);
    let mut headers = text.lines().filter_map(|line| line.split_once(':'));
    let (_, origin) = headers.find(|(name, _)| name.eq_ignore_ascii_case("origin"))?;
    Some(origin.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::{is_http1, origin};

    #[test]
    fn only_what_begins_like_a_request_is_answered() {
        assert!(is_http1(b"G"));
        assert!(is_http1(b"POST"));
        assert!(is_http1(b"PRX"));
        assert!(!is_http1(b"PRI * HTTP/2.0\r\n\r\nX"));
        assert!(!is_http1(b"\x16\x03\x01"));
        assert!(!is_http1(b"\0"));
        assert!(!is_http1(b""));
    }

    #[test]
    fn the_origin_of_a_request_is_found() {
        let request = b"POST /x HTTP/1.1\r\nhost: a\r\nOrigin: https://app.example.com\r\n\r\n";
        assert_eq!(origin(request).as_deref(), Some("https://app.example.com"));
        assert_eq!(origin(b"GET / HTTP/1.1\r\n\r\n"), None);
    }
}

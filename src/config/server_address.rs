use std::{fmt, path::PathBuf, str::FromStr};

use http::Uri;
use tonic::transport::Endpoint;

use crate::transport::parse_socket_path;

/// The `:authority` of calls over a Unix socket, as other gRPC clients send it.
const UNIX_ORIGIN: &str = "http://localhost";

/// The address of a server, as its clients know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ServerAddress {
    /// An `http` or `https` URL with a host and a port only.
    Url(Uri),
    /// The path of a Unix socket, without TLS.
    Unix(PathBuf),
}

impl ServerAddress {
    /// Whether connections are encrypted.
    pub fn has_tls(&self) -> bool {
        matches!(self, Self::Url(url) if url.scheme_str() == Some("https"))
    }

    /// The endpoint, without TLS yet.
    pub fn endpoint(&self) -> Result<Endpoint, tonic::transport::Error> {
        match self {
            Self::Url(url) => Ok(Endpoint::from(url.clone())),
            Self::Unix(_) => {
                let endpoint = Endpoint::from_shared(self.to_string())?;
                Ok(endpoint.origin(Uri::from_static(UNIX_ORIGIN)))
            }
        }
    }
}

impl FromStr for ServerAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        const INVALID: &str = "must be an http or https URL without a path or password, such as \
                               https://sluice.example.com, or unix: and the path of a socket, \
                               such as unix:/run/sluice/sluice.sock";
        let text = text.trim();
        if let Some(path) = text.strip_prefix("unix:") {
            return parse_socket_path(path).map(Self::Unix);
        }
        let url: Uri = text.trim_end_matches('/').parse().map_err(|_| INVALID)?;
        let has_scheme = matches!(url.scheme_str(), Some("http" | "https"));
        let is_plain = url.path() == "/" && url.query().is_none();
        let has_password = url.authority().is_some_and(|it| it.as_str().contains('@'));
        match has_scheme && is_plain && !has_password {
            true => Ok(Self::Url(url)),
            false => Err(INVALID),
        }
    }
}

/// As it is shown and stored.
impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => f.write_str(url.to_string().trim_end_matches('/')),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::ServerAddress;

    #[rstest]
    #[case("http://127.0.0.1:50051", "http://127.0.0.1:50051")]
    #[case("https://sluice.example.com/", "https://sluice.example.com")]
    #[case("unix:/run/sluice.sock", "unix:/run/sluice.sock")]
    #[case("unix:///run/sluice.sock", "unix:/run/sluice.sock")]
    fn a_server_is_a_url_or_a_socket(#[case] text: &str, #[case] shown: &str) {
        let server: ServerAddress = text.parse().unwrap();
        assert_eq!(server.to_string(), shown);
    }

    #[rstest]
    #[case("127.0.0.1:50051")]
    #[case("ftp://sluice.example.com")]
    #[case("http://user:password@sluice.example.com")]
    #[case("http://sluice.example.com/path")]
    #[case("http://sluice.example.com?query")]
    #[case("unix:sluice.sock")]
    fn other_addresses_are_refused(#[case] text: &str) {
        text.parse::<ServerAddress>().unwrap_err();
    }
}

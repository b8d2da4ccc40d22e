use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

/// The longest path of a Unix socket in bytes: `sun_path` of Linux, without the final zero
/// (unix(7)).
const MAX_SOCKET_PATH: usize = 107;

/// An address that a server listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// The path of a Unix socket: absolute, at most 107 bytes.
    Unix(PathBuf),
}

impl ListenAddress {
    /// Whether only processes of this machine can connect.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl FromStr for ListenAddress {
    type Err = &'static str;

    /// Parses `ADDRESS:PORT` or `unix:PATH`.
    fn from_str(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        match text.strip_prefix("unix:") {
            Some(path) => parse_socket_path(path).map(Self::Unix),
            None => text.parse().map(Self::Tcp).map_err(|_| {
                "must be an IP address and a port, such as 127.0.0.1:50051, or unix: and a path, \
                 such as unix:/run/sluice/sluice.sock"
            }),
        }
    }
}

/// Parses the path behind `unix:` or `unix://`.
pub(crate) fn parse_socket_path(path: &str) -> Result<PathBuf, &'static str> {
    let path = path.strip_prefix("//").unwrap_or(path);
    let file = Path::new(path);
    if !file.is_absolute() || file.file_name().is_none() || path.ends_with('/') {
        return Err(
            "must have an absolute path of a file behind unix:, such as \
             unix:/run/sluice/sluice.sock",
        );
    }
    match path.len() > MAX_SOCKET_PATH || path.contains('\0') {
        true => Err("must have a path of at most 107 bytes behind unix:, the limit of the system"),
        false => Ok(file.to_owned()),
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::ListenAddress;

    #[rstest]
    #[case("127.0.0.1:50051", "127.0.0.1:50051")]
    #[case(" [::1]:50051", "[::1]:50051")]
    #[case("unix:/run/sluice/sluice.sock", "unix:/run/sluice/sluice.sock")]
    #[case("unix:///run/sluice.sock", "unix:/run/sluice.sock")]
    fn an_address_is_an_ip_address_with_a_port_or_a_path(#[case] text: &str, #[case] shown: &str) {
        let address: ListenAddress = text.parse().unwrap();
        assert_eq!(address.to_string(), shown);
    }

    #[rstest]
    #[case("localhost:50051", "an IP address and a port")]
    #[case("/run/sluice.sock", "unix: and a path")]
    #[case("unix:", "an absolute path")]
    #[case("unix:sluice.sock", "an absolute path")]
    #[case("unix:@sluice", "an absolute path")]
    #[case("unix:/", "an absolute path")]
    #[case("unix:/run/sluice/", "an absolute path")]
    #[case("unix:/run/sluice/..", "an absolute path")]
    fn other_texts_are_refused_with_what_an_address_must_be(
        #[case] text: &str,
        #[case] part: &str,
    ) {
        let error = text.parse::<ListenAddress>().unwrap_err();
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn a_path_has_at_most_107_bytes() {
        let path = |length: usize| format!("unix:/{}", "s".repeat(length - 1));
        path(107).parse::<ListenAddress>().unwrap();
        let error = path(108).parse::<ListenAddress>().unwrap_err();
        assert!(error.contains("at most 107 bytes"), "{error}");
    }
}

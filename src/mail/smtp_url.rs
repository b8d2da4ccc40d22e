use std::{path::PathBuf, str::FromStr};

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::domain::Secret;

/// The port of message submission (RFC 6409).
const SUBMISSION_PORT: u16 = 587;

/// The port of message submission over implicit TLS (RFC 8314).
const SUBMISSIONS_PORT: u16 = 465;

/// The URL of a mail server. It has no `Debug`: it can contain a password.
#[derive(Clone)]
pub struct SmtpUrl {
    /// The host name or IP address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The user and password, if the server requires authentication.
    pub credentials: Option<(String, Secret)>,
    /// The protection of the connection.
    pub tls: SmtpTls,
    /// A PEM file of certificates that are trusted in addition to those of the platform.
    pub ca_file: Option<PathBuf>,
}

/// The protection of a connection to a mail server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// Plain text.
    None,
    /// STARTTLS; without it nothing is sent.
    Required,
    /// TLS from the first byte on.
    Implicit,
}

impl FromStr for SmtpUrl {
    type Err = &'static str;

    /// Parses `smtp://user:password@host:port?tls=required&ca=FILE`; only the host is
    /// required. `tls` is `none` or `required`, by default `required` unless the host is
    /// this machine. `smtps://` uses TLS from the first byte on.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const INVALID: &str = "must be off, folder:PATH or a URL such as \
                             smtp://user:password@mail.example.com:587";
        let url = Url::parse(text).map_err(|_| INVALID)?;
        let host = url.host_str().ok_or(INVALID)?;
        let host = Host::parse(host).map_err(|_| INVALID)?;
        let (tls, port) = match url.scheme() {
            "smtps" => (SmtpTls::Implicit, SUBMISSIONS_PORT),
            "smtp" if is_this_machine(&host) => (SmtpTls::None, SUBMISSION_PORT),
            "smtp" => (SmtpTls::Required, SUBMISSION_PORT),
            _ => return Err(INVALID),
        };
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err("must not have a path or # after the port");
        }

        let mut server = Self {
            host: without_brackets(&host),
            port: url.port().unwrap_or(port),
            credentials: credentials(&url)?,
            tls,
            ca_file: None,
        };
        for (name, value) in url.query_pairs() {
            match (&*name, &*value) {
                ("tls", "none") if tls != SmtpTls::Implicit => server.tls = SmtpTls::None,
                ("tls", "required") if tls != SmtpTls::Implicit => server.tls = SmtpTls::Required,
                ("ca", file) if !file.is_empty() => server.ca_file = Some(file.into()),
                _ => return Err("must have only tls=none, tls=required or ca=FILE after ?"),
            }
        }
        Ok(server)
    }
}

fn credentials(url: &Url) -> Result<Option<(String, Secret)>, &'static str> {
    let decoded = |text| percent_decode_str(text).decode_utf8();
    match (url.username(), url.password()) {
        ("", None) => Ok(None),
        ("", Some(_)) | (_, None) => Err("must have both a user and a password, or none"),
        (user, Some(password)) => {
            let (Ok(user), Ok(password)) = (decoded(user), decoded(password)) else {
                return Err("must have a user and a password in UTF-8");
            };
            Ok(Some((user.into_owned(), Secret::new(password))))
        }
    }
}

fn is_this_machine(host: &Host) -> bool {
    match host {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

/// A host without the brackets of an IPv6 address.
fn without_brackets(host: &Host) -> String {
    match host {
        Host::Ipv6(address) => address.to_string(),
        host => host.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::{SmtpTls, SmtpUrl};

    fn parse(text: &str) -> SmtpUrl {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn tls_is_required_by_default_except_on_this_machine() {
        for (text, tls) in [
            ("smtp://mail.example.com", SmtpTls::Required),
            ("smtp://203.0.113.5", SmtpTls::Required),
            ("smtp://localhost.example.com", SmtpTls::Required),
            ("smtp://mail.example.com?tls=none", SmtpTls::None),
            ("smtp://localhost", SmtpTls::None),
            ("smtp://127.0.0.1", SmtpTls::None),
            ("smtp://[::1]:25", SmtpTls::None),
            ("smtp://localhost?tls=required", SmtpTls::Required),
            ("smtps://mail.example.com", SmtpTls::Implicit),
            ("smtps://localhost", SmtpTls::Implicit),
        ] {
            assert_eq!(parse(text).tls, tls, "{text}");
        }
    }

    #[test]
    fn the_parts_of_a_url_are_decoded() {
        let server = parse("smtp://ada%40example.com:p%3Aa%2Fs@mail.example.com/?ca=/etc/ca.pem");
        let (user, password) = server.credentials.unwrap();

        assert_eq!((&*server.host, server.port), ("mail.example.com", 587));
        assert_eq!((&*user, password.expose()), ("ada@example.com", "p:a/s"));
        assert_eq!(server.ca_file.unwrap().to_str(), Some("/etc/ca.pem"));
        assert_eq!(parse("smtps://mail.example.com").port, 465);
        assert_eq!(parse("smtp://[::1]:25").host, "::1");
    }

    #[test]
    fn a_malformed_url_is_refused() {
        for text in [
            "",
            "on",
            "smtp",
            "smtp:mail.example.com",
            "smtp://",
            "http://mail.example.com",
            "smtp://ada@mail.example.com",
            "smtp://:secret@mail.example.com",
            "smtp://mail.example.com:99999",
            "smtp://mail.example.com/path",
            "smtp://mail.example.com#x",
            "smtp://mail.example.com?tls=opportunistic",
            "smtps://mail.example.com?tls=none",
            "smtp://mail.example.com?ca=",
            "smtp://ma il.example.com",
        ] {
            assert!(text.parse::<SmtpUrl>().is_err(), "{text}");
        }
    }
}

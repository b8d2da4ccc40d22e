use std::{path::PathBuf, str::FromStr};

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::domain::Secret;

/// The port of a server that takes messages from its users (RFC 6409).
const SUBMISSION: u16 = 587;

/// The same with TLS from the first byte on (RFC 8314).
const SUBMISSIONS: u16 = 465;

/// A mail server as a setting names it. It cannot be printed: there is a password in it.
#[derive(Clone)]
pub struct SmtpUrl {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// With which user and password it is used, if it wants any.
    pub login: Option<(String, Secret)>,
    /// How the connection is protected.
    pub tls: SmtpTls,
    /// A file of certificates (PEM) that are trusted beside the public ones.
    pub trusted: Option<PathBuf>,
}

/// How a connection to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// Not at all.
    None,
    /// By STARTTLS, without which nothing is said.
    Required,
    /// By TLS from the first byte on.
    Implicit,
}

impl FromStr for SmtpUrl {
    type Err = &'static str;

    /// Reads `smtp://user:password@host:port?tls=required&ca=FILE`, all but the
    /// host optional. `tls` is `none` or `required`; by default required unless
    /// the host is this machine. `smtps://` has TLS from the first byte on.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "must be off, folder:PATH or a URL such as \
                             smtp://user:password@mail.example.com:587";
        let url = Url::parse(text).map_err(|_| WRONG)?;
        let host = url.host_str().ok_or(WRONG)?;
        let host = Host::parse(host).map_err(|_| WRONG)?;
        let (tls, port) = match url.scheme() {
            "smtps" => (SmtpTls::Implicit, SUBMISSIONS),
            "smtp" if is_this_machine(&host) => (SmtpTls::None, SUBMISSION),
            "smtp" => (SmtpTls::Required, SUBMISSION),
            _ => return Err(WRONG),
        };
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err("must not have a path or # after the port");
        }

        let mut server = Self {
            host: bare(&host),
            port: url.port().unwrap_or(port),
            login: login(&url)?,
            tls,
            trusted: None,
        };
        for (name, value) in url.query_pairs() {
            match (&*name, &*value) {
                ("tls", "none") if tls != SmtpTls::Implicit => server.tls = SmtpTls::None,
                ("tls", "required") if tls != SmtpTls::Implicit => server.tls = SmtpTls::Required,
                ("ca", file) if !file.is_empty() => server.trusted = Some(file.into()),
                _ => return Err("must have only tls=none, tls=required or ca=FILE after ?"),
            }
        }
        Ok(server)
    }
}

fn login(url: &Url) -> Result<Option<(String, Secret)>, &'static str> {
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
fn bare(host: &Host) -> String {
    match host {
        Host::Ipv6(address) => address.to_string(),
        host => host.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::{SmtpTls, SmtpUrl};

    fn read(text: &str) -> SmtpUrl {
        text.parse()
            .unwrap_or_else(|fault| panic!("{text}: {fault}"))
    }

    #[test]
    fn only_this_machine_is_spoken_to_in_clear_unless_told_so() {
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
            assert_eq!(read(text).tls, tls, "{text}");
        }
    }

    #[test]
    fn the_parts_are_read_as_they_were_meant() {
        let server = read("smtp://ada%40example.com:p%3Aa%2Fs@mail.example.com/?ca=/etc/ca.pem");
        let (user, password) = server.login.unwrap();

        assert_eq!((&*server.host, server.port), ("mail.example.com", 587));
        assert_eq!((&*user, password.expose()), ("ada@example.com", "p:a/s"));
        assert_eq!(server.trusted.unwrap().to_str(), Some("/etc/ca.pem"));
        assert_eq!(read("smtps://mail.example.com").port, 465);
        assert_eq!(read("smtp://[::1]:25").host, "::1");
    }

    #[test]
    fn what_is_no_mail_server_is_refused() {
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

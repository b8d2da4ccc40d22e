use std::{path::PathBuf, str::FromStr};

use async_nats::ServerAddr;
use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::domain::Secret;

/// The servers of a NATS cluster, and how to log in. It has no `Debug`: it can contain a password.
#[derive(Clone)]
pub struct NatsServers {
    /// Their addresses, without credentials.
    pub(super) addresses: Vec<ServerAddr>,
    /// How to log in, if that does not depend on a file.
    pub(super) login: Option<NatsLogin>,
    /// Whether TLS is required.
    pub(super) tls: bool,
    /// A PEM file of certificates that are trusted instead of those of the platform.
    pub(super) ca_file: Option<PathBuf>,
}

/// What a client logs in with.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum NatsLogin {
    Password { user: String, password: Secret },
    Token(Secret),
}

impl NatsServers {
    /// Whether the URL contains credentials.
    pub fn has_login(&self) -> bool {
        self.login.is_some()
    }

    /// The addresses, without credentials.
    pub fn addresses(&self) -> String {
        let addresses = self.addresses.iter().map(ServerAddr::as_url_str);
        addresses.collect::<Vec<_>>().join(",")
    }
}

impl FromStr for NatsServers {
    type Err = &'static str;

    /// Parses `nats://user:password@host:port?ca=FILE`, or several such URLs, comma-separated; only
    /// the host is required. A user without a password is a token. `tls://` requires TLS.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut servers = Self {
            addresses: Vec::new(),
            login: None,
            tls: text.starts_with("tls://"),
            ca_file: None,
        };
        for text in text.split(',') {
            servers.add(text)?;
        }
        Ok(servers)
    }
}

impl NatsServers {
    fn add(&mut self, text: &str) -> Result<(), &'static str> {
        const INVALID: &str = "must be a URL such as nats://127.0.0.1:4222 or \
                               tls://user:password@nats.example.com, or several, comma-separated";
        let mut url = Url::parse(text).map_err(|_| INVALID)?;
        let host = url.host_str().ok_or(INVALID)?;
        Host::parse(host).map_err(|_| INVALID)?;
        match url.scheme() {
            "tls" | "nats" if (url.scheme() == "tls") == self.tls => {}
            "tls" | "nats" => return Err("must not have both nats:// and tls://"),
            _ => return Err(INVALID),
        }
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err("must not have a path or # after the port");
        }
        for (name, value) in url.query_pairs() {
            match (&*name, &*value) {
                ("ca", file) if !file.is_empty() => self.ca_file = Some(file.into()),
                _ => return Err("must have only ca=FILE after ?"),
            }
        }
        let login = login(&url)?;
        if self.login.is_some() && login.is_some() && self.login != login {
            return Err("must have the same user and password for all servers");
        }
        self.login = self.login.take().or(login);

        // Addresses may be logged.
        url.set_query(None);
        url.set_path("");
        url.set_password(None).map_err(|()| INVALID)?;
        url.set_username("").map_err(|()| INVALID)?;
        let address = ServerAddr::from_url(url).map_err(|_| INVALID)?;
        self.addresses.push(address);
        Ok(())
    }
}

fn login(url: &Url) -> Result<Option<NatsLogin>, &'static str> {
    let decoded = |text| {
        let decoded = percent_decode_str(text).decode_utf8();
        decoded.map_err(|_| "must have a user and a password in UTF-8")
    };
    Ok(match (url.username(), url.password()) {
        ("", None) => None,
        ("", Some(_)) => return Err("must have both a user and a password, or a token, or none"),
        (token, None) => Some(NatsLogin::Token(Secret::new(decoded(token)?))),
        (user, Some(password)) => Some(NatsLogin::Password {
            user: decoded(user)?.into_owned(),
            password: Secret::new(decoded(password)?),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::{NatsLogin, NatsServers};

    fn parse(text: &str) -> NatsServers {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn the_parts_of_a_url_are_decoded() {
        let servers = parse("tls://ada:p%3Aa%2Fs%2C@nats.example.com/?ca=/etc/ca.pem");
        let Some(NatsLogin::Password { user, password }) = &servers.login else {
            panic!("a user and a password")
        };
        assert_eq!((&**user, password.expose()), ("ada", "p:a/s,"));
        assert_eq!(servers.addresses(), "tls://nats.example.com");
        assert_eq!(servers.addresses[0].port(), 4222);
        assert_eq!(servers.ca_file.unwrap().to_str(), Some("/etc/ca.pem"));
        assert!(servers.tls);

        let servers = parse("nats://t0ken@[::1]:4333");
        let Some(NatsLogin::Token(token)) = &servers.login else {
            panic!("a token")
        };
        assert_eq!(token.expose(), "t0ken");
        assert_eq!(servers.addresses[0].host(), "::1");
        assert_eq!(servers.addresses[0].port(), 4333);
        assert!(!servers.tls);
    }

    #[test]
    fn several_servers_share_their_credentials() {
        let servers = parse("nats://a,nats://ada:secret@b:4333,nats://ada:secret@127.0.0.1");
        assert_eq!(servers.addresses.len(), 3);
        assert_eq!(
            servers.addresses(),
            "nats://a,nats://b:4333,nats://127.0.0.1"
        );
        assert!(servers.has_login());
        assert!(!parse("nats://a,nats://b").has_login());
    }

    #[test]
    fn a_malformed_url_is_refused() {
        for text in [
            "",
            "localhost",
            "localhost:4222",
            "nats:a",
            "nats://",
            "http://a",
            "ws://a",
            "nats://a,tls://b",
            "nats://a,",
            "nats://a,b:4222",
            "nats://:secret@a",
            "nats://ada:one@a,nats://ada:two@b",
            "nats://a:99999",
            "nats://a/path",
            "nats://a#x",
            "nats://a?ca=",
            "nats://a?tls=none",
            "nats://a b",
        ] {
            assert!(text.parse::<NatsServers>().is_err(), "{text}");
        }
    }
}

//! Parses the URL of a database: those of PostgreSQL as libpq does, with several hosts and
//! `target_session_attrs`.
//!
//! sqlx knows one host. So a URL of several hosts becomes one URL for each of them.

use std::{borrow::Cow, str::FromStr};

use sqlx_postgres::PgConnectOptions;
use url::form_urlencoded::{self, Serializer};

use super::options::{Pooler, PostgresServers, SettingNames, Target, TargetSession};

const NOT_A_URL: &str = "must be a URL such as postgres://user:password@host:5432/name, or with \
                         several hosts, such as postgres://user:password@a:5432,b:5432/name";

/// The parts of a URL. Hosts in the parameters replace those before the path.
struct Parts<'a> {
    scheme: &'a str,
    /// Including `@`, or empty.
    user: &'a str,
    /// With their ports.
    hosts: Vec<&'a str>,
    /// Including `/`, or empty.
    path: &'a str,
    parameters: Parameters<'a>,
}

struct Parameters<'a> {
    target_session: TargetSession,
    hosts: Vec<String>,
    ports: Vec<String>,
    others: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl FromStr for Target {
    type Err = &'static str;

    /// Parses `postgres://…`, `postgresql://…` or `sqlite:PATH`.
    fn from_str(url: &str) -> Result<Self, Self::Err> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path {
                "" | ":memory:" => Err("must name a file after sqlite:"),
                _ if path.contains('?') => Err("must not have parameters after the file"),
                _ => Ok(Self::Sqlite(path.into())),
            };
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return parse(url).map(|servers| Self::Postgres(Box::new(servers)));
        }
        Err("must begin with postgres:// or sqlite:")
    }
}

/// Parses a URL that begins with `postgres://` or `postgresql://`.
fn parse(url: &str) -> Result<PostgresServers, &'static str> {
    let parts = Parts::parse(url)?;
    let count = parts.hosts.len().max(parts.parameters.hosts.len());
    let ports = &parts.parameters.ports;
    if ports.len() > 1 && ports.len() != count {
        return Err("must have one port, or one for each host");
    }
    let servers = (0..count).map(|index| {
        PgConnectOptions::from_str(&parts.url_of(index))
            .map(normalized)
            .map_err(|_| NOT_A_URL)
    });
    Ok(PostgresServers {
        servers: servers.collect::<Result<_, _>>()?,
        target_session: parts.parameters.target_session,
        pooler: Pooler::None,
        settings: SettingNames::url("DATABASE_URL"),
    })
}

/// Without the brackets of an IPv6 address, with which sqlx cannot connect.
fn normalized(server: PgConnectOptions) -> PgConnectOptions {
    let bare = server.get_host().strip_prefix('[');
    match bare.and_then(|host| host.strip_suffix(']')) {
        Some(address) => server.clone().host(address),
        None => server,
    }
}

impl<'a> Parts<'a> {
    fn parse(url: &'a str) -> Result<Self, &'static str> {
        let (scheme, rest) = url.split_once("://").ok_or(NOT_A_URL)?;
        let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = address.split_at(address.find('/').unwrap_or(address.len()));
        let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
        let hosts: Vec<_> = hosts.split(',').collect();
        let parameters = Parameters::parse(query)?;
        let is_list = hosts.len() > 1 || !parameters.hosts.is_empty();
        let mut named = hosts.iter().copied();
        if is_list && parameters.hosts.is_empty() && named.any(|host| host.trim().is_empty()) {
            return Err("must not have an empty host");
        }
        Ok(Self {
            scheme,
            user,
            hosts,
            path,
            parameters,
        })
    }

    /// The URL of one server.
    fn url_of(&self, index: usize) -> String {
        let Parameters {
            hosts,
            ports,
            others,
            ..
        } = &self.parameters;
        let mut query = Serializer::new(String::new());
        query.extend_pairs(others);
        if let Some(host) = hosts.get(index) {
            query.append_pair("host", host);
        }
        if let Some(port) = ports.get(index).or(ports.first()) {
            query.append_pair("port", port);
        }
        let host = match hosts.is_empty() {
            true => self.hosts.get(index).copied().unwrap_or_default(),
            // `host` replaces it; a URL with a user must not have an empty host.
            false => "localhost",
        };
        let Self {
            scheme, user, path, ..
        } = self;
        format!("{scheme}://{user}{host}{path}?{}", query.finish())
    }
}

impl<'a> Parameters<'a> {
    fn parse(query: &'a str) -> Result<Self, &'static str> {
        let list = |value: &str| value.split(',').map(ToOwned::to_owned).collect();
        let mut parameters = Self {
            target_session: TargetSession::Primary,
            hosts: Vec::new(),
            ports: Vec::new(),
            others: Vec::new(),
        };
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "target_session_attrs" => parameters.target_session = value.parse()?,
                "host" => parameters.hosts = list(&value),
                "port" => parameters.ports = list(&value),
                _ => parameters.others.push((key, value)),
            }
        }
        Ok(parameters)
    }
}

impl FromStr for TargetSession {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "any" => Ok(Self::Any),
            "read-write" => Ok(Self::ReadWrite),
            "primary" => Ok(Self::Primary),
            _ => Err(
                "must have target_session_attrs any, read-write or primary, \
                      because Sluice writes to its database",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{TargetSession, parse};

    /// The host, the port, the user and the database of each server of a URL.
    fn servers(url: &str) -> Vec<(String, u16, String, String)> {
        let servers = parse(url).unwrap().servers.into_iter().map(|server| {
            let host = match server.get_socket() {
                Some(socket) => socket.display().to_string(),
                None => server.get_host().to_owned(),
            };
            let user = server.get_username().to_owned();
            let database = server.get_database().unwrap_or_default().to_owned();
            (host, server.get_port(), user, database)
        });
        servers.collect()
    }

    fn server(host: &str, port: u16) -> (String, u16, String, String) {
        (host.to_owned(), port, "ada".to_owned(), "shows".to_owned())
    }

    #[test]
    fn a_url_has_one_host_or_several() {
        for (url, expected) in [
            ("postgres://ada@a/shows", vec![server("a", 5432)]),
            ("postgres://ada:p%40,s@a:1/shows", vec![server("a", 1)]),
            (
                "postgresql://ada@a:1,b,[::1]:3/shows?sslmode=disable",
                vec![server("a", 1), server("b", 5432), server("::1", 3)],
            ),
            (
                "postgres://ada@/shows?host=a,b&port=1,2",
                vec![server("a", 1), server("b", 2)],
            ),
            (
                "postgres://ada@/shows?host=/run/a,b&port=7",
                vec![server("/run/a", 7), server("b", 7)],
            ),
            (
                "postgres://ada@a,b/shows?port=7",
                vec![server("a", 7), server("b", 7)],
            ),
        ] {
            assert_eq!(servers(url), expected, "{url}");
        }
    }

    #[test]
    fn target_session_attrs_are_those_that_can_write() {
        for (attributes, expected) in [
            ("", Ok(TargetSession::Primary)),
            ("?target_session_attrs=any", Ok(TargetSession::Any)),
            (
                "?target_session_attrs=read-write",
                Ok(TargetSession::ReadWrite),
            ),
            ("?target_session_attrs=primary", Ok(TargetSession::Primary)),
            ("?target_session_attrs=standby", Err(())),
            ("?target_session_attrs=prefer-standby", Err(())),
            ("?target_session_attrs=read-only", Err(())),
        ] {
            let parsed = parse(&format!("postgres://a,b/shows{attributes}"));
            let parsed = parsed.map(|servers| servers.target_session).map_err(drop);
            assert_eq!(parsed, expected, "{attributes}");
        }
    }

    #[test]
    fn a_malformed_list_of_hosts_is_refused() {
        for url in [
            "postgres://a,,b/shows",
            "postgres://a,/shows",
            "postgres://a:b,c/shows",
            "postgres://a:1:2/shows",
            "postgres://a,b/shows?port=1,2,3",
            "postgres://a,b/shows?port=x",
        ] {
            assert!(parse(url).is_err(), "{url}");
        }
    }
}

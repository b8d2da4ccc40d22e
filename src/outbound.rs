//! Connections to hosts that tenants name: destinations and webhooks.
//!
//! A name is resolved once. Its addresses are checked against the policy, and only these are
//! connected to, so that a name that changes its address in between leads nowhere else.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    net::{TcpStream, lookup_host},
    time::{Instant, timeout},
};

use crate::domain::UrlPolicy;

/// The longest time of a name resolution.
const RESOLUTION_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time until a connection is established, over all addresses of the host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A host and its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Site {
    /// A name or an IP address; that of IPv6 without its brackets.
    pub(crate) host: String,
    /// The port.
    pub(crate) port: u16,
}

/// The addresses of a site, in the order in which they are to be tried; never empty.
#[derive(Debug, Clone)]
pub(crate) struct Addresses(Vec<SocketAddr>);

/// Why a host cannot be connected to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OutboundError {
    /// Its address must not be connected to.
    #[error("the address must not be connected to: it {0}")]
    Forbidden(String),
    /// Its name does not resolve.
    #[error("the host name cannot be resolved")]
    HostNotFound,
    /// It does not answer.
    #[error("the server does not answer")]
    ConnectTimeout,
    /// Nothing listens at its address.
    #[error("nothing listens at the address")]
    ConnectionRefused,
    /// There is no route to it.
    #[error("there is no route to the address")]
    Unreachable,
}

impl OutboundError {
    /// Why a TCP connection failed.
    pub(crate) fn connecting(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::ConnectionRefused,
            io::ErrorKind::TimedOut => Self::ConnectTimeout,
            _ => Self::Unreachable,
        }
    }
}

impl Addresses {
    /// Finds the addresses of a site; with a policy, one that it forbids forbids them all.
    pub(crate) async fn find(
        site: &Site,
        policy: Option<&UrlPolicy>,
    ) -> Result<Self, OutboundError> {
        let found = Self::resolve(site).await?;
        match policy {
            Some(policy) => found.check(site, policy).map(|()| found),
            None => Ok(found),
        }
    }

    /// Resolves the host of a site.
    pub(crate) async fn resolve(site: &Site) -> Result<Self, OutboundError> {
        let found = timeout(
            RESOLUTION_TIMEOUT,
            lookup_host((site.host.as_str(), site.port)),
        )
        .await;
        let found: Vec<SocketAddr> = match found {
            Ok(Ok(found)) => found.collect(),
            Ok(Err(_)) | Err(_) => return Err(OutboundError::HostNotFound),
        };
        match found.is_empty() {
            true => Err(OutboundError::HostNotFound),
            false => Ok(Self(found)),
        }
    }

    /// An error if the policy forbids one of the addresses of a site.
    pub(crate) fn check(&self, site: &Site, policy: &UrlPolicy) -> Result<(), OutboundError> {
        let forbidden = |address| policy.check_connection(&site.host, address).err();
        match self.0.iter().copied().find_map(forbidden) {
            Some(invalid) => Err(OutboundError::Forbidden(invalid.0.into_owned())),
            None => Ok(()),
        }
    }

    /// All of them, in the order in which they are to be tried.
    pub(crate) fn all(&self) -> &[SocketAddr] {
        &self.0
    }

    /// Connects to the first that answers.
    pub(crate) async fn connect(&self) -> Result<TcpStream, OutboundError> {
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        let mut error = OutboundError::ConnectTimeout;
        for (tried, address) in self.0.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(self.0.len() - tried).unwrap_or(1);
            error = match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => OutboundError::connecting(&error),
                Err(_) => OutboundError::ConnectTimeout,
            };
        }
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(host: &str) -> Site {
        let host = host.to_owned();
        Site { host, port: 1935 }
    }

    #[tokio::test]
    async fn a_host_of_a_private_address_is_forbidden_to_tenants_only() {
        let policy = UrlPolicy::default();
        for host in ["127.0.0.1", "::1", "localhost", "10.1.2.3"] {
            let found = Addresses::find(&site(host), Some(&policy)).await;
            assert!(matches!(found, Err(OutboundError::Forbidden(_))), "{host}");
        }
        let found = Addresses::find(&site("127.0.0.1"), None).await;
        assert_eq!(found.map(|found| found.all().len()), Ok(1));
    }

    #[tokio::test]
    async fn a_name_that_nobody_knows_is_not_found() {
        let found = Addresses::find(&site("nobody.invalid"), None).await;
        assert_eq!(found.map(drop), Err(OutboundError::HostNotFound));
    }
}

use std::{net::SocketAddr, time::Duration};

use tokio::{
    net::{TcpStream, lookup_host},
    time::{Instant, timeout},
};

use super::{address::Site, error::UpstreamError};
use crate::domain::UrlPolicy;

/// The longest time of a name resolution.
const RESOLUTION_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time until a connection is established, over all addresses of the host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The addresses of a site, each of which may be connected to; never empty.
#[derive(Debug, Clone)]
pub(crate) struct Addresses(Vec<SocketAddr>);

impl Addresses {
    /// Finds the addresses of a site; with a policy, one that it forbids forbids them all.
    pub(crate) async fn find(
        site: &Site,
        policy: Option<&UrlPolicy>,
    ) -> Result<Self, UpstreamError> {
        let found = Self::resolve(site).await?;
        match policy {
            Some(policy) => found.check(site, policy).map(|()| found),
            None => Ok(found),
        }
    }

    /// Resolves the host of a site.
    pub(crate) async fn resolve(site: &Site) -> Result<Self, UpstreamError> {
        let found = timeout(
            RESOLUTION_TIMEOUT,
            lookup_host((site.host.as_str(), site.port)),
        )
        .await;
        let found: Vec<SocketAddr> = match found {
            Ok(Ok(found)) => found.collect(),
            Ok(Err(_)) | Err(_) => return Err(UpstreamError::HostNotFound),
        };
        if found.is_empty() {
            return Err(UpstreamError::HostNotFound);
        }
        Ok(Self(found))
    }

    /// An error if the policy forbids one of the addresses of a site.
    pub(crate) fn check(&self, site: &Site, policy: &UrlPolicy) -> Result<(), UpstreamError> {
        let forbidden = |address| policy.check_connection(&site.host, address).err();
        match self.0.iter().copied().find_map(forbidden) {
            Some(invalid) => Err(UpstreamError::AddressForbidden(invalid.0.into_owned())),
            None => Ok(()),
        }
    }

    /// All of them, in the order in which they are to be tried.
    pub(crate) fn all(&self) -> &[SocketAddr] {
        &self.0
    }

    /// Connects to the first that answers.
    pub(crate) async fn connect(&self) -> Result<TcpStream, UpstreamError> {
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        let mut error = UpstreamError::ConnectTimeout;
        for (tried, address) in self.0.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(self.0.len() - tried).unwrap_or(1);
            error = match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => UpstreamError::connecting(&error),
                Err(_) => UpstreamError::ConnectTimeout,
            };
        }
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(host: &str, port: u16) -> Site {
        let host = host.to_owned();
        Site { host, port }
    }

    #[tokio::test]
    async fn a_host_of_a_private_address_is_forbidden_to_destinations_only() {
        let policy = UrlPolicy::default();
        for host in ["127.0.0.1", "::1", "localhost", "10.1.2.3"] {
            let found = Addresses::find(&site(host, 1935), Some(&policy)).await;
            assert!(
                matches!(found, Err(UpstreamError::AddressForbidden(_))),
                "{host}"
            );
        }
        let found = Addresses::find(&site("127.0.0.1", 1935), None).await;
        assert_eq!(found.map(|found| found.all().len()), Ok(1));
    }

    #[tokio::test]
    async fn a_name_that_nobody_knows_is_not_found() {
        let found = Addresses::find(&site("nobody.invalid", 1935), None).await;
        assert_eq!(found.map(drop), Err(UpstreamError::HostNotFound));
    }
}

use std::{net::SocketAddr, time::Duration};

use tokio::{
    net::{TcpStream, lookup_host},
    time::{Instant, timeout},
};

use super::{address::Site, trouble::Trouble};
use crate::domain::UrlPolicy;

/// How long a name may take to be found.
const LOOK_UP: Duration = Duration::from_secs(10);
/// How long a connection may take to stand, over all addresses of the host.
const CONNECT: Duration = Duration::from_secs(10);

/// The addresses of a site, each of which may be connected to; never empty.
#[derive(Debug, Clone)]
pub(super) struct Addresses(Vec<SocketAddr>);

impl Addresses {
    /// Finds the addresses of a site; with a policy, one that it forbids forbids them all.
    pub(super) async fn find(site: &Site, policy: Option<&UrlPolicy>) -> Result<Self, Trouble> {
        let found = timeout(LOOK_UP, lookup_host((site.host.as_str(), site.port))).await;
        let found: Vec<SocketAddr> = match found {
            Ok(Ok(found)) => found.collect(),
            Ok(Err(_)) | Err(_) => return Err(Trouble::HostNotFound),
        };
        if found.is_empty() {
            return Err(Trouble::HostNotFound);
        }
        for address in &found {
            policy
                .map_or(Ok(()), |policy| {
                    policy.check_connection(&site.host, *address)
                })
                .map_err(|invalid| Trouble::AddressForbidden(invalid.0.into_owned()))?;
        }
        Ok(Self(found))
    }

    /// All of them, in the order in which they are to be tried.
    pub(super) fn all(&self) -> &[SocketAddr] {
        &self.0
    }

    /// Connects to the first that answers.
    pub(super) async fn connect(&self) -> Result<TcpStream, Trouble> {
        let deadline = Instant::now() + CONNECT;
        let mut trouble = Trouble::ConnectTimeout;
        for (tried, address) in self.0.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(self.0.len() - tried).unwrap_or(1);
            trouble = match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => Trouble::connecting(&error),
                Err(_) => Trouble::ConnectTimeout,
            };
        }
        Err(trouble)
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
            assert!(matches!(found, Err(Trouble::AddressForbidden(_))), "{host}");
        }
        let found = Addresses::find(&site("127.0.0.1", 1935), None).await;
        assert_eq!(found.map(|found| found.all().len()), Ok(1));
    }

    #[tokio::test]
    async fn a_name_that_nobody_knows_is_not_found() {
        let found = Addresses::find(&site("nobody.invalid", 1935), None).await;
        assert_eq!(found.map(drop), Err(Trouble::HostNotFound));
    }
}

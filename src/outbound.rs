//! Connections to hosts that tenants name: destinations and webhooks.
//!
//! A name is resolved once. Its addresses are checked against the policy, and only these are
//! connected to, so that a name that changes its address in between leads nowhere else.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    net::{TcpStream, lookup_host},
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::domain::UrlPolicy;

/// The longest time of a name resolution.
const RESOLUTION_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time until a connection is established, over all addresses of the host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The interval of attempts to reach a server that is expected back, and the longest time of each.
/// The kernel repeats an unanswered request for a connection only after 1, 3 and 7 seconds.
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(250);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

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

    /// Connects to the first that answers, with an attempt every 250 ms while none does. An address
    /// that refuses a connection has answered, and is not tried again.
    pub(crate) async fn connect_when_back(&self) -> Result<TcpStream, OutboundError> {
        reach(&self.0, TcpStream::connect::<SocketAddr>).await
    }
}

/// When which address is attempted while none answers.
#[derive(Debug)]
struct Attempts {
    begin: Instant,
    /// Those that have not refused a connection.
    left: Vec<SocketAddr>,
    /// The number of attempts so far.
    made: u32,
}

impl Attempts {
    fn new(addresses: &[SocketAddr], begin: Instant) -> Self {
        Self {
            begin,
            left: addresses.to_vec(),
            made: 0,
        }
    }

    /// When the next attempt is due; `None` if all addresses have refused.
    fn due(&self) -> Option<Instant> {
        (!self.left.is_empty()).then(|| self.begin + ATTEMPT_INTERVAL * self.made)
    }

    /// The address of an attempt that begins.
    fn begin_one(&mut self) -> Option<SocketAddr> {
        let turn = self.made as usize;
        self.made += 1;
        let count = self.left.len();
        self.left.get(turn.checked_rem(count)?).copied()
    }

    fn refused(&mut self, address: SocketAddr) {
        self.left.retain(|other| *other != address);
    }
}

/// Attempts to reach one of the addresses, until one answers or all have refused.
async fn reach<C, F>(
    addresses: &[SocketAddr],
    attempt: impl Fn(SocketAddr) -> F,
) -> Result<C, OutboundError>
where
    C: Send + 'static,
    F: Future<Output = io::Result<C>> + Send + 'static,
{
    let mut attempts = Attempts::new(addresses, Instant::now());
    let mut running = JoinSet::new();
    let mut error = OutboundError::ConnectTimeout;
    let reaching = async {
        while let Some(due) = attempts.due() {
            tokio::select! {
                () = sleep_until(due) => {
                    let Some(address) = attempts.begin_one() else { break };
                    let connecting = timeout(ATTEMPT_TIMEOUT, attempt(address));
                    running.spawn(async move { (address, connecting.await) });
                }
                Some(Ok((address, Ok(answer)))) = running.join_next() => {
                    error = match answer {
                        Ok(connection) => return Ok(connection),
                        Err(error) => OutboundError::connecting(&error),
                    };
                    if error == OutboundError::ConnectionRefused {
                        attempts.refused(address);
                    }
                }
            }
        }
        Err(error)
    };
    let reached = timeout(CONNECT_TIMEOUT, reaching).await;
    reached.unwrap_or(Err(OutboundError::ConnectTimeout))
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    };

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

    fn addresses(count: u16) -> Vec<SocketAddr> {
        let address = |number| SocketAddr::from(([192, 0, 2, 1], number));
        (1..=count).map(address).collect()
    }

    #[test]
    fn whenever_a_server_is_back_an_attempt_follows_within_a_quarter_of_a_second() {
        let begin = Instant::now();
        let mut attempts = Attempts::new(&addresses(1), begin);
        let mut due = Vec::new();
        while let Some(next) = attempts.due().filter(|due| *due < begin + CONNECT_TIMEOUT) {
            due.push(next);
            assert!(attempts.begin_one().is_some());
        }
        assert_eq!(due.len(), 40, "four in a second, for ten seconds");
        for millis in 0..9_750 {
            let back = begin + Duration::from_millis(millis);
            let next = due.iter().find(|due| **due >= back).unwrap();
            assert!(*next - back <= Duration::from_millis(250), "{millis}");
        }
    }

    #[test]
    fn addresses_take_turns_except_those_that_have_refused() {
        let all = addresses(3);
        let mut attempts = Attempts::new(&all, Instant::now());
        let mut four = || [(); 4].map(|()| attempts.begin_one().unwrap().port());
        assert_eq!(four(), [1, 2, 3, 1]);
        attempts.refused(all[1]);
        let mut four = || [(); 4].map(|()| attempts.begin_one().unwrap().port());
        assert_eq!(four(), [1, 3, 1, 3]);
        attempts.refused(all[0]);
        attempts.refused(all[2]);
        assert_eq!((attempts.due(), attempts.begin_one()), (None, None));
    }

    #[tokio::test]
    async fn a_server_is_reached_by_an_attempt_that_begins_after_its_return() {
        let made = Arc::new(AtomicU16::new(0));
        let attempt = |_| {
            let number = made.fetch_add(1, Ordering::Relaxed);
            async move {
                // What was lost is never answered.
                match number {
                    0..3 => std::future::pending().await,
                    3 => Err(io::ErrorKind::NetworkUnreachable.into()),
                    _ => Ok(number),
                }
            }
        };
        assert_eq!(reach(&addresses(1), attempt).await, Ok(4));
    }

    #[tokio::test]
    async fn a_server_that_refuses_on_all_addresses_is_not_tried_again() {
        let made = Arc::new(AtomicU16::new(0));
        let attempt = |_| {
            made.fetch_add(1, Ordering::Relaxed);
            async { Err::<(), io::Error>(io::ErrorKind::ConnectionRefused.into()) }
        };
        let reached = reach(&addresses(2), attempt).await;
        assert_eq!(reached, Err(OutboundError::ConnectionRefused));
        assert_eq!(made.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_name_that_nobody_knows_is_not_found() {
        let found = Addresses::find(&site("nobody.invalid"), None).await;
        assert_eq!(found.map(drop), Err(OutboundError::HostNotFound));
    }
}

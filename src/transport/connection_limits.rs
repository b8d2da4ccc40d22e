use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::domain::PeerAddress;

/// How long an address counts as one of media servers or relay workers after a connection
/// on which one authenticated was opened.
const MACHINE_ADDRESS_AGE: Duration = Duration::from_hours(24);

/// The maximum number of such addresses; beyond it, the oldest is forgotten.
const MAX_MACHINE_ADDRESSES: usize = 4096;

/// The maximum numbers of concurrent connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// From all addresses together. If there are at least 64, the last eighth is for addresses
    /// of media servers and relay workers, and for trusted proxies.
    pub total: u32,
    /// From one address, of IPv6 from one /64.
    pub per_address: u32,
}

/// Gives out permits for connections, within the limits.
#[derive(Debug)]
pub(super) struct ConnectionLimiter {
    limits: ConnectionLimits,
    /// Networks without a limit per address: proxies connect for many callers.
    exempt: Arc<[IpNet]>,
    open: Mutex<OpenConnections>,
}

#[derive(Debug, Default)]
struct OpenConnections {
    total: u32,
    per_network: HashMap<PeerAddress, u32>,
    /// The networks of media servers and relay workers, and when one authenticated.
    machines: HashMap<PeerAddress, Instant>,
}

/// The permit of one connection, given back when dropped.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    limiter: Arc<ConnectionLimiter>,
    /// The network that the connection counts for; `None` if it is exempt.
    network: Option<PeerAddress>,
}

/// The limit that a new connection would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LimitReached {
    /// [`ConnectionLimits::total`].
    Total,
    /// [`ConnectionLimits::per_address`].
    Address,
}

impl ConnectionLimiter {
    /// A limiter that exempts some networks from the limit per address.
    pub fn new(limits: ConnectionLimits, exempt: Arc<[IpNet]>) -> Arc<Self> {
        Arc::new(Self {
            limits,
            exempt,
            open: Mutex::default(),
        })
    }

    /// Takes a permit for a connection of this peer.
    pub fn acquire(self: &Arc<Self>, peer: IpAddr) -> Result<ConnectionPermit, LimitReached> {
        let peer = PeerAddress::from(peer);
        let is_exempt = self.is_exempt(peer);
        let network = (!is_exempt).then(|| peer.network());

        let mut open = self.open.lock();
        let may_use_reserve = is_exempt || open.is_machine(peer.network());
        if open.total >= self.limits.total_for(may_use_reserve) {
            return Err(LimitReached::Total);
        }
        if let Some(network) = network {
            let count = open.per_network.entry(network).or_default();
            if *count >= self.limits.per_address {
                return Err(LimitReached::Address);
            }
            *count += 1;
        }
        open.total += 1;
        Ok(ConnectionPermit {
            limiter: Arc::clone(self),
            network,
        })
    }
}

impl ConnectionPermit {
    /// Whether the peer is exempt from the limit per address: a trusted proxy.
    pub fn is_exempt(&self) -> bool {
        self.network.is_none()
    }
}

impl ConnectionLimiter {
    /// Records that a media server or a relay worker has authenticated from this address.
    pub fn record_machine(&self, peer: IpAddr) {
        let peer = PeerAddress::from(peer);
        if self.is_exempt(peer) {
            return;
        }
        let network = peer.network();
        let machines = &mut self.open.lock().machines;
        if machines.len() >= MAX_MACHINE_ADDRESSES && !machines.contains_key(&network) {
            let oldest = machines.iter().min_by_key(|(_, at)| **at);
            let oldest = oldest.map(|(network, _)| *network);
            oldest.and_then(|oldest| machines.remove(&oldest));
        }
        machines.insert(network, Instant::now());
    }

    fn is_exempt(&self, peer: PeerAddress) -> bool {
        self.exempt.iter().any(|net| net.contains(&peer.ip()))
    }
}

impl ConnectionLimits {
    fn total_for(self, may_use_reserve: bool) -> u32 {
        match may_use_reserve {
            true => self.total,
            false => self.total - self.total / 64 * 8,
        }
    }
}

impl OpenConnections {
    fn is_machine(&self, network: PeerAddress) -> bool {
        let authenticated = self.machines.get(&network);
        authenticated.is_some_and(|at| at.elapsed() < MACHINE_ADDRESS_AGE)
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut open = self.limiter.open.lock();
        open.total -= 1;
        let Some(network) = self.network else { return };
        if let Entry::Occupied(mut count) = open.per_network.entry(network) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// Raises the soft limit of open files to the hard limit. Returns the limit that holds.
pub(super) fn raise_open_file_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let hard = maximum.unwrap_or(u64::MAX);
    let soft = current.unwrap_or(u64::MAX);
    if soft >= hard {
        return soft;
    }
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => hard,
        Err(error) => {
            tracing::warn!(%error, limit = soft, "cannot raise the limit of open files");
            soft
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{ConnectionLimiter, ConnectionLimits, ConnectionPermit, LimitReached};

    fn limiter(total: u32, per_address: u32) -> Arc<ConnectionLimiter> {
        let limits = ConnectionLimits { total, per_address };
        let proxies = ["10.0.0.0/8".parse().unwrap()];
        ConnectionLimiter::new(limits, Arc::new(proxies))
    }

    fn acquire(
        limiter: &Arc<ConnectionLimiter>,
        peer: &str,
    ) -> Result<ConnectionPermit, LimitReached> {
        limiter.acquire(peer.parse().unwrap())
    }

    #[test]
    fn an_address_gets_permits_up_to_its_limit_and_gives_them_back() {
        let limiter = limiter(10, 2);
        let first = acquire(&limiter, "192.0.2.1").unwrap();
        let _second = acquire(&limiter, "::ffff:192.0.2.1").unwrap();

        let refused = acquire(&limiter, "192.0.2.1").unwrap_err();
        assert_eq!(refused, LimitReached::Address);
        acquire(&limiter, "192.0.2.2").unwrap();
        drop(first);
        acquire(&limiter, "192.0.2.1").unwrap();
    }

    #[test]
    fn an_ipv6_network_of_64_bits_counts_as_one_address() {
        let limiter = limiter(10, 1);
        let _first = acquire(&limiter, "2001:db8:0:1::1").unwrap();

        let refused = acquire(&limiter, "2001:db8:0:1::2").unwrap_err();
        assert_eq!(refused, LimitReached::Address);
        acquire(&limiter, "2001:db8:0:2::1").unwrap();
    }

    #[test]
    fn the_last_eighth_is_for_addresses_where_a_machine_has_authenticated_and_for_proxies() {
        let limiter = limiter(64, 64);
        let _machine = acquire(&limiter, "192.0.2.1").unwrap();
        limiter.record_machine("192.0.2.1".parse().unwrap());
        let _others = [(); 55].map(|()| acquire(&limiter, "192.0.2.2").unwrap());

        let refused = acquire(&limiter, "192.0.2.2").unwrap_err();
        assert_eq!(refused, LimitReached::Total);
        let _of_machines = [(); 7].map(|()| acquire(&limiter, "192.0.2.1").unwrap());
        let _of_proxy = acquire(&limiter, "10.0.0.1").unwrap();
        let refused = acquire(&limiter, "192.0.2.1").unwrap_err();
        assert_eq!(refused, LimitReached::Total);
    }

    #[test]
    fn trusted_proxies_are_exempt_from_the_limit_per_address() {
        let limiter = limiter(3, 1);
        let permits = [1, 2, 3].map(|_| acquire(&limiter, "10.0.0.1").unwrap());

        let refused = acquire(&limiter, "10.0.0.1").unwrap_err();
        assert_eq!(refused, LimitReached::Total);
        drop(permits);
        assert!(limiter.open.lock().per_network.is_empty());
    }
}

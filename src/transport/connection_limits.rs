use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::time::Instant;

use super::{
    connection_pace::{ConnectionPace, Turns},
    peer::{Peer, TrustedProxy},
};

/// How long an address counts as one of media servers or relay workers after a connection
/// on which one authenticated was opened.
const MACHINE_ADDRESS_AGE: Duration = Duration::from_hours(24);

/// The maximum number of such addresses; beyond it, the oldest is forgotten.
const MAX_MACHINE_ADDRESSES: usize = 4096;

/// How long a connection may wait for its turn. One that would wait longer is refused: its
/// client comes back later.
const MAX_TURN_DELAY: Duration = Duration::from_secs(1);

/// The number of addresses without a connection that are remembered for their pace, before
/// those that have their full burst again are forgotten.
const MIN_REMEMBERED: usize = 1024;

/// The limits of connections. Those of an address do not apply to trusted proxies, because they
/// connect for many callers. All peers of Unix sockets count as one address.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// From all addresses together. If there are at least 64, the last eighth is for addresses
    /// of media servers and relay workers, and for trusted proxies.
    pub total: u32,
    /// From one address, of IPv6 from one /64.
    pub per_address: u32,
    /// The same, of connections on which no call has had a valid access token. Addresses of
    /// media servers and relay workers are exempt.
    pub anonymous_per_address: u32,
    /// How fast the connections of one address are served. Addresses of media servers and
    /// relay workers are exempt.
    pub pace: ConnectionPace,
}

/// Gives out permits for connections, within the limits.
#[derive(Debug)]
pub(super) struct ConnectionLimiter {
    limits: ConnectionLimits,
    /// The trusted proxies.
    exempt: Arc<[TrustedProxy]>,
    open: Mutex<OpenConnections>,
}

#[derive(Debug, Default)]
struct OpenConnections {
    total: u32,
    per_network: HashMap<Peer, OfNetwork>,
    /// The number of networks at which those are forgotten that need not be remembered.
    forget_at: usize,
    /// The networks of media servers and relay workers, and when one authenticated.
    machines: HashMap<Peer, Instant>,
}

/// The connections of one network.
#[derive(Debug, Default)]
struct OfNetwork {
    open: u32,
    /// How many of them are anonymous.
    anonymous: u32,
    turns: Turns,
}

/// The permit of one connection, given back when dropped.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    limiter: Arc<ConnectionLimiter>,
    peer: Peer,
    /// The network that the connection counts for; `None` if it is exempt.
    network: Option<Peer>,
    is_anonymous: AtomicBool,
    turn: Instant,
}

/// The limit that a new connection would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LimitReached {
    /// [`ConnectionLimits::total`].
    Total,
    /// [`ConnectionLimits::per_address`].
    Address,
    /// [`ConnectionLimits::anonymous_per_address`].
    Anonymous,
    /// [`ConnectionLimits::pace`].
    Pace,
}

impl ConnectionLimiter {
    /// A limiter that exempts some peers from the limits of an address.
    pub fn new(limits: ConnectionLimits, exempt: Arc<[TrustedProxy]>) -> Arc<Self> {
        Arc::new(Self {
            limits,
            exempt,
            open: Mutex::default(),
        })
    }

    /// Takes a permit for a connection of this peer.
    pub fn acquire(self: &Arc<Self>, peer: Peer) -> Result<ConnectionPermit, LimitReached> {
        let network = (!self.is_exempt(peer)).then(|| peer.network());
        let now = Instant::now();

        let mut open = self.open.lock();
        let is_machine = network.is_none_or(|network| open.is_machine(network));
        if open.total >= self.limits.total_for(is_machine) {
            return Err(LimitReached::Total);
        }
        let turn = match network {
            Some(network) => {
                open.forget_idle_networks(now);
                let of_network = open.per_network.entry(network).or_default();
                of_network.begin(&self.limits, is_machine, now)?
            }
            None => now,
        };
        open.total += 1;
        Ok(ConnectionPermit {
            limiter: Arc::clone(self),
            peer,
            network,
            is_anonymous: AtomicBool::new(true),
            turn,
        })
    }

    fn is_exempt(&self, peer: Peer) -> bool {
        self.exempt.iter().any(|proxy| proxy.includes(peer))
    }
}

impl ConnectionPermit {
    /// Whether the peer is exempt from the limits of an address: a trusted proxy.
    pub fn is_exempt(&self) -> bool {
        self.network.is_none()
    }

    /// When the connection may be served.
    pub fn turn(&self) -> Instant {
        self.turn
    }

    /// Records that a call had a valid access token: the connection is not anonymous any more.
    pub fn record_authenticated(&self) {
        // Most calls find it recorded, and write nothing.
        if !self.is_anonymous.load(Ordering::Relaxed)
            || !self.is_anonymous.swap(false, Ordering::Relaxed)
        {
            return;
        }
        let Some(network) = self.network else { return };
        let mut open = self.limiter.open.lock();
        if let Some(of_network) = open.per_network.get_mut(&network) {
            of_network.anonymous -= 1;
        }
    }

    /// Records that a media server or a relay worker has authenticated from this address.
    pub fn record_machine(&self) {
        let Some(network) = self.network else { return };
        let machines = &mut self.limiter.open.lock().machines;
        if machines.len() >= MAX_MACHINE_ADDRESSES && !machines.contains_key(&network) {
            let oldest = machines.iter().min_by_key(|(_, at)| **at);
            let oldest = oldest.map(|(network, _)| *network);
            oldest.and_then(|oldest| machines.remove(&oldest));
        }
        machines.insert(network, Instant::now());
    }

    /// The peer.
    pub fn peer(&self) -> Peer {
        self.peer
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
    fn is_machine(&self, network: Peer) -> bool {
        let authenticated = self.machines.get(&network);
        authenticated.is_some_and(|at| at.elapsed() < MACHINE_ADDRESS_AGE)
    }

    /// Forgets networks without a connection and with their full burst, from time to time.
    fn forget_idle_networks(&mut self, now: Instant) {
        if self.per_network.len() < self.forget_at.max(MIN_REMEMBERED) {
            return;
        }
        self.per_network
            .retain(|_, one| one.open > 0 || !one.turns.are_over(now));
        self.forget_at = 2 * self.per_network.len();
    }
}

impl OfNetwork {
    /// Counts a new connection; returns when it may be served.
    fn begin(
        &mut self,
        limits: &ConnectionLimits,
        is_machine: bool,
        now: Instant,
    ) -> Result<Instant, LimitReached> {
        if self.open >= limits.per_address {
            return Err(LimitReached::Address);
        }
        if self.anonymous >= limits.anonymous_per_address && !is_machine {
            return Err(LimitReached::Anonymous);
        }
        let turn = match is_machine {
            true => now,
            false => self.turns.take(limits.pace, now),
        };
        if turn > now + MAX_TURN_DELAY {
            self.turns.give_back(limits.pace);
            return Err(LimitReached::Pace);
        }
        self.open += 1;
        self.anonymous += 1;
        Ok(turn)
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut open = self.limiter.open.lock();
        open.total -= 1;
        let Some(network) = self.network else { return };
        if let Entry::Occupied(mut entry) = open.per_network.entry(network) {
            let of_network = entry.get_mut();
            of_network.open -= 1;
            of_network.anonymous -= u32::from(*self.is_anonymous.get_mut());
            if self.turn > now {
                of_network.turns.give_back(self.limiter.limits.pace);
            }
            if of_network.open == 0 && of_network.turns.are_over(now) {
                entry.remove();
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
    use std::{
        net::{IpAddr, Ipv4Addr},
        sync::Arc,
        time::Duration,
    };

    use tokio::time::Instant;

    use super::{
        ConnectionLimiter, ConnectionLimits, ConnectionPace, ConnectionPermit, LimitReached,
        MIN_REMEMBERED, OfNetwork, OpenConnections,
    };

    fn limiter(total: u32, per_address: u32) -> Arc<ConnectionLimiter> {
        limiter_with(ConnectionLimits {
            total,
            per_address,
            anonymous_per_address: per_address,
            pace: ConnectionPace::UNLIMITED,
        })
    }

    fn limiter_with(limits: ConnectionLimits) -> Arc<ConnectionLimiter> {
        let proxies = ["10.0.0.0/8".parse().unwrap()];
        ConnectionLimiter::new(limits, Arc::new(proxies))
    }

    fn acquire(
        limiter: &Arc<ConnectionLimiter>,
        peer: &str,
    ) -> Result<ConnectionPermit, LimitReached> {
        let address: IpAddr = peer.parse().unwrap();
        limiter.acquire(address.into())
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
        let machine = acquire(&limiter, "192.0.2.1").unwrap();
        machine.record_machine();
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

    #[test]
    fn connections_with_a_valid_token_do_not_count_as_anonymous() {
        let limiter = limiter_with(ConnectionLimits {
            total: 10,
            per_address: 4,
            anonymous_per_address: 2,
            pace: ConnectionPace::UNLIMITED,
        });
        let first = acquire(&limiter, "192.0.2.1").unwrap();
        let second = acquire(&limiter, "192.0.2.1").unwrap();
        let refused = acquire(&limiter, "192.0.2.1").unwrap_err();
        assert_eq!(refused, LimitReached::Anonymous);

        first.record_authenticated();
        first.record_authenticated();
        let third = acquire(&limiter, "192.0.2.1").unwrap();
        assert_eq!(
            acquire(&limiter, "192.0.2.1").unwrap_err(),
            LimitReached::Anonymous
        );
        second.record_authenticated();
        let _fourth = acquire(&limiter, "192.0.2.1").unwrap();
        third.record_authenticated();
        assert_eq!(
            acquire(&limiter, "192.0.2.1").unwrap_err(),
            LimitReached::Address
        );
    }

    #[test]
    fn addresses_of_machines_neither_wait_nor_have_a_limit_of_anonymous_connections() {
        let limiter = limiter_with(ConnectionLimits {
            total: 10,
            per_address: 4,
            anonymous_per_address: 1,
            pace: ConnectionPace {
                per_second: 1,
                burst: 1,
            },
        });
        let first = acquire(&limiter, "192.0.2.1").unwrap();
        first.record_machine();

        let more = [(); 3].map(|()| acquire(&limiter, "192.0.2.1").unwrap());
        let other = acquire(&limiter, "192.0.2.2").unwrap();
        drop(other);
        let waiting = acquire(&limiter, "192.0.2.2").unwrap();
        assert!(waiting.turn() > Instant::now());
        assert!(more.iter().all(|one| one.turn() <= Instant::now()));
    }

    #[test]
    fn an_address_is_remembered_until_it_has_its_burst_again() {
        let pace = ConnectionPace {
            per_second: 1,
            burst: 1,
        };
        let now = Instant::now();
        let mut open = OpenConnections::default();
        for number in 0..MIN_REMEMBERED as u32 {
            let mut of_network = OfNetwork::default();
            of_network.turns.take(pace, now);
            let address = IpAddr::V4(Ipv4Addr::from_bits(number));
            open.per_network.insert(address.into(), of_network);
        }

        open.forget_idle_networks(now);
        assert_eq!(open.per_network.len(), MIN_REMEMBERED);
        open.forget_at = 0;
        open.forget_idle_networks(now + Duration::from_secs(1));
        assert!(open.per_network.is_empty());
    }
}

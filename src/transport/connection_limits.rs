use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ipnet::IpNet;

use crate::domain::PeerAddress;

/// How many connections there may be.
#[derive(Debug, Clone, Copy)]
pub struct Caps {
    /// From everywhere.
    pub all: u32,
    /// From one address, of IPv6 from one /64.
    pub each: u32,
}

/// How many connections there are, of how many there may be.
#[derive(Debug)]
pub(super) struct Places {
    caps: Caps,
    /// Many come through one address of theirs.
    uncounted: Arc<[IpNet]>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: u32,
    each: HashMap<PeerAddress, u32>,
}

/// The place of a connection; free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    counted: Option<PeerAddress>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// There are as many connections as there may be.
    All,
    /// There are as many from this address as there may be.
    Address,
}

impl Places {
    /// As many places; those who come from these networks are not counted by address.
    pub fn new(caps: Caps, uncounted: Arc<[IpNet]>) -> Arc<Self> {
        Arc::new(Self {
            caps,
            uncounted,
            taken: Mutex::default(),
        })
    }

    /// Takes a place.
    pub fn take(self: &Arc<Self>, peer: IpAddr) -> Result<Place, Full> {
        let peer = PeerAddress::from(peer);
        let is_counted = !self.uncounted.iter().any(|net| net.contains(&peer.ip()));
        let counted = is_counted.then(|| peer.network());

        let mut taken = self.lock();
        if taken.all >= self.caps.all {
            return Err(Full::All);
        }
        if let Some(network) = counted {
            let each = taken.each.entry(network).or_default();
            if *each >= self.caps.each {
                return Err(Full::Address);
            }
            *each += 1;
        }
        taken.all += 1;
        Ok(Place {
            places: Arc::clone(self),
            counted,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all -= 1;
        let Some(network) = self.counted else { return };
        if let Entry::Occupied(mut each) = taken.each.entry(network) {
            *each.get_mut() -= 1;
            if *each.get() == 0 {
                each.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Caps, Full, Place, Places};

    fn places(all: u32, each: u32) -> Arc<Places> {
        let proxies = ["10.0.0.0/8".parse().unwrap()];
        Places::new(Caps { all, each }, Arc::new(proxies))
    }

    fn take(places: &Arc<Places>, peer: &str) -> Result<Place, Full> {
        places.take(peer.parse().unwrap())
    }

    #[test]
    fn an_address_has_as_many_places_as_it_may_and_gets_them_back() {
        let places = places(10, 2);
        let first = take(&places, "192.0.2.1").unwrap();
        let _second = take(&places, "::ffff:192.0.2.1").unwrap();

        assert_eq!(take(&places, "192.0.2.1").unwrap_err(), Full::Address);
        take(&places, "192.0.2.2").unwrap();
        drop(first);
        take(&places, "192.0.2.1").unwrap();
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let places = places(10, 1);
        let _first = take(&places, "2001:db8:0:1::1").unwrap();

        assert_eq!(take(&places, "2001:db8:0:1::2").unwrap_err(), Full::Address);
        take(&places, "2001:db8:0:2::1").unwrap();
    }

    #[test]
    fn trusted_proxies_are_not_counted_by_address() {
        let places = places(3, 1);
        let taken = [1, 2, 3].map(|_| take(&places, "10.0.0.1").unwrap());

        assert_eq!(take(&places, "10.0.0.1").unwrap_err(), Full::All);
        drop(taken);
        assert!(places.lock().each.is_empty());
    }
}

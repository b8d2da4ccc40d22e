//! Who calls, where proxies stand in front.
//!
//! `x-forwarded-for` is believed only as far as trusted proxies wrote it: each
//! one appends the address that it saw, so the header is read from the right,
//! and the first address that is not a trusted proxy's is the caller's. What
//! stands left of it was sent by the caller, who may write what he likes.

use std::{
    net::IpAddr,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderMap, HeaderName, Request};
use ipnet::IpNet;
use tower::{Layer, Service};

use crate::{domain::PeerAddress, transport::Connection};

/// The header of proxies; several headers are one list.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Puts the caller's [`PeerAddress`] into the extensions of each request.
#[derive(Debug, Clone)]
pub struct PeerAddressLayer {
    trusted: Arc<[IpNet]>,
}

/// See [`PeerAddressLayer`].
#[derive(Debug, Clone)]
pub struct FindPeerAddress<S> {
    inner: S,
    trusted: Arc<[IpNet]>,
}

impl PeerAddressLayer {
    /// Believes the proxies in these networks.
    pub fn new(trusted: &[IpNet]) -> Self {
        Self {
            trusted: trusted.into(),
        }
    }
}

impl<S> Layer<S> for PeerAddressLayer {
    type Service = FindPeerAddress<S>;

    fn layer(&self, inner: S) -> FindPeerAddress<S> {
        FindPeerAddress {
            inner,
            trusted: Arc::clone(&self.trusted),
        }
    }
}

impl<S, B> Service<Request<B>> for FindPeerAddress<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        if let Some(connection) = request.extensions().get::<Connection>() {
            let address = caller_behind(connection.peer(), request.headers(), &self.trusted);
            request.extensions_mut().insert(address);
        }
        self.inner.call(request)
    }
}

/// The first address from the right that is not a trusted proxy's; the last one
/// that is if there is no other, or what stands there is no address.
fn caller_behind(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> PeerAddress {
    let mut address = PeerAddress::from(peer);
    let headers: Vec<_> = headers.get_all(FORWARDED_FOR).iter().collect();
    let hops = headers
        .iter()
        .rev()
        .flat_map(|header| header.as_bytes().rsplit(|byte| *byte == b','));
    for hop in hops {
        if !trusted
            .iter()
            .any(|network| network.contains(&address.ip()))
        {
            break;
        }
        let Some(before) = read(hop) else { break };
        address = before;
    }
    address
}

fn read(hop: &[u8]) -> Option<PeerAddress> {
    str::from_utf8(hop.trim_ascii()).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};
    use rstest::rstest;

    use super::caller_behind;

    #[rstest]
    #[case::a_stranger_is_not_believed("203.0.113.9", &["198.51.100.1"], "203.0.113.9")]
    #[case::no_header("10.0.0.1", &[], "10.0.0.1")]
    #[case::one_proxy("10.0.0.1", &["198.51.100.1"], "198.51.100.1")]
    #[case::two_proxies("10.0.0.1", &["198.51.100.1, 10.0.0.2"], "198.51.100.1")]
    #[case::two_headers("10.0.0.1", &["198.51.100.1", "10.0.0.3,10.0.0.2"], "198.51.100.1")]
    #[case::what_the_caller_sent("10.0.0.1", &["1.1.1.1, 198.51.100.1"], "198.51.100.1")]
    #[case::what_the_caller_sent_first("10.0.0.1", &["1.1.1.1", "198.51.100.1"], "198.51.100.1")]
    #[case::garbage_on_the_left("10.0.0.1", &["<script>, 198.51.100.1"], "198.51.100.1")]
    #[case::garbage_on_the_right("10.0.0.1", &["198.51.100.1, unknown"], "10.0.0.1")]
    #[case::garbage_between("10.0.0.1", &["198.51.100.1, ?, 10.0.0.2"], "10.0.0.2")]
    #[case::not_even_text("10.0.0.1", &["\u{e9}"], "10.0.0.1")]
    #[case::empty("10.0.0.1", &[""], "10.0.0.1")]
    #[case::a_comma_too_many("10.0.0.1", &["198.51.100.1,"], "10.0.0.1")]
    #[case::with_a_port("10.0.0.1", &["198.51.100.1:80"], "10.0.0.1")]
    #[case::only_proxies("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3")]
    #[case::ipv6("10.0.0.1", &["2001:db8::7"], "2001:db8::7")]
    #[case::a_proxy_of_ipv6("fd00::1", &["2001:db8::7, fd00::2"], "2001:db8::7")]
    #[case::ipv4_in_ipv6("::ffff:10.0.0.1", &["::ffff:198.51.100.1"], "198.51.100.1")]
    #[case::a_proxy_as_ipv4_in_ipv6("10.0.0.1", &["198.51.100.1, ::ffff:10.0.0.2"], "198.51.100.1")]
    fn the_caller_is_the_first_address_from_the_right_that_no_trusted_proxy_has(
        #[case] peer: &str,
        #[case] headers: &[&str],
        #[case] caller: &str,
    ) {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap());
        let mut map = HeaderMap::new();
        for header in headers {
            map.append(
                "x-forwarded-for",
                HeaderValue::from_bytes(header.as_bytes()).unwrap(),
            );
        }

        let found = caller_behind(peer.parse().unwrap(), &map, &trusted);

        assert_eq!(found.to_string(), caller);
    }
}

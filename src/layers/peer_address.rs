//! The address of the caller, behind proxies.
//!
//! `x-forwarded-for` is trusted only as far as trusted proxies wrote it. Each proxy
//! appends the address of its peer, so the header is read from the right: the first
//! address that is not a trusted proxy is the caller. The caller itself may have sent
//! anything to the left of it.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderMap, HeaderName, Request};
use tower::Service;

use crate::{
    domain::PeerAddress,
    transport::{Connection, Peer, TrustedProxy},
};

/// The header that proxies append to; several headers form one list.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Puts the caller's [`PeerAddress`] into the extensions of each request, unless it calls over a
/// Unix socket and no trusted proxy there says where it is.
#[derive(Debug, Clone)]
pub(super) struct ResolvePeerAddress<S> {
    pub inner: S,
    pub trusted_proxies: Arc<[TrustedProxy]>,
}

impl<S, B> Service<Request<B>> for ResolvePeerAddress<S>
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
            let caller = resolve(connection.peer(), request.headers(), &self.trusted_proxies);
            if let Some(address) = caller.address() {
                request.extensions_mut().insert(address);
            }
        }
        self.inner.call(request)
    }
}

/// The first address from the right that is not a trusted proxy. If there is none, or the
/// next entry is no address, it is the leftmost trusted proxy so far.
fn resolve(mut peer: Peer, headers: &HeaderMap, trusted: &[TrustedProxy]) -> Peer {
    let headers: Vec<_> = headers.get_all(FORWARDED_FOR).iter().collect();
    let hops = headers
        .iter()
        .rev()
        .flat_map(|header| header.as_bytes().rsplit(|byte| *byte == b','));
    for hop in hops {
        if !trusted.iter().any(|proxy| proxy.includes(peer)) {
            break;
        }
        let Some(previous) = parse(hop) else { break };
        peer = Peer::Address(previous);
    }
    peer
}

fn parse(hop: &[u8]) -> Option<PeerAddress> {
    str::from_utf8(hop.trim_ascii()).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};
    use rstest::rstest;

    use super::{Peer, TrustedProxy, resolve};

    #[rstest]
    #[case::an_untrusted_peer("203.0.113.9", &["198.51.100.1"], "203.0.113.9")]
    #[case::no_header("10.0.0.1", &[], "10.0.0.1")]
    #[case::one_proxy("10.0.0.1", &["198.51.100.1"], "198.51.100.1")]
    #[case::two_proxies("10.0.0.1", &["198.51.100.1, 10.0.0.2"], "198.51.100.1")]
    #[case::two_headers("10.0.0.1", &["198.51.100.1", "10.0.0.3,10.0.0.2"], "198.51.100.1")]
    #[case::forged_by_the_caller("10.0.0.1", &["1.1.1.1, 198.51.100.1"], "198.51.100.1")]
    #[case::forged_in_a_header_before("10.0.0.1", &["1.1.1.1", "198.51.100.1"], "198.51.100.1")]
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
    fn the_caller_is_the_first_address_from_the_right_that_is_no_trusted_proxy(
        #[case] peer: &str,
        #[case] headers: &[&str],
        #[case] caller: &str,
    ) {
        let found = resolve(address(peer), &header_map(headers), &trusted());

        assert_eq!(found.to_string(), caller);
    }

    #[rstest]
    #[case::no_header(true, &[], "unix")]
    #[case::a_caller(true, &["198.51.100.1"], "198.51.100.1")]
    #[case::a_proxy_before(true, &["1.1.1.1, 198.51.100.1, 10.0.0.2"], "198.51.100.1")]
    #[case::garbage(true, &["unix"], "unix")]
    #[case::not_trusted(false, &["198.51.100.1"], "unix")]
    fn a_peer_of_a_unix_socket_says_where_its_caller_is_if_it_is_trusted(
        #[case] is_trusted: bool,
        #[case] headers: &[&str],
        #[case] caller: &str,
    ) {
        let mut trusted = trusted();
        trusted.retain(|proxy| is_trusted || *proxy != TrustedProxy::UnixSocket);

        let found = resolve(Peer::UnixSocket, &header_map(headers), &trusted);

        assert_eq!(found.to_string(), caller);
    }

    fn address(text: &str) -> Peer {
        Peer::Address(text.parse().unwrap())
    }

    fn trusted() -> Vec<TrustedProxy> {
        ["10.0.0.0/8", "fd00::/8", "unix"]
            .map(|proxy| proxy.parse().unwrap())
            .into()
    }

    fn header_map(headers: &[&str]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for header in headers {
            map.append(
                "x-forwarded-for",
                HeaderValue::from_bytes(header.as_bytes()).unwrap(),
            );
        }
        map
    }
}

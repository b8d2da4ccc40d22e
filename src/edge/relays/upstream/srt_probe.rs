//! The first exchange of the SRT handshake (draft-sharabayko-srt-01, section 4.3.1): the caller
//! asks, and a listener answers with a cookie. Nothing about the stream is sent.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{net::UdpSocket, time::timeout};

use super::error::UpstreamError;
use crate::outbound::{Addresses, OutboundError};

/// The type of a control packet with a handshake.
const HANDSHAKE: u32 = 0x8000_0000;
const HEADER_BYTES: usize = 16;
const PACKET_BYTES: usize = 64;

/// Fields of the handshake that a caller sends first.
const CALLER_VERSION: u32 = 4;
const DATAGRAM_SOCKET: u32 = 2;
const MTU: u32 = 1500;
const FLOW_WINDOW: u32 = 8192;
const INDUCTION: u32 = 1;
const INDUCTION_AT: usize = HEADER_BYTES + 20;

/// Datagrams may be lost: the number of tries for an address, and the time for an answer.
const TRIES: usize = 4;
const ANSWER_TIMEOUT: Duration = Duration::from_millis(700);

/// Whether an SRT listener answers at one of the addresses.
pub(crate) async fn probe_srt(addresses: &Addresses) -> Result<(), UpstreamError> {
    let mut error = UpstreamError::ConnectTimeout;
    for address in addresses.all() {
        match probe(*address).await {
            Ok(()) => return Ok(()),
            Err(failed) => error = failed,
        }
    }
    Err(error)
}

async fn probe(address: SocketAddr) -> Result<(), UpstreamError> {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let failed = |error: std::io::Error| UpstreamError::from(OutboundError::connecting(&error));
    let socket = UdpSocket::bind((any, 0)).await.map_err(failed)?;
    socket.connect(address).await.map_err(failed)?;
    for _ in 0..TRIES {
        // An error is one of the datagram before, and says that nothing listens.
        socket.send(&request()).await.map_err(failed)?;
        let mut answer = [0; 1500];
        match timeout(ANSWER_TIMEOUT, socket.recv(&mut answer)).await {
            Ok(Ok(count)) if is_answer(&answer[..count]) => return Ok(()),
            Ok(Ok(_)) => {
                return Err(UpstreamError::Lost("the server does not speak SRT".into()));
            }
            Ok(Err(error)) => return Err(failed(error)),
            Err(_) => {}
        }
    }
    Err(UpstreamError::ConnectTimeout)
}

fn request() -> Vec<u8> {
    let header = [HANDSHAKE, 0, 0, 0];
    // The socket id must not be 0.
    let handshake = [
        CALLER_VERSION,
        DATAGRAM_SOCKET,
        0,
        MTU,
        FLOW_WINDOW,
        INDUCTION,
        1,
        0,
    ];
    let words = header.into_iter().chain(handshake);
    let mut packet: Vec<u8> = words.flat_map(u32::to_be_bytes).collect();
    // The address of the caller, which listeners do not need.
    packet.resize(PACKET_BYTES, 0);
    packet
}

fn is_answer(packet: &[u8]) -> bool {
    let word = |at: usize| Some(u32::from_be_bytes(*packet.get(at..)?.first_chunk()?));
    packet.len() >= PACKET_BYTES
        && word(0) == Some(HANDSHAKE)
        && word(INDUCTION_AT) == Some(INDUCTION)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::Site;

    async fn addresses_of(socket: &UdpSocket) -> Addresses {
        let site = Site {
            host: "127.0.0.1".to_owned(),
            port: socket.local_addr().unwrap().port(),
        };
        Addresses::resolve(&site).await.unwrap()
    }

    #[tokio::test]
    async fn a_listener_is_one_that_answers_a_handshake() {
        for (answer, is_listener) in [(request(), true), (vec![7; 64], false), (vec![], false)] {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let addresses = addresses_of(&socket).await;
            let answering = async {
                let mut packet = [0; 100];
                let (count, caller) = socket.recv_from(&mut packet).await.unwrap();
                assert!(is_answer(&packet[..count]));
                socket.send_to(&answer, caller).await.unwrap();
                std::future::pending::<()>().await;
            };
            tokio::select! {
                found = probe_srt(&addresses) => assert_eq!(found.is_ok(), is_listener),
                () = answering => {}
            }
        }
    }

    #[tokio::test]
    async fn a_silent_or_closed_port_is_none() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let addresses = addresses_of(&silent).await;
        assert_eq!(
            probe_srt(&addresses).await,
            Err(UpstreamError::ConnectTimeout)
        );
        drop(silent);
        assert_eq!(
            probe_srt(&addresses).await,
            Err(UpstreamError::ConnectionRefused)
        );
    }
}

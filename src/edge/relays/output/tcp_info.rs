use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
    time::Duration,
};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

/// `SOCK_DIAG_BY_FAMILY` of `linux/sock_diag.h`.
const DIAG_BY_FAMILY: u16 = 20;
const REQUEST_FLAG: u16 = 1;
/// The attribute with `struct tcp_info`, and its bit in a request.
const INFO_ATTRIBUTE: u16 = 2;
const INFO_BIT: u8 = 1 << (INFO_ATTRIBUTE - 1);

const FAMILY_V4: u8 = 2;
const FAMILY_V6: u8 = 10;
const PROTOCOL_TCP: u8 = 6;

/// The lengths of `nlmsghdr` and `inet_diag_msg`.
const MESSAGE_HEADER_BYTES: usize = 16;
const DIAG_BYTES: usize = 72;
/// Of `inet_diag_msg`: the bytes that are not acknowledged yet, sent or not.
const WRITE_QUEUE_AT: usize = 60;
/// Of `tcp_info`: how often the kernel has sent the oldest segment again without an answer, and how
/// often it has asked in vain whether the peer receives again; the milliseconds since it last sent
/// something, and since the last answer.
const RETRANSMITS_AT: usize = 2;
const PROBES_AT: usize = 3;
const LAST_DATA_SENT_AT: usize = 44;
const LAST_ACK_RECV_AT: usize = 56;
/// The acknowledged bytes, since Linux 4.1, and those that the kernel has not sent yet, since Linux
/// 4.6; the segments that were sent again.
const TOTAL_RETRANS_AT: usize = 100;
const BYTES_ACKED_AT: usize = 120;
const NOTSENT_BYTES_AT: usize = 144;

/// The number of questions, and the time since the last one, after which a peer without an answer
/// counts as silent: one may be on its way.
const MIN_QUESTIONS: u8 = 2;
const ANSWER_TIMEOUT_MS: u32 = 500;

/// The state of a TCP connection, from the kernel's `TCP_INFO`.
///
/// It is read over a netlink socket (`sock_diag(7)`), for which the standard library and
/// rustix have safe functions; they have none for `getsockopt(TCP_INFO)`.
#[derive(Debug)]
pub(super) struct TcpInfo {
    netlink: OwnedFd,
    request: Vec<u8>,
}

/// The bytes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TcpBytes {
    /// Acknowledged by the peer.
    pub(super) acknowledged: u64,
    /// Written, but not acknowledged.
    pub(super) outstanding: u64,
    /// Of these, the bytes that the kernel has not sent yet.
    pub(super) unsent: u64,
    /// The segments that were sent again.
    pub(super) retransmitted_segments: u64,
    /// For how long the peer has answered nothing, although it was asked repeatedly. A peer that
    /// receives nothing, but says so, answers.
    pub(super) unanswered: Duration,
}

impl TcpInfo {
    /// For the connection between these addresses.
    pub(super) fn of(local: SocketAddr, peer: SocketAddr) -> io::Result<Self> {
        let netlink = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(netlink::SOCK_DIAG),
        )?;
        let request = request(local, peer);
        Ok(Self { netlink, request })
    }

    /// Its bytes now. An error if it is closed, or the kernel does not tell.
    pub(super) fn bytes(&self) -> io::Result<TcpBytes> {
        send(&self.netlink, &self.request, SendFlags::empty())?;
        let mut response = [0; 4096];
        // The kernel answers within the call before.
        let (count, _) = recv(&self.netlink, &mut response, RecvFlags::DONTWAIT)?;
        let unknown = || io::Error::other("the kernel does not tell the state of a connection");
        parse(&response[..count]).ok_or_else(unknown)
    }
}

fn request(local: SocketAddr, peer: SocketAddr) -> Vec<u8> {
    let family = if local.is_ipv4() {
        FAMILY_V4
    } else {
        FAMILY_V6
    };
    let mut body = vec![family, PROTOCOL_TCP, INFO_BIT, 0];
    // All states.
    body.extend(u32::MAX.to_ne_bytes());
    body.extend(local.port().to_be_bytes());
    body.extend(peer.port().to_be_bytes());
    body.extend(address(local.ip()));
    body.extend(address(peer.ip()));
    // Any interface and any cookie.
    body.extend(0_u32.to_ne_bytes());
    body.extend([0xff; 8]);

    let length = u32::try_from(MESSAGE_HEADER_BYTES + body.len()).unwrap_or(u32::MAX);
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(DIAG_BY_FAMILY.to_ne_bytes());
    message.extend(REQUEST_FLAG.to_ne_bytes());
    // The sequence number and the port id, which are not used.
    message.extend([0; 8]);
    message.extend(body);
    message
}

fn address(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&ip.octets());
            bytes
        }
        IpAddr::V6(ip) => ip.octets(),
    }
}

fn parse(response: &[u8]) -> Option<TcpBytes> {
    let kind = response.get(4..)?.first_chunk().copied()?;
    if u16::from_ne_bytes(kind) != DIAG_BY_FAMILY {
        return None;
    }
    let diag = response.get(MESSAGE_HEADER_BYTES..)?;
    let outstanding = u32::from_ne_bytes(*diag.get(WRITE_QUEUE_AT..)?.first_chunk()?);
    let mut attributes = diag.get(DIAG_BYTES..)?;
    loop {
        let length = usize::from(u16::from_ne_bytes(*attributes.first_chunk()?));
        let kind = u16::from_ne_bytes(*attributes.get(2..)?.first_chunk()?);
        if kind == INFO_ATTRIBUTE {
            let info = attributes.get(4..length)?;
            let acknowledged = u64::from_ne_bytes(*info.get(BYTES_ACKED_AT..)?.first_chunk()?);
            let again = u32::from_ne_bytes(*info.get(TOTAL_RETRANS_AT..)?.first_chunk()?);
            let unsent = u32::from_ne_bytes(*info.get(NOTSENT_BYTES_AT..)?.first_chunk()?);
            return Some(TcpBytes {
                acknowledged,
                unsent: unsent.into(),
                outstanding: outstanding.into(),
                retransmitted_segments: again.into(),
                unanswered: unanswered(info)?,
            });
        }
        attributes = attributes.get(length.max(4).next_multiple_of(4)..)?;
    }
}

/// For how long the peer has answered nothing. The kernel asks at growing intervals: a peer that
/// has answered the last question is not silent, even if that was long ago.
fn unanswered(info: &[u8]) -> Option<Duration> {
    let millis = |at| Some(u32::from_ne_bytes(*info.get(at..)?.first_chunk()?));
    let (since_question, since_answer) = (millis(LAST_DATA_SENT_AT)?, millis(LAST_ACK_RECV_AT)?);
    let has_sent_again = *info.get(RETRANSMITS_AT)? >= MIN_QUESTIONS;
    let is_silent = *info.get(PROBES_AT)? >= MIN_QUESTIONS
        || has_sent_again && (ANSWER_TIMEOUT_MS..since_answer).contains(&since_question);
    let silence = if is_silent { since_answer } else { 0 };
    Some(Duration::from_millis(silence.into()))
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        net::{TcpListener, TcpStream},
        thread::sleep,
    };

    use socket2::{SockFilter, SockRef};

    use super::*;

    /// `BPF_RET` with a constant, the number of bytes to keep.
    const RETURN: u16 = 6;

    #[test]
    fn acknowledged_bytes_grow_with_what_the_peer_has_received() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let peer = listener.local_addr().unwrap();
            let mut stream = TcpStream::connect(peer).unwrap();
            let _accepted = listener.accept().unwrap();
            let info = TcpInfo::of(stream.local_addr().unwrap(), peer).unwrap();
            let before = info.bytes().unwrap();

            stream.write_all(&[7; 5000]).unwrap();
            let mut tries = 0;
            while info.bytes().unwrap().acknowledged != before.acknowledged + 5000 {
                tries += 1;
                assert!(tries < 1000, "{:?}", info.bytes());
                sleep(Duration::from_millis(20));
            }
            assert_eq!(info.bytes().unwrap().outstanding, 0);
            // Nothing is lost on the loopback interface.
            assert_eq!(info.bytes().unwrap().retransmitted_segments, 0);
            assert_eq!(info.bytes().unwrap().unanswered, Duration::ZERO);
        }
    }

    #[test]
    fn bytes_that_a_peer_cannot_receive_are_outstanding() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = listener.local_addr().unwrap();
        let mut stream = TcpStream::connect(peer).unwrap();
        let info = TcpInfo::of(stream.local_addr().unwrap(), peer).unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut written = 0;
        while let Ok(count) = stream.write(&[7; 65_536]) {
            written += count as u64;
        }
        let bytes = info.bytes().unwrap();
        assert!(bytes.outstanding > 0 && bytes.unsent > 0, "{bytes:?}");
        assert!(bytes.unsent <= bytes.outstanding, "{bytes:?}");
        assert!(bytes.acknowledged < written, "{bytes:?} of {written}");
        // The peer answers each time that it is asked whether it receives again.
        for _ in 0..20 {
            sleep(Duration::from_millis(100));
            assert_eq!(info.bytes().unwrap().unanswered, Duration::ZERO);
        }
    }

    #[test]
    fn a_peer_that_answers_nothing_is_told_from_one_that_receives_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = listener.local_addr().unwrap();
        let mut stream = TcpStream::connect(peer).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let info = TcpInfo::of(stream.local_addr().unwrap(), peer).unwrap();
        let drop_all = [SockFilter::new(RETURN, 0, 0, 0)];
        SockRef::from(&accepted).attach_filter(&drop_all).unwrap();

        stream.write_all(&[7; 5000]).unwrap();
        let mut tries = 0;
        while info.bytes().unwrap().unanswered < Duration::from_secs(1) {
            tries += 1;
            assert!(tries < 1000, "{:?}", info.bytes());
            sleep(Duration::from_millis(50));
        }
    }

    #[test]
    fn a_connection_that_does_not_exist_is_an_error() {
        let address = "127.0.0.1:1".parse().unwrap();
        assert!(TcpInfo::of(address, address).unwrap().bytes().is_err());
        assert_eq!(parse(&[0; 30]), None);
    }
}

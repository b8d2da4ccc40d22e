use std::{net::Ipv4Addr, process::Stdio};

use tokio::{net::UdpSocket, process::Command, time::timeout};

use super::rig::{PATIENCE, command_lines, eventually, fault_of, publish, sending};
use crate::edge::relays::carrier::Carrier;

const KEY: &str = "#!::r=live/k3y-that-nobody-may-see,m=publish&a=+%20";

async fn socket() -> (UdpSocket, u16) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

/// Answers the first question of a handshake, and returns the second.
async fn conclusion(listener: &UdpSocket) -> (Vec<u8>, std::net::SocketAddr) {
    let mut packet = [0; 2048];
    loop {
        let (length, from) = listener.recv_from(&mut packet).await.unwrap();
        if packet[36..40] == [0xff; 4] {
            return (packet[..length].to_vec(), from);
        }
        let mut answer = packet[..64].to_vec();
        let caller: [u8; 4] = answer[40..44].try_into().unwrap();
        answer[12..16].copy_from_slice(&caller);
        answer[16..20].copy_from_slice(&5_u32.to_be_bytes());
        answer[22..24].copy_from_slice(&0x4a17_u16.to_be_bytes());
        answer[44..48].copy_from_slice(b"cook");
        listener.send_to(&answer, from).await.unwrap();
    }
}

/// The stream id in the bytes of a conclusion: words that are turned round.
fn stream_id(conclusion: &[u8]) -> String {
    let mut at = 64;
    while conclusion[at..at + 2] != [0, 5] {
        at += 4 + 4 * usize::from(conclusion[at + 3]);
    }
    let words = usize::from(conclusion[at + 3]);
    let words = conclusion[at + 4..at + 4 + 4 * words].chunks(4);
    let bytes: Vec<u8> = words.flat_map(|word| word.iter().rev()).copied().collect();
    String::from_utf8(bytes)
        .unwrap()
        .trim_end_matches('\0')
        .to_owned()
}

#[tokio::test]
async fn a_listener_is_told_the_true_stream_id_and_may_refuse_it() {
    let (listener, port) = socket().await;
    let carrier = sending(&format!(
        "srt://127.0.0.1:{port}?latency=200000&streamid={KEY}"
    ))
    .await;
    assert!(carrier.local_url().ends_with("&latency=200000"));
    let mut ffmpeg = publish(&carrier);

    let asked = timeout(PATIENCE, conclusion(&listener)).await;
    let (mut packet, from) = asked.expect("ffmpeg calls");
    assert_eq!(stream_id(&packet), KEY);
    assert!(!command_lines().contains("k3y-that-nobody-may-see"));

    let caller: [u8; 4] = packet[40..44].try_into().unwrap();
    packet.truncate(64);
    packet[12..16].copy_from_slice(&caller);
    packet[36..40].copy_from_slice(&2403_u32.to_be_bytes());
    listener.send_to(&packet, from).await.unwrap();
    let fault = fault_of(&carrier).await;
    assert_eq!(fault.code, "DESTINATION_REFUSED");
    assert!(fault.message.contains("1403"), "{}", fault.message);
    let ended = timeout(PATIENCE, ffmpeg.wait()).await.expect("ffmpeg ends");
    assert!(!ended.unwrap().success());
}

/// A caller's conclusion with a stream id of whole words.
fn call(stream_id: &str) -> Vec<u8> {
    let mut packet = vec![0; 64];
    packet[0] = 0x80;
    packet[36..40].copy_from_slice(&[0xff; 4]);
    packet.extend([0, 5, 0, u8::try_from(stream_id.len() / 4).unwrap()]);
    packet.extend(
        stream_id
            .as_bytes()
            .chunks(4)
            .flat_map(|word| word.iter().rev()),
    );
    packet
}

#[tokio::test]
async fn who_does_not_know_the_local_stream_id_reaches_nobody() {
    let (listener, port) = socket().await;
    let carrier = sending(&format!("srt://127.0.0.1:{port}?streamid={KEY}")).await;
    let (name, local) = local_name(&carrier);
    let (stranger, _) = socket().await;
    stranger
        .send_to(&call(&"0".repeat(32)), local)
        .await
        .unwrap();
    stranger.send_to(&[0; 100], local).await.unwrap();

    let (caller, _) = socket().await;
    caller.send_to(&call(&name), local).await.unwrap();
    stranger.send_to(&[0; 100], local).await.unwrap();
    caller.send_to(&[7; 100], local).await.unwrap();
    let mut packet = [0; 2048];
    let mut heard = Vec::new();
    while heard.len() < 2 {
        let received = timeout(PATIENCE, listener.recv(&mut packet)).await;
        let length = received.expect("the caller is heard").unwrap();
        heard.push(packet[..length].to_vec());
    }
    assert_eq!(stream_id(&heard[0]), KEY);
    assert_eq!(heard[1], [7; 100]);
}

#[tokio::test]
async fn a_listener_is_told_when_the_carrier_is_dropped() {
    let (listener, port) = socket().await;
    let carrier = sending(&format!("srt://127.0.0.1:{port}?streamid={KEY}")).await;
    let (name, local) = local_name(&carrier);
    let (caller, _) = socket().await;
    caller.send_to(&call(&name), local).await.unwrap();
    let asked = timeout(PATIENCE, conclusion(&listener)).await;
    let (mut consent, from) = asked.expect("the call comes");
    consent[40..44].copy_from_slice(b"sock");
    listener.send_to(&consent, from).await.unwrap();
    let answered = timeout(PATIENCE, caller.recv(&mut [0; 2048])).await;
    assert!(answered.is_ok(), "the consent has passed");

    drop(carrier);
    let mut packet = [0; 2048];
    let told = timeout(PATIENCE, listener.recv(&mut packet)).await;
    told.expect("the listener is told").unwrap();
    assert_eq!(
        (&packet[..4], &packet[12..16]),
        (&[0x80, 5, 0, 0][..], &b"sock"[..])
    );
}

/// The stream id that ffmpeg is given, and where it is to call.
fn local_name(carrier: &Carrier) -> (String, std::net::SocketAddr) {
    let url = carrier.local_url();
    let address = url
        .strip_prefix("srt://")
        .unwrap()
        .split('?')
        .next()
        .unwrap();
    let name = url.split("streamid=").nth(1).unwrap();
    (name.to_owned(), address.parse().unwrap())
}

#[tokio::test]
async fn a_real_listener_receives_the_picture_and_is_lost_when_it_goes() {
    let (socket, port) = socket().await;
    drop(socket);
    let mut listener = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(format!("srt://127.0.0.1:{port}?mode=listener"))
        .args(["-t", "1", "-f", "null", "-"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let listens = format!(":{port:04X} ");
    eventually("the listener listens", async || {
        std::fs::read_to_string("/proc/net/udp")
            .unwrap()
            .contains(&listens)
    })
    .await;

    let carrier = sending(&format!("srt://127.0.0.1:{port}?streamid={KEY}")).await;
    let _ffmpeg = publish(&carrier);
    let ended = timeout(PATIENCE, listener.wait())
        .await
        .expect("a second is received");
    assert!(ended.unwrap().success());
    assert!(carrier.bytes() > 10_000);
    let fault = fault_of(&carrier).await;
    assert!(["DESTINATION_CLOSED_EARLY", "DESTINATION_LOST"].contains(&fault.code));
}

#[tokio::test]
async fn where_nobody_listens_the_call_is_refused() {
    let (socket, port) = socket().await;
    drop(socket);
    let carrier = sending(&format!("srt://127.0.0.1:{port}?streamid={KEY}")).await;
    let _ffmpeg = publish(&carrier);
    assert_eq!(fault_of(&carrier).await.code, "CONNECTION_REFUSED");
}

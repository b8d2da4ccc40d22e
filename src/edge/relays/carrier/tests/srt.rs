use std::{net::Ipv4Addr, process::Stdio};

use tokio::{net::UdpSocket, process::Command, time::timeout};

use super::rig::{PATIENCE, command_lines, eventually, fault_of, publish, sending};

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

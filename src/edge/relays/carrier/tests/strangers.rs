use std::net::Ipv4Addr;

use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::{
    hooks::Hooks,
    rig::{Nginx, PATIENCE, eventually, publish, sending},
};
use crate::edge::relays::carrier::Carrier;

async fn knock(carrier: &Carrier) -> TcpStream {
    let url = carrier
        .local_url()
        .strip_prefix("rtmp://127.0.0.1:")
        .unwrap();
    let port = url.split('/').next().unwrap().parse().unwrap();
    TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_stranger_at_the_local_port_reaches_nobody_and_holds_up_nobody() {
    let hooks = Hooks::start(200).await;
    let nginx = Nginx::start(&hooks.url()).await;
    let carrier = sending(&format!("rtmp://127.0.0.1:{}/live/k3y", nginx.port)).await;
    let _silent = knock(&carrier).await;
    let guess = carrier.local_url().replace("/relay/", "/relay/0");
    let mut guesser = tokio::process::Command::new("ffmpeg")
        .args(["-v", "quiet", "-f", "lavfi", "-i", "testsrc", "-f", "flv"])
        .arg(guess)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let ended = timeout(PATIENCE, guesser.wait())
        .await
        .expect("it is turned away");
    assert!(!ended.unwrap().success());
    assert!(hooks.heard().is_empty());

    let _ffmpeg = publish(&carrier);
    eventually("media flows", async || carrier.bytes() > 0).await;
}

#[tokio::test]
async fn a_carrier_that_is_dropped_closes_both_sides() {
    let far = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = far.local_addr().unwrap().port();
    let carrier = sending(&format!("rtmp://127.0.0.1:{port}/live/k3y")).await;
    let mut ffmpeg = publish(&carrier);
    let accepted = timeout(PATIENCE, far.accept()).await.expect("it connects");
    let (mut far, _) = accepted.unwrap();

    drop(carrier);
    let mut rest = Vec::new();
    let closed = timeout(PATIENCE, far.read_to_end(&mut rest)).await;
    assert!(closed.is_ok(), "the far side is closed");
    let ended = timeout(PATIENCE, ffmpeg.wait()).await.expect("ffmpeg ends");
    assert!(!ended.unwrap().success());
}

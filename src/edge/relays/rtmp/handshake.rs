//! The handshake of RTMP (RTMP 1.0, section 5.2): each side sends 1536 bytes, and returns those
//! of the other.

use std::io;

use ring::hmac;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::random::random_bytes;

const VERSION: u8 = 3;
const SIZE: usize = 1536;
const DIGEST: usize = 32;
/// The key of the signature; it is public.
const CLIENT_KEY: &[u8] = b"Genuine Adobe Flash Player 001";
/// The client version that ffmpeg sends.
const CLIENT_VERSION: [u8; 4] = [9, 0, 124, 2];

/// Performs the handshake of a client, with the signature that ffmpeg and OBS send and that some
/// servers require.
pub(crate) async fn connect(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    let mut ours = vec![VERSION];
    ours.extend_from_slice(&signed(packet(CLIENT_VERSION)));
    stream.write_all(&ours).await?;
    stream.flush().await?;

    let theirs = read_packet(stream).await?;
    stream.write_all(&theirs).await?;
    stream.flush().await?;

    let mut echo = [0; SIZE];
    stream.read_exact(&mut echo).await?;
    Ok(())
}

async fn read_packet(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<[u8; SIZE]> {
    if stream.read_u8().await? != VERSION {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut packet = [0; SIZE];
    stream.read_exact(&mut packet).await?;
    Ok(packet)
}

/// A packet with the time 0, a version and random bytes.
fn packet(version: [u8; 4]) -> [u8; SIZE] {
    let mut packet = [0; SIZE];
    packet[4..8].copy_from_slice(&version);
    for part in packet[8..].chunks_mut(8) {
        part.copy_from_slice(&random_bytes::<8>());
    }
    packet
}

fn signed(mut packet: [u8; SIZE]) -> [u8; SIZE] {
    let sum: usize = packet[8..12].iter().map(|byte| usize::from(*byte)).sum();
    let at = sum % 728 + 12;
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, CLIENT_KEY));
    context.update(&packet[..at]);
    context.update(&packet[at + DIGEST..]);
    packet[at..at + DIGEST].copy_from_slice(context.sign().as_ref());
    packet
}

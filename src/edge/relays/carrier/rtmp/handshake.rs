//! RTMP's greeting: 1536 bytes of each side, and those of the other one sent back.

use std::io;

use ring::hmac;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::edge::relays::carrier::random::random_bytes;

const VERSION: u8 = 3;
const SIZE: usize = 1536;
const DIGEST: usize = 32;
/// What encoders sign their greeting with; it is known to all.
const CLIENT_KEY: &[u8] = b"Genuine Adobe Flash Player 001";
/// The version that ffmpeg gives itself in a greeting.
const CLIENT_VERSION: [u8; 4] = [9, 0, 124, 2];

/// Greets ffmpeg as a server does that signs nothing.
pub(super) async fn as_server(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> io::Result<()> {
    let theirs = read_greeting(stream).await?;
    let mut answer = vec![VERSION];
    answer.extend_from_slice(&greeting([0; 4]));
    answer.extend_from_slice(&theirs);
    stream.write_all(&answer).await?;
    stream.flush().await?;

    let mut echo = [0; SIZE];
    stream.read_exact(&mut echo).await?;
    Ok(())
}

/// Greets a server as ffmpeg does, which platforms know: signed, and with its bytes sent back.
pub(super) async fn as_client(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> io::Result<()> {
    let mut ours = vec![VERSION];
    ours.extend_from_slice(&signed(greeting(CLIENT_VERSION)));
    stream.write_all(&ours).await?;
    stream.flush().await?;

    let theirs = read_greeting(stream).await?;
    stream.write_all(&theirs).await?;
    stream.flush().await?;

    let mut echo = [0; SIZE];
    stream.read_exact(&mut echo).await?;
    Ok(())
}

async fn read_greeting(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<[u8; SIZE]> {
    if stream.read_u8().await? != VERSION {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut greeting = [0; SIZE];
    stream.read_exact(&mut greeting).await?;
    Ok(greeting)
}

/// No time, a version, and random bytes.
fn greeting(version: [u8; 4]) -> [u8; SIZE] {
    let mut greeting = [0; SIZE];
    greeting[4..8].copy_from_slice(&version);
    for part in greeting[8..].chunks_mut(8) {
        part.copy_from_slice(&random_bytes::<8>());
    }
    greeting
}

fn signed(mut greeting: [u8; SIZE]) -> [u8; SIZE] {
    let sum: usize = greeting[8..12].iter().map(|byte| usize::from(*byte)).sum();
    let at = sum % 728 + 12;
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, CLIENT_KEY));
    context.update(&greeting[..at]);
    context.update(&greeting[at + DIGEST..]);
    greeting[at..at + DIGEST].copy_from_slice(context.sign().as_ref());
    greeting
}

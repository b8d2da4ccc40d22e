//! Compares the time of refused sign-ins with and without an account: it must be equal.
//!
//! `cargo bench --bench sign_in_timing` runs the real server on a new SQLite
//! database, or on the PostgreSQL database that `DATABASE_URL` names, and signs
//! in with wrong passwords: 400 times to accounts, and alternately 400 times to
//! addresses without one. It prints the medians and their ratio.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use sluice::proto::v1::{self as pb, auth_service_client::AuthServiceClient};
use tonic::{Code, transport::Channel};

/// Measured sign-ins of each kind.
const SAMPLES: usize = 400;

/// Wrong passwords per address, few enough not to cause a delay.
const ATTEMPTS_PER_ADDRESS: usize = 4;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let (mut server, address) = serve(directory.path().to_str().unwrap_or_default())?;
    let channel = Channel::from_shared(format!("http://{address}"))?
        .connect()
        .await?;
    let mut client = AuthServiceClient::new(channel);

    let run = format!("{:x}", std::process::id());
    let addresses = |kind: &str| -> Vec<String> {
        (0..SAMPLES / ATTEMPTS_PER_ADDRESS)
            .map(|at| format!("{kind}-{run}-{at}@example.com"))
            .collect()
    };
    let (known, unknown) = (addresses("known"), addresses("unknown"));
    for email in &known {
        sign_up(&mut client, email).await?;
    }

    let (mut wrong, mut nobody) = (Vec::new(), Vec::new());
    for at in 0..SAMPLES {
        wrong.push(refused(&mut client, &known[at % known.len()]).await?);
        nobody.push(refused(&mut client, &unknown[at % unknown.len()]).await?);
    }
    server.kill()?;
    server.wait()?;

    let (wrong, nobody) = (median(wrong), median(nobody));
    println!("samples of each kind           {SAMPLES}");
    println!("wrong password, median         {:.3} ms", millis(wrong));
    println!("unknown address, median        {:.3} ms", millis(nobody));
    println!(
        "unknown address : wrong password {:.4}",
        nobody.as_secs_f64() / wrong.as_secs_f64()
    );
    Ok(())
}

/// Starts the real server with the default hash cost. Returns its address.
fn serve(directory: &str) -> anyhow::Result<(Child, String)> {
    let mut server = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .env("SLUICE_ENV_FILE", "off")
        .arg("serve")
        .env("SLUICE_LISTEN", "127.0.0.1:0")
        .env("SLUICE_DATA_DIR", directory)
        .env("SLUICE_OPERATIONS_LISTEN", "off")
        .env("SLUICE_LOG_FORMAT", "json")
        .stderr(Stdio::piped())
        .spawn()?;
    let log = server.stderr.take().map(BufReader::new);
    let mut lines = log.into_iter().flat_map(BufRead::lines);

    let mut address = None;
    for line in lines.by_ref() {
        let line: serde_json::Value = serde_json::from_str(&line?)?;
        if let Some(listening) = line["address"].as_str() {
            address = Some(listening.to_owned());
        }
        if line["status"] == "SERVING" || line["status"] == "Serving" {
            break;
        }
    }
    // The log must be read, or the server would block on the full pipe.
    std::thread::spawn(move || lines.for_each(drop));
    let address = address.ok_or_else(|| anyhow::anyhow!("the server did not start"))?;
    Ok((server, address))
}

async fn sign_up(client: &mut AuthServiceClient<Channel>, email: &str) -> anyhow::Result<()> {
    let request = pb::SignUpRequest {
        email: email.to_owned(),
        password: "correct horse battery staple".to_owned(),
        display_name: "Ada".to_owned(),
        request_id: String::new(),
    };
    client.sign_up(request).await?;
    Ok(())
}

/// The duration of a sign-in with a wrong password.
async fn refused(client: &mut AuthServiceClient<Channel>, email: &str) -> anyhow::Result<Duration> {
    let request = pb::SignInRequest {
        email: email.to_owned(),
        password: "incorrect horse battery staple".to_owned(),
        ..Default::default()
    };
    let begun = Instant::now();
    let answer = client.sign_in(request).await;
    let took = begun.elapsed();

    match answer {
        Err(status) if status.code() == Code::Unauthenticated => Ok(took),
        other => anyhow::bail!("not the refusal of a wrong password: {other:?}"),
    }
}

fn median(mut samples: Vec<Duration>) -> Duration {
    samples.sort_unstable();
    samples[samples.len() / 2]
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

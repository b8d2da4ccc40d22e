use std::{env, path::Path};

use anyhow::{Context, ensure};
use tokio::process::Command;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::{Child, Place};

/// `sluice serve` on SQLite, at an address of its own.
#[derive(Debug)]
pub struct ControlPlane {
    program: std::path::PathBuf,
    place: Place,
    child: Child,
}

impl ControlPlane {
    /// Starts it, with the program `sluice`.
    pub async fn start(program: &Path, place: Place) -> anyhow::Result<Self> {
        let child = launch(program, &place).await?;
        Ok(Self {
            program: program.to_owned(),
            place,
            child,
        })
    }

    /// Its address, as clients are told it.
    pub fn url(&self) -> String {
        url(&self.place)
    }

    /// A connection to it, which stands again when it does.
    pub fn channel(&self) -> anyhow::Result<Channel> {
        channel(&self.place)
    }

    /// The secret of a new API key for edges, as an operator makes it.
    pub async fn operators_key(&self) -> anyhow::Result<String> {
        let made = command(&self.program, &self.place)
            .args(["admin", "create-api-key", "--name", "edge"])
            .args(["--scope", "streams:publish", "--scope", "relays:work"])
            .output()
            .await?;
        let errors = String::from_utf8_lossy(&made.stderr);
        ensure!(made.status.success(), "no API key: {errors}");
        Ok(String::from_utf8(made.stdout)?.trim().to_owned())
    }

    /// What it has logged since it was started last.
    pub fn log(&self) -> Vec<String> {
        self.child.log()
    }

    /// Ends it without a word.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().await
    }

    /// Starts it again where it was.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        self.child = launch(&self.program, &self.place).await?;
        Ok(())
    }
}

async fn launch(program: &Path, place: &Place) -> anyhow::Result<Child> {
    let mut command = command(program, place);
    let mut child = Child::start("the control plane", command.arg("serve"))?;
    let channel = channel(place)?;
    let serves = async || {
        let request = HealthCheckRequest::default();
        let answer = HealthClient::new(channel.clone()).check(request).await;
        answer.is_ok_and(|answer| answer.into_inner().status == 1)
    };
    child.ready(serves).await?;
    Ok(child)
}

fn command(program: &Path, place: &Place) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .envs(env::var_os("PATH").map(|path| ("PATH", path)))
        .env("SLUICE_LISTEN", format!("{}:50051", place.host))
        .env("SLUICE_OPERATIONS_LISTEN", format!("{}:9464", place.host))
        .env("SLUICE_DATA_DIR", &place.folder)
        .env("SLUICE_BCRYPT_COST", "4")
        .env("SLUICE_HEARTBEAT_INTERVAL", "2s")
        .env("SLUICE_HEARTBEAT_TIMEOUT", "20s")
        .env("SLUICE_ALLOW_PRIVATE_DESTINATIONS", "true");
    command
}

fn url(place: &Place) -> String {
    format!("http://{}:50051", place.host)
}

fn channel(place: &Place) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(url(place)).context("an address")?;
    Ok(endpoint.connect_lazy())
}

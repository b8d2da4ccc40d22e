use std::{env, path::Path};

use anyhow::{Context, ensure};
use tokio::process::Command;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::{Child, Sandbox};

/// `sluice serve` on SQLite, at its own address.
#[derive(Debug)]
pub struct ControlPlane {
    program: std::path::PathBuf,
    sandbox: Sandbox,
    child: Child,
}

impl ControlPlane {
    /// Starts it, with the program `sluice`.
    pub async fn start(program: &Path, sandbox: Sandbox) -> anyhow::Result<Self> {
        let child = launch(program, &sandbox).await?;
        Ok(Self {
            program: program.to_owned(),
            sandbox,
            child,
        })
    }

    /// The URL for clients.
    pub fn url(&self) -> String {
        url(&self.sandbox)
    }

    /// A channel to it, which reconnects after a restart.
    pub fn channel(&self) -> anyhow::Result<Channel> {
        channel(&self.sandbox)
    }

    /// Creates an API key for edges; returns its secret.
    pub async fn create_api_key(&self) -> anyhow::Result<String> {
        let scopes = ["--scope", "streams:publish", "--scope", "relays:work"];
        self.create_api_key_with(&scopes).await
    }

    /// Creates an API key with these options; returns its secret.
    pub async fn create_api_key_with(&self, options: &[&str]) -> anyhow::Result<String> {
        let made = command(&self.program, &self.sandbox)
            .args(["admin", "create-api-key", "--name", "edge"])
            .args(options)
            .output()
            .await?;
        let errors = String::from_utf8_lossy(&made.stderr);
        ensure!(made.status.success(), "no API key: {errors}");
        Ok(String::from_utf8(made.stdout)?.trim().to_owned())
    }

    /// The log since the last start.
    pub fn log(&self) -> Vec<String> {
        self.child.log()
    }

    /// Kills it.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().await
    }

    /// Starts it again at the same address.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        self.child = launch(&self.program, &self.sandbox).await?;
        Ok(())
    }
}

async fn launch(program: &Path, sandbox: &Sandbox) -> anyhow::Result<Child> {
    let mut command = command(program, sandbox);
    let mut child = Child::start("the control plane", command.arg("serve"))?;
    let channel = channel(sandbox)?;
    let serves = async || {
        let request = HealthCheckRequest::default();
        let answer = HealthClient::new(channel.clone()).check(request).await;
        answer.is_ok_and(|answer| answer.into_inner().status == 1)
    };
    child.ready(serves).await?;
    Ok(child)
}

fn command(program: &Path, sandbox: &Sandbox) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("SLUICE_ENV_FILE", "off")
        .envs(env::var_os("PATH").map(|path| ("PATH", path)))
        .env("SLUICE_LISTEN", format!("{}:50051", sandbox.host))
        .env("SLUICE_OPERATIONS_LISTEN", format!("{}:9464", sandbox.host))
        .env("SLUICE_DATA_DIR", &sandbox.folder)
        .env("SLUICE_BCRYPT_COST", "4")
        .env("SLUICE_HEARTBEAT_INTERVAL", "2s")
        .env("SLUICE_HEARTBEAT_TIMEOUT", "20s")
        .env("SLUICE_ALLOW_PRIVATE_DESTINATIONS", "true");
    command
}

fn url(sandbox: &Sandbox) -> String {
    format!("http://{}:50051", sandbox.host)
}

fn channel(sandbox: &Sandbox) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(url(sandbox)).context("an address")?;
    Ok(endpoint.connect_lazy())
}

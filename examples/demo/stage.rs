use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use tempfile::TempDir;

use crate::{
    account::Account,
    media::{ControlPlane, Destination, Edge, HOOKS_SECRET, Nginx, Publisher, Sandbox},
};

/// All running processes. They end when this is dropped.
pub struct Stage {
    pub account: Account,
    pub platforms: Vec<Platform>,
    nginx: Nginx,
    edge: Edge,
    control: ControlPlane,
    _folder: TempDir,
}

/// A destination that records the stream.
pub struct Platform {
    pub name: &'static str,
    pub destination_id: String,
    pub destination: Destination,
}

impl Stage {
    /// Starts everything except the publisher.
    pub async fn start() -> anyhow::Result<Self> {
        let program = sluice()?;
        let folder = TempDir::new()?;
        let sandbox = |name| Sandbox::new(folder.path(), name);

        let control = ControlPlane::start(&program, sandbox("control")?).await?;
        let api_key = control.create_api_key().await?;
        let nginx = Nginx::start(sandbox("nginx")?, HOOKS_SECRET).await?;
        let edge = Edge::start(&program, &nginx, &control, api_key).await?;
        let account = Account::new(control.channel()?).await?;
        let mut platforms = Vec::new();
        for name in ["first", "second"] {
            let destination = Destination::start(sandbox(name)?).await?;
            platforms.push(Platform {
                name,
                destination_id: account.destination(name, &destination).await?,
                destination,
            });
        }
        Ok(Self {
            account,
            platforms,
            nginx,
            edge,
            control,
            _folder: folder,
        })
    }

    /// Starts a publisher with the project's stream key.
    pub fn publish(&self) -> anyhow::Result<Publisher> {
        let key = &self.account.stream_key;
        Publisher::start(&format!("{}/{key}", self.nginx.ingest()))
    }

    /// The addresses of the processes, one line each.
    pub fn addresses(&self) -> Vec<String> {
        let platforms = self.platforms.iter();
        let platforms = platforms.map(|platform| {
            let (name, url) = (platform.name, platform.destination.url());
            format!("destination   {url} ({name})")
        });
        let own = [
            format!("control plane {}", self.control.url()),
            format!("nginx-rtmp    {}", self.nginx.ingest()),
            format!("sluice edge   http://{}", self.nginx.hooks()),
        ];
        own.into_iter().chain(platforms).collect()
    }

    /// The last log lines of the processes, without debug lines.
    pub fn last_log_lines(&self) -> Vec<String> {
        let logs = [self.control.log(), self.edge.log(), self.nginx.log()];
        let is_relevant = |line: &String| !line.contains("DEBUG");
        let last = |log: Vec<String>| {
            let mut lines: Vec<_> = log.into_iter().filter(is_relevant).collect();
            lines.split_off(lines.len().saturating_sub(15))
        };
        logs.into_iter().flat_map(last).collect()
    }

    /// Ends the edge gracefully; dropping this ends the rest.
    pub async fn end(mut self) -> anyhow::Result<()> {
        self.edge.end().await
    }
}

/// The program that cargo builds beside the examples.
fn sluice() -> anyhow::Result<PathBuf> {
    let own = env::current_exe()?;
    let profile = own.parent().and_then(Path::parent);
    let program = profile
        .context("the directory of this program")?
        .join("sluice");
    ensure!(
        program.exists(),
        "there is no {}: run `make demo`",
        program.display()
    );
    Ok(program)
}

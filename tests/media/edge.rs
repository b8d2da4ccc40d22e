use std::{
    env,
    path::{Path, PathBuf},
};

use tokio::process::Command;

use super::{Child, ControlPlane, Nginx, Sandbox};

/// The secret of the hooks.
pub const HOOKS_SECRET: &str = "hooks-secret-for-one-run";

/// Environment variables.
pub type EdgeVariables = Vec<(&'static str, String)>;

/// `sluice edge` at the address of nginx-rtmp.
#[derive(Debug)]
pub struct Edge {
    settings: EdgeVariables,
    program: PathBuf,
    sandbox: Sandbox,
    child: Child,
}

impl Edge {
    /// Starts it, with the program `sluice` and an API key.
    pub async fn start(
        program: &Path,
        nginx: &Nginx,
        control: &ControlPlane,
        api_key: String,
    ) -> anyhow::Result<Self> {
        let sandbox = nginx.sandbox.clone();
        let settings = settings(nginx, control, api_key);
        let child = launch(program, &settings, &sandbox).await?;
        Ok(Self {
            settings,
            program: program.to_owned(),
            sandbox,
            child,
        })
    }

    /// The process id; `None` once it has ended.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// The log since the last start.
    pub fn log(&self) -> Vec<String> {
        self.child.log()
    }

    /// Sends SIGTERM, and waits until it has ended.
    pub async fn end(&mut self) -> anyhow::Result<()> {
        let status = self.child.end().await?;
        anyhow::ensure!(status.success(), "sluice edge ended: {status}");
        Ok(())
    }

    /// Kills it.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().await
    }

    /// Starts it again.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        self.child = launch(&self.program, &self.settings, &self.sandbox).await?;
        Ok(())
    }
}

async fn launch(
    program: &Path,
    settings: &[(&'static str, String)],
    sandbox: &Sandbox,
) -> anyhow::Result<Child> {
    let settings = settings.iter().map(|(name, text)| (*name, &**text));
    let mut command = Command::new(program);
    command
        .arg("edge")
        .env_clear()
        .env("SLUICE_ENV_FILE", "off")
        .envs(env::var_os("PATH").map(|path| ("PATH", path)))
        .envs(settings);
    let mut child = Child::start("sluice edge", &mut command)?;
    child.ready(async || sandbox.listens(8085).await).await?;
    Ok(child)
}

/// The settings of an edge beside nginx-rtmp.
pub fn settings(nginx: &Nginx, control: &ControlPlane, api_key: String) -> EdgeVariables {
    let folder = nginx.sandbox.folder.join("edge").display().to_string();
    vec![
        ("SLUICE_CONTROL_PLANE", control.url()),
        ("SLUICE_API_KEY", api_key),
        ("SLUICE_NODE_ID", "media-1".to_owned()),
        ("SLUICE_MEDIA_SERVER_API", nginx.api()),
        ("SLUICE_MEDIA_SERVER_RTMP", nginx.rtmp()),
        ("SLUICE_HOOKS_LISTEN", nginx.hooks()),
        ("SLUICE_HOOKS_SECRET", HOOKS_SECRET.to_owned()),
        ("SLUICE_EDGE_OPERATIONS_LISTEN", nginx.edge_operations()),
        ("SLUICE_EDGE_DIR", folder),
        ("SLUICE_RELAY_CAPACITY", "50".to_owned()),
        ("SLUICE_ALLOW_PRIVATE_DESTINATIONS", "true".to_owned()),
        ("SLUICE_LOG", "info,sluice=debug".to_owned()),
    ]
}

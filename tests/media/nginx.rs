use std::{fs, path::PathBuf, time::Duration};

use anyhow::Context;

use super::{Child, Sandbox, child::program};

/// The configuration of `deploy/`.
const CONFIGURATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/nginx-rtmp/nginx.conf");

/// The interval of the update hooks of nginx-rtmp in its configuration.
pub const UPDATE_INTERVAL: Duration = Duration::from_secs(5);

/// nginx-rtmp with the configuration of `deploy/`, at its own address.
#[derive(Debug)]
pub struct Nginx {
    pub sandbox: Sandbox,
    child: Child,
}

impl Nginx {
    /// Starts it. Its hooks go to port 8085 of its address.
    pub async fn start(sandbox: Sandbox, hooks_secret: &str) -> anyhow::Result<Self> {
        let text = fs::read_to_string(CONFIGURATION).context(CONFIGURATION)?;
        fs::write(
            file(&sandbox),
            configuration(&text, &sandbox, hooks_secret)?,
        )?;
        let child = launch("nginx-rtmp", &sandbox, 1935).await?;
        Ok(Self { sandbox, child })
    }

    /// The URL for publishers, without the key.
    pub fn ingest(&self) -> String {
        format!("{}/live", self.rtmp())
    }

    /// The RTMP URL for the edge.
    pub fn rtmp(&self) -> String {
        format!("rtmp://{}:1935", self.sandbox.host)
    }

    /// The URL of `/stat` and `/control`.
    pub fn api(&self) -> String {
        format!("http://{}:8080", self.sandbox.host)
    }

    /// The address to which hooks are sent.
    pub fn hooks(&self) -> String {
        format!("{}:8085", self.sandbox.host)
    }

    /// The address of the operations port of its edge.
    pub fn edge_operations(&self) -> String {
        format!("{}:9465", self.sandbox.host)
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
        self.child = launch("nginx-rtmp", &self.sandbox, 1935).await?;
        Ok(())
    }
}

/// Starts nginx with the configuration in its sandbox, and waits until it listens on a port.
pub async fn launch(name: &'static str, sandbox: &Sandbox, port: u16) -> anyhow::Result<Child> {
    let mut command = program("nginx");
    command
        .args(["-e", "stderr", "-p"])
        .arg(&sandbox.folder)
        .arg("-c")
        .arg(file(sandbox));
    let mut child = Child::start(name, &mut command)?;
    child.ready(async || sandbox.listens(port).await).await?;
    Ok(child)
}

/// The path of the configuration in a sandbox.
pub fn file(sandbox: &Sandbox) -> PathBuf {
    sandbox.folder.join("nginx.conf")
}

/// The start of a configuration: a single process, which ends with its parent.
pub const SINGLE_PROCESS: &str =
    "daemon off; master_process off; pid nginx.pid; error_log stderr warn;";

/// Debian's default temporary paths may not be writable.
pub const TEMP_PATHS: &str = "client_body_temp_path client_body; proxy_temp_path proxy; \
    fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;";

/// The RTMP module in the module path of nginx, which another prefix would change.
pub fn module() -> anyhow::Result<PathBuf> {
    let mut nginx = program("nginx").into_std();
    let said = nginx.arg("-V").output().context("cannot start nginx")?;
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    let told = |option: &str| {
        let mut words = said.split_whitespace();
        words.find_map(|word| word.strip_prefix(option).map(PathBuf::from))
    };
    let folder = told("--modules-path=").or_else(|| Some(told("--prefix=")?.join("modules")));
    let folder = folder.context("nginx does not say where its modules are")?;
    Ok(folder.join("ngx_rtmp_module.so"))
}

fn configuration(text: &str, sandbox: &Sandbox, hooks_secret: &str) -> anyhow::Result<String> {
    let Sandbox { host, .. } = sandbox;
    let module = module()?;
    let mut text = text.to_owned();
    for (old, new) in [
        ("modules/ngx_rtmp_module.so", module.display().to_string()),
        ("worker_processes 1;", SINGLE_PROCESS.to_owned()),
        ("pid /run/nginx.pid;", String::new()),
        ("error_log /var/log/nginx/error.log warn;", String::new()),
        ("listen 1935", format!("listen {host}:1935")),
        ("listen 127.0.0.1:8080", format!("listen {host}:8080")),
        ("http://127.0.0.1:8085", format!("http://{host}:8085")),
        ("HOOKS_SECRET/", format!("{hooks_secret}/")),
        (
            "notify_update_timeout 5s;",
            format!("notify_update_timeout {}s;", UPDATE_INTERVAL.as_secs()),
        ),
        ("http {", format!("http {{ {TEMP_PATHS}")),
    ] {
        anyhow::ensure!(text.contains(old), "{CONFIGURATION} has no {old:?}");
        text = text.replace(old, &new);
    }
    Ok(text)
}

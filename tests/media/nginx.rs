use std::{fs, path::PathBuf, time::Duration};

use anyhow::Context;

use super::{Child, Place, child::program};

/// The file of `deploy/`.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/nginx-rtmp/nginx.conf");

/// How often nginx-rtmp tells that a publisher stands, as the file says.
pub const UPDATE: Duration = Duration::from_secs(5);

/// nginx-rtmp with the file of `deploy/`, at addresses of its own.
#[derive(Debug)]
pub struct Nginx {
    pub place: Place,
    child: Child,
}

impl Nginx {
    /// Starts it: its hooks go to the port 8085 of its own address.
    pub async fn start(place: Place, hooks_secret: &str) -> anyhow::Result<Self> {
        let text = fs::read_to_string(FILE).context(FILE)?;
        fs::write(file(&place), of_this_place(&text, &place, hooks_secret)?)?;
        let child = launch("nginx-rtmp", &place, 1935).await?;
        Ok(Self { place, child })
    }

    /// Where publishers send to, without the key.
    pub fn ingest(&self) -> String {
        format!("{}/live", self.rtmp())
    }

    /// Its address, as an edge is told it.
    pub fn rtmp(&self) -> String {
        format!("rtmp://{}:1935", self.place.host)
    }

    /// Where `/stat` and `/control` are.
    pub fn api(&self) -> String {
        format!("http://{}:8080", self.place.host)
    }

    /// Where it wants its hooks answered.
    pub fn hooks(&self) -> String {
        format!("{}:8085", self.place.host)
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
        self.child = launch("nginx-rtmp", &self.place, 1935).await?;
        Ok(())
    }
}

/// Runs nginx with the file that lies in its place, until it listens on a port.
pub async fn launch(name: &'static str, place: &Place, port: u16) -> anyhow::Result<Child> {
    let mut command = program("nginx");
    command
        .args(["-e", "stderr", "-p"])
        .arg(&place.folder)
        .arg("-c")
        .arg(file(place));
    let mut child = Child::start(name, &mut command)?;
    child.ready(async || place.listens(port).await).await?;
    Ok(child)
}

/// The file that nginx reads in a place.
pub fn file(place: &Place) -> PathBuf {
    place.folder.join("nginx.conf")
}

/// What stands at the beginning of a file: one process, without children, so that it ends
/// with who started it.
pub const ALONE: &str = "daemon off; master_process off; pid nginx.pid; error_log stderr warn;";

/// Whoever runs this may not write where Debian's nginx does.
pub const FOLDERS: &str = "client_body_temp_path client_body; proxy_temp_path proxy; \
    fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;";

/// The module, as nginx itself says where it looks: with another folder of its own it would
/// not find it.
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

fn of_this_place(text: &str, place: &Place, hooks_secret: &str) -> anyhow::Result<String> {
    let Place { host, .. } = place;
    let module = module()?;
    let mut text = text.to_owned();
    for (old, new) in [
        ("modules/ngx_rtmp_module.so", module.display().to_string()),
        ("worker_processes 1;", ALONE.to_owned()),
        ("pid /run/nginx.pid;", String::new()),
        ("error_log /var/log/nginx/error.log warn;", String::new()),
        ("listen 1935", format!("listen {host}:1935")),
        ("listen 127.0.0.1:8080", format!("listen {host}:8080")),
        ("http://127.0.0.1:8085", format!("http://{host}:8085")),
        ("HOOKS_SECRET/", format!("{hooks_secret}/")),
        (
            "notify_update_timeout 5s;",
            format!("notify_update_timeout {}s;", UPDATE.as_secs()),
        ),
        ("http {", format!("http {{ {FOLDERS}")),
    ] {
        anyhow::ensure!(text.contains(old), "{FILE} has no {old:?}");
        text = text.replace(old, &new);
    }
    Ok(text)
}

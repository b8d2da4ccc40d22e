use std::fs::{self, File};

use tempfile::TempDir;
use tokio::process::Child;

use super::stub_api::StubApi;
use crate::harness::{HttpResponse, Process, TestServer, eventually, http};

/// The secret of the hooks.
pub const SECRET: &str = "0123456789abcdef";

/// `sluice edge` as a process that answers hooks and runs no relays.
pub struct HookEdge {
    _child: Child,
    folder: TempDir,
}

impl HookEdge {
    /// For node `n1`, a media server of a kind.
    pub async fn start(server: &TestServer, kind: &str, api: &StubApi) -> Self {
        let control_plane = format!("http://{}", server.address);
        Self::start_with(server, &control_plane, kind, api, &[]).await
    }

    /// The same with another URL of the control plane, and with more variables.
    pub async fn start_with(
        server: &TestServer,
        control_plane: &str,
        kind: &str,
        api: &StubApi,
        variables: &[(&str, &str)],
    ) -> Self {
        let key = Process::create_operator_key(&server.database).await;
        let key = ("SLUICE_API_KEY", key.as_str());
        let variables: Vec<_> = variables.iter().copied().chain([key]).collect();
        Self::spawn(control_plane, kind, api, &variables).await
    }

    async fn spawn(
        control_plane: &str,
        kind: &str,
        api: &StubApi,
        variables: &[(&str, &str)],
    ) -> Self {
        let folder = TempDir::new().unwrap();
        let own = [
            ("SLUICE_CONTROL_PLANE", control_plane.to_owned()),
            ("SLUICE_NODE_ID", "n1".to_owned()),
            ("SLUICE_MEDIA_SERVER", kind.to_owned()),
            ("SLUICE_MEDIA_SERVER_API", api.address.clone()),
            ("SLUICE_HOOKS_SECRET", SECRET.to_owned()),
            ("SLUICE_HOOKS_LISTEN", "127.0.0.1:0".to_owned()),
            ("SLUICE_RELAY_CAPACITY", "0".to_owned()),
            (
                "SLUICE_EDGE_DIR",
                folder.path().join("edge").display().to_string(),
            ),
            ("SLUICE_LOG", "debug".to_owned()),
            ("SLUICE_LOG_FORMAT", "json".to_owned()),
        ];
        let log = File::create(folder.path().join("log")).unwrap();
        let child = Process::command(&["edge"], variables)
            .envs(own)
            .stderr(log)
            .spawn()
            .unwrap();
        let edge = Self {
            _child: child,
            folder,
        };
        edge.address().await;
        edge
    }

    /// With an API key that the control plane does not know.
    pub async fn start_with_wrong_key(control_plane: &str, kind: &str, api: &StubApi) -> Self {
        let key = [("SLUICE_API_KEY", "slk_wrong")];
        Self::spawn(control_plane, kind, api, &key).await
    }

    /// Sends a hook: the path after `/hooks/`, with `SECRET` for the secret, and the body.
    pub async fn hook(&self, path: &str, body: &str) -> HttpResponse {
        let path = format!("/hooks/{}", path.replace("SECRET", SECRET));
        http(&self.address().await, "POST", &path, body).await
    }

    /// The log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// The address of its operations port.
    pub async fn operations_address(&self) -> String {
        self.logged("serving operations", "port").await
    }

    async fn address(&self) -> String {
        self.logged("serving hooks", "address").await
    }

    async fn logged(&self, message: &str, field: &str) -> String {
        eventually("the edge says where it listens", async || {
            self.log().lines().find_map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).ok()?;
                let address = line[field].as_str()?.to_owned();
                (line["message"] == message).then_some(address)
            })
        })
        .await
    }
}

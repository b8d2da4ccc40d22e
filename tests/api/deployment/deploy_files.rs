//! Access to the files of `deploy/`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use tokio::process::Command;

use crate::harness::tool;

/// The absolute path of a file in the repository.
pub fn repository_path(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// All files below a folder.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(files_below(&path)),
            false => files.push(path),
        }
    }
    files.sort_unstable();
    files
}

/// The Kubernetes manifests, without the kustomization.
pub fn manifests() -> Vec<PathBuf> {
    let mut files = files_below(&repository_path("deploy/kubernetes"));
    files.retain(|file| !file.ends_with("kustomization.yaml"));
    files
}

/// The documents of YAML files.
pub async fn documents(files: &[PathBuf]) -> Vec<Value> {
    let script = "import json, sys, yaml
print(json.dumps([one for file in sys.argv[1:] for one in yaml.safe_load_all(open(file))]))";
    let read = Command::new(tool("venv/bin/python"))
        .args(["-c", script])
        .args(files)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&read.stderr);
    assert!(read.status.success(), "{said}");
    serde_json::from_slice(&read.stdout).unwrap()
}

/// The only object of a kind.
pub fn object_of_kind<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    let mut found = documents.iter().filter(|one| one["kind"] == kind);
    let first = found.next().unwrap_or_else(|| panic!("there is no {kind}"));
    assert!(found.next().is_none(), "there are two {kind}");
    first
}

/// The settings of a ConfigMap or a Secret.
pub fn settings_of(object: &Value, field: &str) -> BTreeMap<String, String> {
    let entries = object[field].as_object().unwrap().iter();
    entries
        .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
        .collect()
}

/// The settings in a text of `NAME=VALUE` lines.
pub fn settings_of_file(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let settings = lines.filter_map(|line| line.split_once('='));
    settings
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The maximum duration of draining with these settings.
pub fn drain_time(settings: &BTreeMap<String, String>) -> Duration {
    let span = |name: &str| humantime::parse_duration(&settings[name]).unwrap();
    span("SLUICE_DRAIN_DELAY") + span("SLUICE_DRAIN_TIMEOUT")
}

//! The files of `deploy/patroni`.

use std::{fs, process::Stdio};

use serde_json::Value;
use tokio::process::Command;

use crate::deployment::deploy_files::{documents, repository_path, settings_of_file};

fn read(name: &str) -> String {
    fs::read_to_string(repository_path("deploy/patroni").join(name)).unwrap()
}

async fn patroni() -> Value {
    let files = [repository_path("deploy/patroni/patroni.yml")];
    documents(&files).await.remove(0)
}

#[tokio::test]
async fn a_primary_without_etcd_stops_before_its_lock_ends() {
    let file = patroni().await;
    let dcs = &file["bootstrap"]["dcs"];
    let seconds = |name: &str| dcs[name].as_i64().unwrap();

    let until_stopped = seconds("loop_wait") + seconds("retry_timeout");
    assert!(seconds("loop_wait") + 2 * seconds("retry_timeout") <= seconds("ttl"));
    // The lock may have been renewed one loop_wait before.
    assert!(until_stopped < seconds("ttl") - seconds("loop_wait"));
    assert!(
        seconds("ttl") <= 20,
        "writes succeed again within 30 seconds"
    );
    assert_eq!(seconds("primary_start_timeout"), 0);
}

#[tokio::test]
async fn a_commit_waits_for_a_second_machine_even_if_none_is_left() {
    let file = patroni().await;
    let dcs = &file["bootstrap"]["dcs"];

    assert_eq!(dcs["synchronous_mode"], true);
    assert_eq!(dcs["synchronous_mode_strict"], true);
    let parameters = &dcs["postgresql"]["parameters"];
    assert_eq!(parameters["synchronous_commit"], "on");
    assert_eq!(parameters["fsync"], Value::Null);
    let initdb = file["bootstrap"]["initdb"].as_array().unwrap();
    assert!(initdb.contains(&"data-checksums".into()));
}

#[test]
fn no_primary_overwrites_the_lock_of_another_one() {
    let settings = settings_of_file(&read("patroni.env"));
    // With the API v3, Patroni 3.0.2 does so when a frozen primary resumes.
    assert!(
        !settings
            .keys()
            .any(|name| name.starts_with("PATRONI_ETCD3"))
    );
    assert!(settings.contains_key("PATRONI_ETCD_HOSTS"));
    assert_eq!(
        settings_of_file(&read("etcd.env"))["ETCD_ENABLE_V2"],
        "true"
    );
}

#[test]
fn the_files_contain_no_password() {
    let settings = settings_of_file(&read("patroni.env"));
    let passwords = settings
        .iter()
        .filter(|(name, _)| name.ends_with("_PASSWORD"));
    let passwords: Vec<_> = passwords.collect();
    assert_eq!(passwords.len(), 4);
    assert!(passwords.iter().all(|(_, value)| value.is_empty()));
    for name in ["patroni.yml", "haproxy.cfg", "etcd.env"] {
        assert!(!read(name).contains("password:"), "{name}");
    }
}

#[tokio::test]
async fn haproxy_accepts_its_configuration_without_warnings() {
    let checked = Command::new("haproxy")
        .env(
            "PATH",
            format!("{}:/usr/sbin", std::env::var("PATH").unwrap()),
        )
        .args(["-c", "-f"])
        .arg(repository_path("deploy/patroni/haproxy.cfg"))
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{text}");
    assert!(!text.contains("WARNING"), "{text}");
}

use std::fs;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tempfile::TempDir;
use tokio::process::Command;

use super::files::{own, settings_in};
use crate::harness::{Sqlite, TestDatabase};

/// The most that `systemd-analyze security` may find exposed, of 100.
const EXPOSURE: &str = "--threshold=15";

async fn analyze(arguments: &[&str]) -> (bool, String) {
    let unit = own("deploy/systemd/sluice.service");
    let folder = TempDir::new().unwrap();
    let copy = folder.path().join("sluice.service");
    // Whether the program is installed on this machine is no matter here.
    let text = fs::read_to_string(unit).unwrap();
    fs::write(&copy, text).unwrap();
    let analyzed = Command::new("systemd-analyze")
        .args(arguments)
        .arg(&copy)
        .output()
        .await
        .expect("systemd-analyze, of Debian's package systemd, is installed");
    let said = [analyzed.stdout, analyzed.stderr].concat();
    (analyzed.status.success(), String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn systemd_understands_the_unit_and_finds_little_exposed() {
    let (fine, said) = analyze(&["verify"]).await;
    assert!(fine, "{said}");
    // It goes on with what it does not know, and only says so.
    assert!(!said.contains("sluice.service:"), "{said}");

    let (fine, said) = analyze(&["security", "--offline=true", EXPOSURE]).await;
    assert!(fine, "{said}");
}

#[tokio::test]
async fn the_unit_gives_the_program_its_credentials() {
    let text = fs::read_to_string(own("deploy/systemd/sluice.service")).unwrap();
    let unit = settings_in(&text);
    let line = unit["ExecStart"].strip_prefix("/bin/sh -c '").unwrap();
    let line = line.strip_suffix('\'').unwrap().replace("$$", "$");
    let line = line.replace(
        "/usr/local/bin/sluice serve",
        concat!(env!("CARGO_BIN_EXE_sluice"), " migrate"),
    );
    let database = TestDatabase::empty(Sqlite).await;
    let credentials = TempDir::new().unwrap();
    let key = STANDARD.encode([7; 32]);
    for (name, secret) in [
        ("jwt-secret", "0123456789abcdef0123456789abcdef"),
        ("sealing-keys", &*key),
        ("database-url", &*database.url),
    ] {
        assert!(text.contains(&format!("LoadCredential={name}:")));
        fs::write(credentials.path().join(name), format!("{secret}\n")).unwrap();
    }

    let settings = settings_in(&fs::read_to_string(own("deploy/systemd/sluice.env")).unwrap());
    let run = Command::new("/bin/sh")
        .args(["-c", &line])
        .env_clear()
        .envs(settings)
        .env("PATH", "/usr/bin:/bin")
        .env("CREDENTIALS_DIRECTORY", credentials.path())
        .env("SLUICE_DATA_DIR", database.directory.path())
        .output()
        .await
        .unwrap();

    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
    let tables = "select count(*) from sqlite_schema where name = 'users'";
    assert_eq!(database.number(tables).await, 1);
}

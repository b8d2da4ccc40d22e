use std::fs;

use rstest::rstest;
use tempfile::TempDir;
use tokio::process::Command;

use super::deploy_files::{repository_path, settings_of_file};
use crate::harness::{Sqlite, TestDatabase};

/// The maximum exposure level of `systemd-analyze security`, of 100.
const EXPOSURE: &str = "--threshold=15";

async fn analyze(name: &str, arguments: &[&str]) -> (bool, String) {
    let unit = repository_path(&format!("deploy/systemd/{name}"));
    let folder = TempDir::new().unwrap();
    let copy = folder.path().join(name);
    // A copy, because the program need not be installed on this machine.
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

#[rstest]
#[case("sluice.service")]
#[case("sluice-edge.service")]
#[tokio::test]
async fn systemd_verifies_the_unit_and_rates_its_exposure_low(#[case] name: &str) {
    let (fine, said) = analyze(name, &["verify"]).await;
    assert!(fine, "{said}");
    // systemd only warns about settings that it does not know.
    assert!(!said.contains(&format!("{name}:")), "{said}");

    let (fine, said) = analyze(name, &["security", "--offline=true", EXPOSURE]).await;
    assert!(fine, "{said}");
}

#[test]
fn the_unit_of_the_edge_allows_the_sockets_from_which_acknowledged_bytes_are_read() {
    let text = fs::read_to_string(repository_path("deploy/systemd/sluice-edge.service")).unwrap();
    let families = &settings_of_file(&text)["RestrictAddressFamilies"];
    let families: Vec<_> = families.split(' ').collect();
    for needed in ["AF_INET", "AF_INET6", "AF_NETLINK"] {
        assert!(families.contains(&needed), "{families:?}");
    }
}

#[test]
fn the_unit_allows_the_documented_number_of_open_files() {
    let text = fs::read_to_string(repository_path("deploy/systemd/sluice.service")).unwrap();
    let page = include_str!("../../../docs/operations.md");

    assert_eq!(settings_of_file(&text)["LimitNOFILE"], "65536");
    assert!(page.contains("The systemd unit allows 65,536."));
}

#[tokio::test]
async fn the_unit_passes_credentials_to_the_program() {
    let text = fs::read_to_string(repository_path("deploy/systemd/sluice.service")).unwrap();
    let unit = settings_of_file(&text);
    let line = unit["ExecStart"].strip_prefix("/bin/sh -c '").unwrap();
    let line = line.strip_suffix('\'').unwrap().replace("$$", "$");
    let line = line.replace(
        "/usr/local/bin/sluice serve",
        concat!(env!("CARGO_BIN_EXE_sluice"), " migrate"),
    );
    let database = TestDatabase::empty(Sqlite).await;
    let credentials = TempDir::new().unwrap();
    // Production refuses keys that are not random.
    let key = "S0ypXl2hVd1m6tFv0RwqO3eJ8nZbT4kUaG7cHs5yI9Q=";
    for (name, secret) in [
        ("jwt-secret", "c1f0a9e6b37d58422e6b1d07f98a3c54"),
        ("sealing-keys", key),
        ("database-url", &*database.url),
    ] {
        assert!(text.contains(&format!("LoadCredential={name}:")));
        fs::write(credentials.path().join(name), format!("{secret}\n")).unwrap();
    }

    let settings = settings_of_file(
        &fs::read_to_string(repository_path("deploy/systemd/sluice.env")).unwrap(),
    );
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

#[tokio::test]
async fn the_unit_of_the_edge_passes_credentials_to_the_program() {
    let text = fs::read_to_string(repository_path("deploy/systemd/sluice-edge.service")).unwrap();
    let unit = settings_of_file(&text);
    let line = unit["ExecStart"].strip_prefix("/bin/sh -c '").unwrap();
    let line = line.strip_suffix('\'').unwrap().replace("$$", "$");
    let line = line.replace(
        "/usr/local/bin/sluice edge",
        concat!(env!("CARGO_BIN_EXE_sluice"), " edge check"),
    );
    let credentials = TempDir::new().unwrap();
    for (name, secret) in [
        ("api-key", "slk_x"),
        ("hooks-secret", "a-secret-of-the-hooks"),
    ] {
        assert!(text.contains(&format!("LoadCredential={name}:")));
        fs::write(credentials.path().join(name), format!("{secret}\n")).unwrap();
    }
    let settings = settings_of_file(
        &fs::read_to_string(repository_path("deploy/systemd/sluice-edge.env")).unwrap(),
    );

    let run = Command::new("/bin/sh")
        .args(["-c", &line])
        .env_clear()
        .envs(settings)
        .env("PATH", "/usr/bin:/bin")
        .env("CREDENTIALS_DIRECTORY", credentials.path())
        .env("SLUICE_EDGE_DIR", credentials.path())
        .env("SLUICE_CONTROL_PLANE", "http://127.0.0.1:1")
        .env("SLUICE_MEDIA_SERVER_API", "http://127.0.0.1:1")
        .env("SLUICE_HOOKS_LISTEN", "127.0.0.1:0")
        .env("SLUICE_EDGE_OPERATIONS_LISTEN", "off")
        .env("SLUICE_FFMPEG", "/nowhere/ffmpeg")
        .output()
        .await
        .unwrap();

    // All settings are valid; there is only no control plane and no media server.
    let said = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(1), "{said}");
    let printed = String::from_utf8_lossy(&run.stdout);
    let key_file = credentials.path().join("api-key").display().to_string();
    for part in [
        &*format!("SLUICE_API_KEY_FILE={key_file}"),
        "SLUICE_HOOKS_SECRET=***",
    ] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
}

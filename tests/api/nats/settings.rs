use std::{fs, path::Path};

use tempfile::tempdir;
use tokio::net::TcpListener;

use super::fixture::{metric, wait_for_connected};
use crate::{
    harness::{
        Certificate, CommandOutput, NatsServer, Postgres, Process, Signal, Sqlite, TestDatabase,
        User, eventually,
    },
    stream::changes::rename,
};

/// A seed and its public key, from the documentation of NATS.
const SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
const PUBLIC_KEY: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";

/// The permissions that the documentation names.
const PERMISSIONS: &str = r#"
    publish: ["sluice.v1.projects.*", "sluice.v1.nodes.*"]
    subscribe: ["sluice.v1.projects.*", "sluice.v1.nodes.*"]"#;

async fn check(database: &TestDatabase, settings: &[(&str, &str)]) -> CommandOutput {
    let directory = database.directory.path().to_str().unwrap();
    let own = [
        ("SLUICE_LISTEN", "127.0.0.1:0"),
        ("DATABASE_URL", &*database.url),
        ("SLUICE_DATA_DIR", directory),
    ];
    let settings: Vec<_> = own.into_iter().chain(settings.iter().copied()).collect();
    Process::run(Process::command(&["check"], &settings)).await
}

/// Changes a project.
async fn change(owner: &User) {
    let (project, _) = owner.project().await;
    rename(&owner.client, &project.id, "A name").await;
}

/// What `sluice check` says about NATS.
async fn verdict(database: &TestDatabase, settings: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = check(database, settings).await;
    let mut lines = output.stdout.lines();
    let line = lines.find(|line| line.contains(" NATS "));
    let line = line.unwrap_or_else(|| panic!("{output:?}"));
    (output.exit_code, line.to_owned())
}

fn warnings(process: &Process) -> Vec<String> {
    let mut log = process.log();
    log.retain(|line| line.contains("no connection to NATS"));
    log
}

#[tokio::test]
async fn a_server_starts_without_nats_and_connects_once_it_is_there() {
    let mut nats = NatsServer::start().await;
    nats.kill().await;
    // It accepts connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("nats://{}", silent.local_addr().unwrap());
    let url = format!("nats://nobody.invalid,{silent},{}", nats.url());
    let settings = [("SLUICE_NATS_URL", &*url)];
    let database = TestDatabase::create(Postgres).await;

    let (code, line) = verdict(&database, &settings).await;
    assert_eq!(code, Some(0), "{line}");
    assert!(line.contains("a server starts without it"), "{line}");
    let process = Process::serve(&database, &settings);
    let owner = User::sign_up(&process.channel().await).await;
    change(&owner).await;
    let ready = process.operations("GET", "/readyz", "").await;
    assert_eq!(ready.status, 200, "{ready:?}");
    eventually("the log says so", async || {
        (warnings(&process).len() == 1).then_some(())
    })
    .await;
    assert_eq!(metric(&process, "connected").await, 0.0);
    eventually("a change is dropped", async || {
        (metric(&process, "dropped_total").await > 0.0).then_some(())
    })
    .await;

    nats.start_again().await;
    wait_for_connected(&process, true).await;
    assert_eq!(warnings(&process).len(), 1, "once a minute");
}

#[tokio::test]
async fn wrong_credentials_leave_a_server_without_nats_and_are_not_shown() {
    let users = format!(
        "authorization {{ users = [ {{ user: sluice, password: \"r1ght,p\", permissions: {{ {PERMISSIONS} }} }} ] }}"
    );
    let nats = NatsServer::start_with(&users).await;
    let database = TestDatabase::create(Postgres).await;
    for login in ["sluice:wr0ng-secret", "wr0ng-secret"] {
        let url = nats.url_with(login);
        let settings = [("SLUICE_NATS_URL", &*url), ("SLUICE_LOG", "trace")];
        let mut process = Process::serve(&database, &settings);
        process.channel().await;

        eventually("the log says so", async || {
            let log = warnings(&process);
            let line = log.first()?;
            assert!(
                line.contains("the server refuses the credentials"),
                "{line}"
            );
            Some(())
        })
        .await;
        assert_eq!(metric(&process, "connected").await, 0.0);
        let (code, line) = verdict(&database, &settings).await;
        assert_eq!(code, Some(1), "{line}");
        assert!(line.starts_with("FAILED"), "{line}");
        assert!(
            line.contains("the server refuses the credentials"),
            "{line}"
        );
        let output = check(&database, &settings).await;
        assert!(output.stdout.contains("SLUICE_NATS_URL=*** "), "{output:?}");
        assert!(!format!("{output:?}").contains("wr0ng"), "{output:?}");
        process.signal(Signal::TERM);
        process.wait_for_exit().await;
        let log = process.log().join("\n");
        assert!(!log.contains("wr0ng"), "{log}");
    }

    let url = nats.url_with("sluice:r1ght%2Cp");
    let settings = [("SLUICE_NATS_URL", &*url)];
    let process = Process::serve(&database, &settings);
    let owner = User::sign_up(&process.channel().await).await;
    wait_for_connected(&process, true).await;
    change(&owner).await;
    eventually("a change is published", async || {
        (metric(&process, "published_total").await > 0.0).then_some(())
    })
    .await;
    let (code, line) = verdict(&database, &settings).await;
    assert_eq!(code, Some(0), "{line}");
    assert!(line.ends_with("answers"), "{line}");
    let log = process.log().join("\n");
    assert!(!log.contains("Permissions Violation"), "{log}");
}

#[tokio::test]
async fn a_missing_permission_is_logged() {
    let users = r#"authorization { users = [
        { user: sluice, password: secret, permissions: { publish: "other", subscribe: "other" } } ] }"#;
    let nats = NatsServer::start_with(users).await;
    let url = nats.url_with("sluice:secret");
    let database = TestDatabase::create(Postgres).await;
    let process = Process::serve(&database, &[("SLUICE_NATS_URL", &*url)]);
    let owner = User::sign_up(&process.channel().await).await;
    wait_for_connected(&process, true).await;
    change(&owner).await;

    eventually("the log says so", async || {
        let log = process.log();
        let mut lines = log.iter();
        lines
            .find(|line| line.contains("Permissions Violation"))
            .map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_file_has_the_credentials_and_is_read_again_for_each_connection() {
    let users = format!("authorization {{ users = [ {{ nkey: {PUBLIC_KEY} }} ] }}");
    let mut nats = NatsServer::start_with(&users).await;
    let folder = tempdir().unwrap();
    let file = folder.path().join("nats.nk");
    let url = nats.url();
    let settings = [
        ("SLUICE_NATS_URL", &*url),
        ("SLUICE_NATS_CREDENTIALS", file.to_str().unwrap()),
    ];
    let database = TestDatabase::create(Sqlite).await;

    for text in [None, Some("n0t-a-seed")] {
        if let Some(text) = text {
            fs::write(&file, text).unwrap();
        }
        let mut process = Process::serve(&database, &settings);
        assert_eq!(process.wait_for_exit().await, Some(1));
        let log = process.log().join("\n");
        assert!(log.contains("SLUICE_NATS_CREDENTIALS"), "{log}");
        assert!(!log.contains("n0t-a-seed"), "{log}");
        let (code, line) = verdict(&database, &settings).await;
        assert_eq!(code, Some(1), "{line}");
        assert!(line.contains("SLUICE_NATS_CREDENTIALS"), "{line}");
    }
    fs::write(&file, format!("{SEED}\n")).unwrap();
    let process = Process::serve(&database, &settings);
    process.channel().await;
    wait_for_connected(&process, true).await;

    nats.kill().await;
    fs::write(&file, "n0t-a-seed").unwrap();
    nats.start_again().await;
    eventually("the log says so", async || {
        (!warnings(&process).is_empty()).then_some(())
    })
    .await;
    assert_eq!(metric(&process, "connected").await, 0.0);
    fs::write(&file, SEED).unwrap();
    wait_for_connected(&process, true).await;
    let log = process.log().join("\n");
    assert!(!log.contains(SEED) && !log.contains("n0t-a-seed"), "{log}");
}

#[tokio::test]
async fn over_tls_only_a_server_with_a_trusted_certificate_is_used() {
    let folder = tempdir().unwrap();
    let certificate = Certificate::make(folder.path()).await;
    let quoted = |path: &Path| format!("{:?}", path.display().to_string());
    let nats = NatsServer::start_with(&format!(
        "tls {{ cert_file: {}, key_file: {} }}",
        quoted(&certificate.file),
        quoted(&certificate.key)
    ))
    .await;
    let url = format!("tls://localhost:{}", nats.port());
    let trusted = format!("{url}?ca={}", certificate.file.display());
    let database = TestDatabase::create(Sqlite).await;

    let mut process = Process::serve(&database, &[("SLUICE_NATS_URL", &*url)]);
    process.channel().await;
    eventually("the log says so", async || {
        let log = warnings(&process);
        let line = log.first()?;
        assert!(line.contains("certificate"), "{line}");
        Some(())
    })
    .await;
    assert_eq!(metric(&process, "connected").await, 0.0);
    process.signal(Signal::TERM);
    process.wait_for_exit().await;

    let process = Process::serve(&database, &[("SLUICE_NATS_URL", &*trusted)]);
    process.channel().await;
    wait_for_connected(&process, true).await;
}

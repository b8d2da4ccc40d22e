//! Clients of a server at a Unix socket: the commands of `sluice`, grpcurl and Python.

use sluice::domain::Scope;
use tokio::process::Command;

use super::unix_sockets::Fixture;
use crate::{
    client::fixture::Cli,
    harness::{CommandOutput, Process, Signal, Sqlite, User, eventually, tool},
};

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

async fn command(arguments: &[&str], settings: &[(&str, &str)]) -> CommandOutput {
    Process::run(Process::command(arguments, settings)).await
}

#[track_caller]
fn successful(output: CommandOutput) -> String {
    assert_eq!(output.exit_code, Some(0), "{output:?}");
    output.stdout
}

#[tokio::test]
async fn users_and_operators_call_over_the_socket() {
    let fixture = Fixture::start(Sqlite, &[]).await;
    let user = User::sign_up(&fixture.server.channel().await).await;
    let cli = Cli::new(&fixture.target());

    cli.login(&user).await;
    assert_eq!(cli.profile_field("server"), fixture.target());
    cli.output(&["project", "create", "Show"]).await;
    let projects = cli.json(&["project", "list"]).await;
    assert_eq!(projects["projects"][0]["displayName"], "Show");

    let scopes = [Scope::OperatorRead.as_str(), Scope::OperatorWrite.as_str()];
    let key = Process::create_operator_key_with(&fixture.database, &scopes).await;
    let settings = [
        ("SLUICE_SERVER", &*fixture.target()),
        ("SLUICE_OPERATOR_KEY", &*key),
    ];
    let users = successful(command(&["operator", "list-users"], &settings).await);
    assert!(users.contains(&user.email), "{users}");
}

#[tokio::test]
async fn a_client_names_the_socket_that_it_cannot_reach() {
    let folder = tempfile::tempdir().unwrap();
    let server = format!("unix:{}", folder.path().join("none.sock").display());

    let output = Cli::new(&server).run(&["whoami", "--api-key", "k"]).await;

    assert_eq!(output.exit_code, Some(6), "{output:?}");
    assert!(output.stderr.contains(&server), "{output:?}");
}

#[tokio::test]
async fn the_health_command_asks_at_every_address() {
    let fixture = Fixture::start(Sqlite, &[("SLUICE_DRAIN_DELAY", "1min")]).await;
    let target = fixture.target();

    let said = successful(command(&["health"], &[("SLUICE_LISTEN", &target)]).await);
    assert_eq!(said, format!("{target} serves\n"));

    let both = format!("{target},127.0.0.1:1");
    let output = command(&["health"], &[("SLUICE_LISTEN", &both)]).await;
    assert_eq!(output.exit_code, Some(1), "{output:?}");
    assert!(
        output.stderr.contains("cannot ask 127.0.0.1:1"),
        "{output:?}"
    );

    fixture.server.signal(Signal::TERM);
    let draining = format!("sluice: {target} does not serve\n");
    eventually("the server is draining", async || {
        let output = command(&["health", "--address", &target], &[]).await;
        (output.stderr == draining).then_some(())
    })
    .await;
    fixture.server.signal(Signal::TERM);
}

#[tokio::test]
async fn the_check_command_says_whether_the_socket_is_free_and_creates_nothing() {
    let fixture = Fixture::start(Sqlite, &[]).await;
    let free = fixture.folder.path().join("free.sock");
    let data = tempfile::tempdir().unwrap();
    let check = async |listen: &str| {
        let settings = [
            ("SLUICE_LISTEN", listen),
            ("SLUICE_DATA_DIR", data.path().to_str().unwrap()),
        ];
        command(&["check"], &settings).await
    };

    let target = format!("127.0.0.1:0,unix:{}", free.display());
    let said = successful(check(&target).await);
    assert!(said.contains(&format!("unix:{}", free.display())), "{said}");
    let files = std::fs::read_dir(fixture.folder.path()).unwrap();
    let names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
    let is_new = |name: &std::ffi::OsString| name.to_str().unwrap().starts_with("free");
    assert!(!names.iter().any(is_new), "{names:?}");

    let output = check(&fixture.target()).await;
    assert_eq!(output.exit_code, Some(1), "{output:?}");
    for part in ["another server listens there", "(SLUICE_LISTEN)"] {
        assert!(output.stdout.contains(part), "{part}: {output:?}");
    }
    // The server did not lose its socket.
    successful(command(&["health", "--address", &fixture.target()], &[]).await);
}

#[tokio::test]
async fn grpcurl_calls_over_the_socket() {
    let fixture = Fixture::start(Sqlite, &[]).await;

    let listed = Command::new(tool("bin/grpcurl"))
        .args(["-plaintext", "-unix", "-authority", "localhost"])
        .arg(fixture.path())
        .arg("list")
        .output()
        .await
        .unwrap();

    let listed = String::from_utf8([listed.stdout, listed.stderr].concat()).unwrap();
    assert!(listed.contains("sluice.v1.AuthService"), "{listed}");
}

#[tokio::test]
async fn python_calls_over_the_socket() {
    let fixture = Fixture::start(Sqlite, &[]).await;
    let stubs = tempfile::tempdir().unwrap();
    let python = tool("venv/bin/python");
    let out = stubs.path().display();
    let mut generate = Command::new(&python);
    generate
        .args(["-m", "grpc_tools.protoc", "-I", "proto"])
        .args([
            format!("--python_out={out}"),
            format!("--grpc_python_out={out}"),
        ])
        .args(["proto/sluice/v1/auth.proto"])
        .current_dir(REPOSITORY);
    successful(Process::run(generate).await);

    let mut client = Command::new(&python);
    client
        .arg(format!("{REPOSITORY}/tests/clients/unix_socket.py"))
        .arg(fixture.target())
        .arg(stubs.path());

    let said = successful(Process::run(client).await);
    assert_eq!(said, "signed in as grpcio@example.com\n");
}

//! The stories that the README tells, told to the real program by other people's clients.

use std::{env, process::Output};

use rstest::rstest;
use tokio::process::Command;

use crate::harness::{Engine, Postgres, Process, Sqlite, TestDatabase, tool};

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

#[track_caller]
fn succeeded(output: Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

/// The lines of the README between its mark and the end of the block.
fn story() -> String {
    let readme = include_str!("../../../README.md");
    let (_, rest) = readme.split_once("<!-- story -->\n```sh\n").unwrap();
    rest.split_once("\n```").unwrap().0.to_owned()
}

/// The README's line that names a PostgreSQL server, naming this one.
fn export(url: &str) -> String {
    let line = "export DATABASE_URL=postgres://user:password@host/name";
    assert!(include_str!("../../../README.md").contains(line));
    line.replace("postgres://user:password@host/name", url)
}

/// Settings under which a publisher counts as silent 100 times earlier than by default.
const IMPATIENT: [(&str, &str); 4] = [
    ("SLUICE_HEARTBEAT_INTERVAL", "100ms"),
    ("SLUICE_HEARTBEAT_TIMEOUT", "350ms"),
    ("SLUICE_CONNECT_TIMEOUT", "300ms"),
    ("SLUICE_REAP_INTERVAL", "10ms"),
];

/// Waits before each command for twice the heartbeat timeout above: 70 seconds by default.
const TYPE_SLOWLY: &str = "trap 'sleep 0.7' DEBUG";

/// Runs the README's story in a shell against a server; gives its output.
async fn tell(
    database: &TestDatabase,
    engine: Engine,
    program: &Process,
    preparation: &str,
) -> String {
    // A user's terminal differs in the port, the way to start the program, and the
    // data directory, which is ./data there.
    let address = format!("api={}", program.address().await);
    let lines = story().replace("api=127.0.0.1:50051", &address);
    assert!(lines.contains(&address));
    let lines = lines.replace("cargo run --quiet --", env!("CARGO_BIN_EXE_sluice"));
    let path = format!("{}:{}", tool("bin").display(), env::var("PATH").unwrap());

    let database_url = match engine {
        Sqlite => String::new(),
        Postgres => export(&database.url),
    };
    let told = Command::new("bash")
        .args(["-euo", "pipefail", "-c"])
        .arg(format!("{database_url}\n{preparation}\n{lines}"))
        .current_dir(REPOSITORY)
        .env("PATH", path)
        .env("SLUICE_DATA_DIR", database.directory.path())
        .env_remove("DATABASE_URL")
        .output();

    let said = succeeded(told.await.unwrap());
    for expected in [
        "sluice.v1.AuthService",
        "grpc.health.v1.Health",
        "rpc BeginPublish",
        "\"url\": \"rtmps://a.rtmps.youtube.com",
        "PUBLISH_ACTION_CONTINUE",
        "STREAM_STATUS_LIVE",
        "RELAY_STATE_IDLE",
        "STREAM_STATUS_RECONNECTING",
        "END_REASON_STOPPED_BY_OWNER",
    ] {
        assert!(said.contains(expected), "{expected} is not in: {said}");
    }
    said
}

#[rstest]
#[tokio::test]
async fn the_readmes_grpcurl_story_works_line_by_line_and_once_more(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let database = TestDatabase::create(engine).await;
    let program = Process::serve(&database, &[]);
    program.channel().await;

    tell(&database, engine, &program, "").await;
    tell(&database, engine, &program, "").await;
}

#[rstest]
#[tokio::test]
async fn the_readmes_grpcurl_story_works_when_it_is_typed_slowly(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let database = TestDatabase::create(engine).await;
    let program = Process::serve(&database, &IMPATIENT);
    program.channel().await;

    let said = tell(&database, engine, &program, TYPE_SLOWLY).await;

    // ListStreams shows that the server noticed the silence; EndPublish is the other one.
    let reconnecting = said.matches("STREAM_STATUS_RECONNECTING").count();
    assert_eq!(reconnecting, 2, "{said}");
}

#[rstest]
#[tokio::test]
async fn grpcurl_shows_what_an_error_carries(#[values(Sqlite, Postgres)] engine: Engine) {
    let database = TestDatabase::create(engine).await;
    let program = Process::serve(&database, &[]);
    program.channel().await;

    let output = Command::new(tool("bin/grpcurl"))
        .args([
            "-plaintext",
            "-d",
            "{}",
            &program.address().await,
            "sluice.v1.AuthService/SignIn",
        ])
        .output();

    let said = String::from_utf8(output.await.unwrap().stderr).unwrap();
    for expected in [
        "InvalidArgument",
        "FIELDS_INVALID",
        "fieldViolations",
        "\"password\"",
    ] {
        assert!(said.contains(expected), "{expected} is not in: {said}");
    }
}

#[rstest]
#[tokio::test]
async fn a_python_client_made_from_the_proto_files_alone_tells_the_same_story(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let database = TestDatabase::create(engine).await;
    let stubs = tempfile::tempdir().unwrap();
    let python = tool("venv/bin/python");
    let out = stubs.path().display();
    let made = Command::new(&python)
        .args(["-m", "grpc_tools.protoc", "-I", "proto"])
        .args([
            format!("--python_out={out}"),
            format!("--grpc_python_out={out}"),
        ])
        .args(
            ["auth", "error", "project", "relay", "stream"]
                .map(|f| format!("proto/sluice/v1/{f}.proto")),
        )
        .current_dir(REPOSITORY)
        .output();
    succeeded(made.await.unwrap());

    let program = Process::serve(&database, &[]);
    program.channel().await;
    let told = Command::new(&python)
        .arg(format!("{REPOSITORY}/tests/clients/readme_client.py"))
        .arg(stubs.path())
        .arg(program.address().await)
        .arg(Process::operators_key(&database).await)
        .output();
    assert!(succeeded(told.await.unwrap()).contains("the story is told"));
}

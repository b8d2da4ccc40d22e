//! The README's commands, and a generated Python client, against the real program.

use std::{env, fs, path::Path, process::Output};

use rstest::rstest;
use tokio::process::Command;

use crate::harness::{Engine, Pooled, Postgres, Process, Sqlite, TestDatabase, tool};

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

#[track_caller]
fn successful_output(output: Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{stdout}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    stdout
}

/// The commands of the README: the blocks after each mark `<!-- story -->`.
fn readme_commands() -> String {
    let readme = include_str!("../../README.md");
    let blocks = readme.split("<!-- story -->\n```sh\n").skip(1);
    let blocks: Vec<_> = blocks
        .map(|rest| rest.split_once("\n```").unwrap().0)
        .collect();
    assert_eq!(blocks.len(), 2);
    blocks.join("\n")
}

/// The line for PostgreSQL that the README appends to `.env`, with this URL.
fn env_file_line(url: &str) -> String {
    let line = "DATABASE_URL=postgres://user:password@host/name";
    assert!(include_str!("../../README.md").contains(&format!("echo '{line}' >> .env")));
    line.replace("postgres://user:password@host/name", url)
}

/// Timeouts of publishers that are 100 times shorter than the defaults.
const SHORT_TIMEOUTS: [(&str, &str); 4] = [
    ("SLUICE_HEARTBEAT_INTERVAL", "100ms"),
    ("SLUICE_HEARTBEAT_TIMEOUT", "350ms"),
    ("SLUICE_CONNECT_TIMEOUT", "300ms"),
    ("SLUICE_REAP_INTERVAL", "10ms"),
];

/// The pause before each command, in seconds: twice the heartbeat timeout above.
const SHORT_PAUSE: f64 = 0.7;

/// The heartbeat timeout of a server without settings, in seconds.
const HEARTBEAT_TIMEOUT: f64 = 35.0;

/// How slowly a user types.
struct Typing {
    /// The pause before each command, in seconds.
    pause: f64,
    /// The settings of the server: its timeouts are shorter than the pause.
    settings: &'static [(&'static str, &'static str)],
}

impl Typing {
    /// With short pauses and timeouts. With `SLUICE_TEST_PAUSE`, that many seconds, and a server
    /// with the default timeouts.
    fn slow() -> Self {
        let Ok(pause) = env::var("SLUICE_TEST_PAUSE") else {
            return Self {
                pause: SHORT_PAUSE,
                settings: &SHORT_TIMEOUTS,
            };
        };
        let pause: f64 = pause
            .parse()
            .expect("SLUICE_TEST_PAUSE is a number of seconds");
        assert!(
            pause > HEARTBEAT_TIMEOUT,
            "SLUICE_TEST_PAUSE must be more than the heartbeat timeout, {HEARTBEAT_TIMEOUT} s"
        );
        Self {
            pause,
            settings: &[],
        }
    }

    /// The line of a shell script that pauses before each command after it, and says so.
    fn preparation(&self) -> String {
        let pause = self.pause;
        let say = format!("echo \"pause of {pause} s after $SECONDS s\" >&3");
        format!("exec 3>&1; trap '{say}; sleep {pause}' DEBUG")
    }
}

/// Runs the README's commands in a shell against a server; returns their output.
async fn run_commands(
    database: &TestDatabase,
    engine: Engine,
    program: &Process,
    preparation: &str,
) -> String {
    // A user's terminal differs in the address of the server, the folder of the program, and the
    // data directory, which is ./data there.
    let address = program.address().await;
    let folder = Path::new(env!("CARGO_BIN_EXE_sluice")).parent().unwrap();
    let mut lines = readme_commands();
    for (from, to) in [
        ("api=127.0.0.1:50051", format!("api={address}")),
        ("$PWD/target/debug", folder.display().to_string()),
    ] {
        assert!(lines.contains(from), "{from}");
        lines = lines.replace(from, &to);
    }
    let path = format!("{}:{}", tool("bin").display(), env::var("PATH").unwrap());

    let env_file = database.directory.path().join(".env");
    let settings = match engine {
        Sqlite => String::new(),
        Postgres => env_file_line(&database.url),
        Pooled => {
            let [(_, url), (pooler, mode)] = database.settings()[..] else {
                panic!("a pooled database has a URL and a pooler");
            };
            format!("{}\n{pooler}={mode}\n", env_file_line(url))
        }
    };
    fs::write(&env_file, settings).unwrap();
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c"])
        .arg(format!("{preparation}\n{lines}"))
        .current_dir(REPOSITORY)
        .env("PATH", path)
        .env("SLUICE_SERVER", format!("http://{address}"))
        .env("XDG_CONFIG_HOME", database.directory.path().join("config"))
        .env_remove("SLUICE_API_KEY")
        .env_remove("SLUICE_PROFILE")
        .env("SLUICE_DATA_DIR", database.directory.path())
        .env("SLUICE_ENV_FILE", &env_file)
        .env_remove("DATABASE_URL")
        .output();

    let stdout = successful_output(output.await.unwrap());
    for expected in [
        "sluice.v1.AuthService",
        "grpc.health.v1.Health",
        "rpc BeginPublish",
        "rtmps://a.rtmps.youtube.com",
        "PUBLISH_ACTION_CONTINUE",
        "STREAM_STATE_LIVE",
        "IDLE",
        "synced",
        "STREAM_STATE_RECONNECTING",
        "STOPPED_BY_OWNER",
        "\"projects\": [",
    ] {
        assert!(stdout.contains(expected), "{expected} is not in: {stdout}");
    }
    stdout
}

#[rstest]
#[tokio::test]
async fn the_readme_commands_work_in_order_and_a_second_time(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
) {
    let database = TestDatabase::create(engine).await;
    let program = Process::serve(&database, &[]);
    program.channel().await;

    run_commands(&database, engine, &program, "").await;
    run_commands(&database, engine, &program, "").await;
}

#[rstest]
#[tokio::test]
async fn the_readme_commands_work_when_typed_slowly(#[values(Sqlite, Postgres)] engine: Engine) {
    let database = TestDatabase::create(engine).await;
    let typing = Typing::slow();
    let program = Process::serve(&database, typing.settings);
    program.channel().await;

    let stdout = run_commands(&database, engine, &program, &typing.preparation()).await;
    println!("{stdout}");

    // The server noticed the silence: in the table of `stream list`, and in the line of `watch`.
    assert!(stdout.contains("  RECONNECTING  "), "{stdout}");
    let mut lines = stdout.lines();
    let is_watched = |line: &str| line.contains(" stream ") && line.contains(" RECONNECTING");
    assert!(lines.any(is_watched), "{stdout}");
}

#[tokio::test]
async fn grpcurl_shows_the_details_of_an_error() {
    let database = TestDatabase::create(Sqlite).await;
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

    let stderr = String::from_utf8(output.await.unwrap().stderr).unwrap();
    for expected in [
        "InvalidArgument",
        "FIELDS_INVALID",
        "fieldViolations",
        "\"password\"",
    ] {
        assert!(stderr.contains(expected), "{expected} is not in: {stderr}");
    }
}

#[rstest]
#[tokio::test]
async fn a_python_client_generated_from_the_proto_files_runs_the_same_scenario(
    #[values(Sqlite, Postgres, Pooled)] engine: Engine,
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
    successful_output(made.await.unwrap());

    let program = Process::serve(&database, &[]);
    program.channel().await;
    let output = Command::new(&python)
        .arg(format!("{REPOSITORY}/tests/clients/readme_client.py"))
        .arg(stubs.path())
        .arg(program.address().await)
        .arg(Process::create_operator_key(&database).await)
        .output();
    assert!(successful_output(output.await.unwrap()).contains("the story is told"));
}

//! Clients in other languages, with the service config of `sluice api`, during restarts.

use std::{path::Path, process::Stdio, time::Duration};

use rstest::rstest;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::TcpListener,
    process::{Child, ChildStdout, Command},
    time::sleep,
};

use super::example::{Example, client_file};
use crate::harness::{Engine, Postgres, Process, Signal, Sqlite, TestDatabase, tool};

/// The time under load before and after each restart.
const LOAD_TIME: Duration = Duration::from_secs(1);

struct Load {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Load {
    async fn start(program: &Path, script: &str, example: &Example, server: &str) -> Self {
        let mut child = Command::new(program)
            .arg(client_file(script))
            .arg(example.path())
            .args([server, "", &example.service_config()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).await.unwrap();
        assert_eq!(line, "started\n");
        Self { child, stdout }
    }

    /// Ends the load, and checks that no call failed.
    async fn assert_no_failed_call(mut self) {
        drop(self.child.stdin.take());
        let mut report = String::new();
        self.stdout.read_to_string(&mut report).await.unwrap();
        assert!(self.child.wait().await.unwrap().success());
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["errors"], serde_json::json!([]), "{report}");
        assert!(report["calls"].as_u64() > Some(20), "{report}");
    }
}

/// An address whose port is free, and stays the server's between its restarts: the loopback
/// address is used by no other test.
async fn fixed_address() -> String {
    let [.., high, low] = std::process::id().to_be_bytes();
    let listener = TcpListener::bind(format!("127.{high}.{low}.254:0"));
    listener.await.unwrap().local_addr().unwrap().to_string()
}

async fn restart_under_load(engine: Engine, program: &Path, script: &str, example: &Example) {
    let database = TestDatabase::create(engine).await;
    let address = fixed_address().await;
    let settings = [("SLUICE_LISTEN", &*address)];
    let mut server = Process::serve(&database, &settings);
    server.channel().await;
    let load = Load::start(program, script, example, &address).await;

    for _ in 0..2 {
        sleep(LOAD_TIME).await;
        server.signal(Signal::TERM);
        assert_eq!(server.wait_for_exit().await, Some(0));
        server = Process::serve(&database, &settings);
        server.channel().await;
    }
    sleep(LOAD_TIME).await;
    load.assert_no_failed_call().await;
}

#[rstest]
#[tokio::test]
async fn a_restart_under_load_fails_no_call_of_a_python_client(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let example = Example::python().await;
    restart_under_load(engine, &tool("venv/bin/python"), "load.py", &example).await;
}

#[rstest]
#[tokio::test]
async fn a_restart_under_load_fails_no_call_of_a_node_client(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let example = Example::node().await;
    restart_under_load(engine, Path::new("node"), "load.mjs", &example).await;
}

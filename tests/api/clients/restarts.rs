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

/// Restarts two servers in turn, again and again. The client has a list of both addresses.
async fn rolling_restart_under_load(program: &Path, script: &str, example: &Example) {
    let database = TestDatabase::create(Postgres).await;
    let addresses = [fixed_address().await, fixed_address().await];
    let serve = |address: &str| Process::serve(&database, &[("SLUICE_LISTEN", address)]);
    let mut servers = addresses.each_ref().map(|address| serve(address));
    for server in &servers {
        server.channel().await;
    }
    let target = format!("ipv4:{}", addresses.join(","));
    let load = Load::start(program, script, example, &target).await;

    for number in [0, 1, 0, 1] {
        sleep(LOAD_TIME).await;
        servers[number].signal(Signal::TERM);
        assert_eq!(servers[number].wait_for_exit().await, Some(0));
        servers[number] = serve(&addresses[number]);
        servers[number].channel().await;
    }
    sleep(LOAD_TIME).await;
    load.assert_no_failed_call().await;
}

#[tokio::test]
async fn a_rolling_restart_of_two_servers_fails_no_call_of_a_python_client() {
    let example = Example::python().await;
    rolling_restart_under_load(&tool("venv/bin/python"), "load.py", &example).await;
}

#[tokio::test]
async fn a_rolling_restart_of_two_servers_fails_no_call_of_a_node_client() {
    let example = Example::node().await;
    rolling_restart_under_load(Path::new("node"), "load.mjs", &example).await;
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

//! The receivers of `examples/`, which verify with the public packages.

use std::process::Stdio;

use rstest::rstest;
use sluice::proto::v1 as pb;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::{Duration, timeout},
};

use super::fixture::{create_with, rename, server, update};
use crate::{
    clients::example::Example,
    harness::{Engine, Postgres, Sqlite, TestServer, http, tool},
};

/// The time limit of a line of a receiver.
const LINE_TIMEOUT: Duration = Duration::from_secs(40);

/// A running receiver.
struct Receiver {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Receiver {
    /// Starts a program on a free port.
    async fn start(example: &Example, program: &[&str], secret: &str) -> (Self, String) {
        let mut child = Command::new(program[0])
            .args(&program[1..])
            .args(["0", secret])
            .current_dir(example.path())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut receiver = Self {
            _child: child,
            lines: stdout.lines(),
        };
        let line = receiver.line().await;
        let port = line.strip_prefix("listening on ").unwrap().to_owned();
        (receiver, format!("127.0.0.1:{port}"))
    }

    async fn line(&mut self) -> String {
        let line = timeout(LINE_TIMEOUT, self.lines.next_line()).await;
        line.expect("the receiver prints").unwrap().unwrap()
    }
}

async fn receive_all(server: &TestServer, example: &Example, program: &[&str]) {
    let user = server.user().await;
    let request = pb::CreateWebhookRequest {
        url: "http://127.0.0.1:1/".to_owned(),
        disabled: true,
        ..Default::default()
    };
    let (webhook, secret) = create_with(&user, request).await;
    let (mut receiver, address) = Receiver::start(example, program, &secret).await;
    let request = pb::UpdateWebhookRequest {
        webhook_id: webhook.id.clone(),
        url: Some(format!("http://{address}/")),
        disabled: Some(false),
        ..Default::default()
    };
    update(&user, request).await;

    let test = pb::TestWebhookRequest {
        webhook_id: webhook.id,
    };
    let tested = user.client.webhook.clone().test_webhook(test).await;
    assert_eq!(tested.unwrap().into_inner().status_code, 204);
    assert_eq!(receiver.line().await, "test");
    let (project, _) = user.project().await;
    assert_eq!(
        receiver.line().await,
        format!("{} 1 project.created", project.id)
    );
    rename(&user, &project.id, "Renamed").await;
    assert_eq!(
        receiver.line().await,
        format!("{} 2 project.updated", project.id)
    );

    let forged = http(&address, "POST", "/", "{}").await;
    assert_eq!(forged.status, 401);
}

#[rstest]
#[tokio::test]
async fn the_python_receiver_takes_signed_messages_only(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let (server, example) = (server(engine).await, Example::copy("python").await);
    let python = tool("venv/bin/python");
    let program = [python.to_str().unwrap(), "webhook_receiver.py"];
    receive_all(&server, &example, &program).await;
}

#[rstest]
#[tokio::test]
async fn the_node_receiver_takes_signed_messages_only(#[values(Sqlite, Postgres)] engine: Engine) {
    let (server, example) = (server(engine).await, Example::node().await);
    let program = ["node", "dist/src/webhook-receiver.js"];
    receive_all(&server, &example, &program).await;
}

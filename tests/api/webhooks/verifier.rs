use std::process::Stdio;

use tokio::{
    io::AsyncWriteExt,
    process::{Child, ChildStdin, Command},
};

use super::endpoint::Received;
use crate::harness::tool;

/// Verifies each message with the Python package `standardwebhooks`, when it comes: the package
/// refuses old ones.
pub struct Verifier {
    python: Child,
    stdin: ChildStdin,
    messages: usize,
}

const PROGRAM: &str = "
import json, sys
from standardwebhooks import Webhook
webhooks, messages = {}, 0
for line in sys.stdin:
    given = json.loads(line)
    secret = given['secret']
    webhook = webhooks.get(secret) or webhooks.setdefault(secret, Webhook(secret))
    webhook.verify(given['body'], given['headers'])
    messages += 1
print(messages)
";

impl Verifier {
    pub fn start() -> Self {
        let mut python = Command::new(tool("venv/bin/python"))
            .args(["-c", PROGRAM])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stdin = python.stdin.take().unwrap();
        Self {
            python,
            stdin,
            messages: 0,
        }
    }

    /// Passes a message on.
    pub async fn verify(&mut self, secret: &str, message: &Received) {
        let line = serde_json::json!({
            "secret": secret,
            "body": message.body,
            "headers": message.headers,
        });
        let line = format!("{line}\n");
        let written = self.stdin.write_all(line.as_bytes()).await;
        written.expect("all messages so far were accepted");
        self.messages += 1;
    }

    /// Asserts that all messages were accepted.
    pub async fn finish(self) {
        drop(self.stdin);
        let output = self.python.wait_with_output().await.unwrap();
        assert!(output.status.success(), "a message was refused");
        let accepted = String::from_utf8(output.stdout).unwrap();
        assert_eq!(accepted.trim().parse(), Ok(self.messages));
    }
}

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, process::Command};

use crate::harness::{CommandOutput, Process, TestServer, User};

/// A user of the command line, with a home directory.
pub struct Cli {
    home: TempDir,
    server: String,
}

impl Cli {
    /// A user of a server, without a session.
    pub fn new(server: &str) -> Self {
        Self {
            home: TempDir::new().unwrap(),
            server: server.to_owned(),
        }
    }

    /// A new account, signed in.
    pub async fn signed_in(server: &TestServer) -> (Self, User) {
        let cli = Self::new(&format!("http://{}", server.address));
        let user = server.user().await;
        cli.login(&user).await;
        (cli, user)
    }

    /// Signs in.
    pub async fn login(&self, user: &User) {
        let arguments = ["login", "--email", &user.email, "--password-stdin"];
        let output = self.run_with_input(&arguments, user.password).await;
        assert_eq!(output.exit_code, Some(0), "{output:?}");
    }

    /// The environment of a command.
    pub fn environment(&self) -> Vec<(String, String)> {
        let home = self.home.path().to_str().unwrap();
        let pairs = [
            ("HOME", home),
            ("SLUICE_SERVER", &self.server),
            ("TERM", "xterm"),
        ];
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec()
    }

    /// A command.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Process::command(arguments, &[]);
        command.envs(self.environment());
        command
    }

    /// Runs a command.
    pub async fn run(&self, arguments: &[&str]) -> CommandOutput {
        Process::run(self.command(arguments)).await
    }

    /// Runs a command with a variable.
    pub async fn run_with(&self, arguments: &[&str], (name, value): (&str, &str)) -> CommandOutput {
        let mut command = self.command(arguments);
        command.env(name, value);
        Process::run(command).await
    }

    /// Runs a command with a line on standard input.
    pub async fn run_with_input(&self, arguments: &[&str], line: &str) -> CommandOutput {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input
            .write_all(format!("{line}\n").as_bytes())
            .await
            .unwrap();
        drop(input);
        let output = child.wait_with_output().await.unwrap();
        CommandOutput {
            exit_code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The standard output of a command that succeeds.
    pub async fn output(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert_eq!(output.exit_code, Some(0), "{arguments:?} {output:?}");
        output.stdout
    }

    /// The JSON that a command prints.
    pub async fn json(&self, arguments: &[&str]) -> Value {
        let arguments = [arguments, &["--output", "json"]].concat();
        serde_json::from_str(&self.output(&arguments).await).unwrap()
    }

    /// The file of a profile.
    pub fn profile(&self, name: &str) -> PathBuf {
        let folder = Path::new(".config/sluice/profiles");
        self.home.path().join(folder).join(format!("{name}.json"))
    }

    /// Changes a field of the default profile.
    pub fn edit_profile(&self, field: &str, value: &str) {
        let file = self.profile("default");
        let mut profile: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        profile[field] = value.into();
        fs::write(&file, profile.to_string()).unwrap();
    }

    /// A field of the default profile.
    pub fn profile_field(&self, field: &str) -> String {
        let text = fs::read(self.profile("default")).unwrap();
        let profile: Value = serde_json::from_slice(&text).unwrap();
        profile[field].as_str().unwrap().to_owned()
    }
}

/// Checks that a command failed with this exit code, and with a message that has these texts.
#[track_caller]
pub fn failed(output: &CommandOutput, exit_code: i32, texts: &[&str]) {
    assert_eq!(output.exit_code, Some(exit_code), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    for line in output.stderr.lines() {
        assert!(line.starts_with("sluice: "), "{output:?}");
    }
    for text in texts {
        assert!(output.stderr.contains(text), "{text} is not in {output:?}");
    }
}

//! Examples of `examples/`, copied into a folder of the test and built there as their READMEs say.

use std::{fs, path::PathBuf, process::Stdio, time::Duration};

use tempfile::TempDir;
use tokio::process::Command;

use crate::harness::{CommandOutput, Process, tool};

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

/// The time limit of a program of an example: a compiler shares the machine with other tests.
const TIME_LIMIT: Duration = Duration::from_mins(10);

/// A file below `tests/clients`.
pub fn client_file(name: &str) -> String {
    format!("{REPOSITORY}/tests/clients/{name}")
}

/// Runs `sluice api` with arguments, which must succeed; returns its output.
pub async fn api(arguments: &[&str]) -> String {
    let arguments: Vec<_> = ["api"].iter().chain(arguments).copied().collect();
    successful(Process::run(Process::command(&arguments, &[])).await)
}

#[track_caller]
pub fn successful(output: CommandOutput) -> String {
    let CommandOutput { stdout, stderr, .. } = &output;
    assert_eq!(output.exit_code, Some(0), "{stdout}{stderr}");
    output.stdout
}

/// An example with the proto files and the service config of `sluice api`.
pub struct Example {
    folder: TempDir,
}

impl Example {
    /// Copies an example, such as "python".
    pub async fn copy(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let example = Self { folder };
        let copy = Command::new("cp")
            .args(["-r", &format!("{REPOSITORY}/examples/{name}/."), "."])
            .current_dir(example.path())
            .status();
        assert!(copy.await.unwrap().success());
        api(&["proto", example.path().join("proto").to_str().unwrap()]).await;
        let config = example.service_config();
        api(&["service-config", "--output", &config]).await;
        example
    }

    /// Copies an example with npm packages, which are installed already.
    pub async fn copy_with_packages(name: &str) -> Self {
        let example = Self::copy(name).await;
        let packages = tool(&format!("npm/{name}/node_modules"));
        std::os::unix::fs::symlink(packages, example.path().join("node_modules")).unwrap();
        example
    }

    /// The Python example with its generated code.
    pub async fn python() -> Self {
        let example = Self::copy("python").await;
        fs::create_dir(example.path().join("gen")).unwrap();
        let generate = "$0 -m grpc_tools.protoc -I proto --python_out=gen --grpc_python_out=gen \
                        $(cd proto && find * -name '*.proto')";
        let python = tool("venv/bin/python");
        example
            .run("sh", &["-c", generate, python.to_str().unwrap()])
            .await;
        example
    }

    /// The Python example with the code that Debian's compiler and its plugin generate.
    pub async fn debian_python() -> Self {
        let example = Self::copy("python").await;
        let generate = "mkdir gen && protoc -I proto --python_out=gen --grpc_python_out=gen \
                        --plugin=protoc-gen-grpc_python=$(command -v grpc_python_plugin) \
                        $(cd proto && find * -name '*.proto')";
        example.run("sh", &["-c", generate]).await;
        example
    }

    /// The example for Node.js, built.
    pub async fn node() -> Self {
        let example = Self::copy_with_packages("node").await;
        example.run("npm", &["run", "generate"]).await;
        example.run("npm", &["run", "build"]).await;
        example
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// The file with the service config.
    pub fn service_config(&self) -> String {
        let file = self.path().join("service_config.json");
        file.to_str().unwrap().to_owned()
    }

    /// Runs a command in the folder, which must succeed; returns its output.
    pub async fn run(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.path())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        successful(Process::run_within(TIME_LIMIT, command).await)
    }
}

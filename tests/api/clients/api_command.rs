use std::fs;

use prost::Message;
use prost_types::FileDescriptorSet;
use tokio::process::Command;

use super::example::{api, successful};
use crate::harness::{Process, Sqlite, TestDatabase, tool};

#[tokio::test]
async fn the_protoset_has_every_import_before_the_file_that_imports_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sluice.protoset");
    api(&["protoset", "--output", file.to_str().unwrap()]).await;

    let set = FileDescriptorSet::decode(&*fs::read(file).unwrap()).unwrap();
    let mut seen = Vec::new();
    for file in &set.file {
        for import in &file.dependency {
            assert!(seen.contains(&import), "{} imports {import}", file.name());
        }
        seen.push(file.name.as_ref().unwrap());
    }
    for expected in [
        "sluice/v1/stream.proto",
        "google/rpc/status.proto",
        "google/rpc/error_details.proto",
        "google/protobuf/any.proto",
        "google/protobuf/timestamp.proto",
        "grpc/health/v1/health.proto",
    ] {
        assert!(seen.iter().any(|name| *name == expected), "{expected}");
    }
}

#[tokio::test]
async fn the_proto_files_replace_older_ones_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("new/proto");
    let auth = out.join("sluice/v1/auth.proto");
    api(&["proto", out.to_str().unwrap()]).await;
    fs::write(&auth, "old").unwrap();
    api(&["proto", "--output", out.to_str().unwrap()]).await;

    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/proto/sluice/v1/auth.proto");
    assert_eq!(fs::read(auth).unwrap(), fs::read(own).unwrap());
    for import in [
        "google/rpc/status.proto",
        "google/rpc/error_details.proto",
        "grpc/health/v1/health.proto",
    ] {
        assert!(out.join(import).is_file(), "{import}");
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_created_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let output = Process::run(Process::command(
        &["api", "proto", file.to_str().unwrap()],
        &[],
    ));
    let output = output.await;
    assert_eq!(output.exit_code, Some(1));
    assert!(
        output.stderr.contains(file.to_str().unwrap()),
        "{}",
        output.stderr
    );
}

/// grpcurl with arguments, against a server without reflection; returns its output.
async fn grpcurl(arguments: &[&str]) -> String {
    let database = TestDatabase::create(Sqlite).await;
    let server = Process::serve(&database, &[("SLUICE_REFLECTION", "false")]);
    server.channel().await;
    let address = server.address().await;
    let mut command = Command::new(tool("bin/grpcurl"));
    command
        .args(arguments)
        .args(["-plaintext", &*address, "grpc.health.v1.Health/Check"]);
    let health = successful(Process::run(command).await);
    let mut command = Command::new(tool("bin/grpcurl"));
    command.args(arguments).args([
        "-plaintext",
        "-d",
        "{}",
        &*address,
        "sluice.v1.AuthService/SignIn",
    ]);
    health + &Process::run(command).await.stderr
}

#[tokio::test]
async fn grpcurl_calls_with_the_protoset_and_decodes_the_details_of_errors() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sluice.protoset");
    api(&["protoset", "-o", file.to_str().unwrap()]).await;
    let output = grpcurl(&["-protoset", file.to_str().unwrap()]).await;
    assert!(output.contains("SERVING"), "{output}");
    assert!(output.contains("fieldViolations"), "{output}");
}

#[tokio::test]
async fn grpcurl_calls_with_the_proto_files_and_decodes_the_details_of_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    api(&["proto", path]).await;
    let arguments: Vec<_> = [
        "sluice/v1/auth.proto",
        "google/rpc/error_details.proto",
        "grpc/health/v1/health.proto",
    ]
    .iter()
    .flat_map(|file| ["-proto", file])
    .chain(["-import-path", path])
    .collect();
    let output = grpcurl(&arguments).await;
    assert!(output.contains("SERVING"), "{output}");
    assert!(output.contains("fieldViolations"), "{output}");
}

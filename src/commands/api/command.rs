use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Subcommand;

use super::service_config::service_config;
use crate::commands::error::CommandError;

/// The descriptor set of the contract, of `google.rpc` and of `grpc.health.v1`, with all imports
/// and comments.
const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sluice_api.bin"));

/// The path of each proto file, as in imports, and its text.
const PROTO_FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/sluice_api.files.rs"));

/// Print the contract of the API, for clients in any language.
///
/// The contract includes the details of errors (google.rpc) and health checks (grpc.health.v1).
#[derive(Subcommand)]
pub(in crate::commands) enum Api {
    /// Print a descriptor set (FileDescriptorSet) with all imports, for grpcurl -protoset and others.
    Protoset {
        /// Write to this file instead of standard output.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Write the proto files into a folder, for protoc -I, grpcurl -import-path and others.
    ///
    /// Creates the folder if needed, and replaces files of the same names.
    Proto {
        /// The folder to write to.
        #[arg(value_name = "DIR", required_unless_present = "output")]
        directory: Option<PathBuf>,
        /// The same as DIR.
        #[arg(short, long, value_name = "DIR", conflicts_with = "directory")]
        output: Option<PathBuf>,
    },
    /// Print a gRPC service config (JSON): deadlines, and retries of the calls that can be repeated.
    ServiceConfig {
        /// Write to this file instead of standard output.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

/// Writes the selected part of the contract.
pub(in crate::commands) fn run(command: Api) -> Result<(), CommandError> {
    match command {
        Api::Protoset { output } => write(output.as_deref(), DESCRIPTOR_SET),
        Api::Proto { directory, output } => {
            let directory = directory.or(output);
            write_proto_files(&directory.context("DIR is missing: name the folder to write to")?)
        }
        Api::ServiceConfig { output } => {
            let text = format!("{:#}\n", service_config(DESCRIPTOR_SET));
            write(output.as_deref(), text.as_bytes())
        }
    }
}

/// Writes to a file, or to standard output.
fn write(output: Option<&Path>, bytes: &[u8]) -> Result<(), CommandError> {
    match output {
        Some(file) => {
            fs::write(file, bytes).with_context(|| format!("cannot write {}", file.display()))?;
        }
        None => {
            let written = io::stdout().lock().write_all(bytes);
            written.context("cannot write to standard output")?;
        }
    }
    Ok(())
}

fn write_proto_files(directory: &Path) -> Result<(), CommandError> {
    for (name, text) in PROTO_FILES {
        let file = directory.join(name);
        let folder = file.parent().unwrap_or(directory);
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        write(Some(&file), text.as_bytes())?;
    }
    Ok(())
}

//! Compiles `proto/` to Rust with protox, so that no `protoc` is needed, and
//! writes the descriptor set that server reflection and the tests read.

use std::{env, error::Error, fs, path::PathBuf};

const FILES: [&str; 4] = [
    "sluice/v1/auth.proto",
    "sluice/v1/error.proto",
    "sluice/v1/project.proto",
    "sluice/v1/stream.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=migrations");

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler
        .include_source_info(true)
        .include_imports(true)
        .open_files(FILES)?;

    let descriptors = PathBuf::from(env::var("OUT_DIR")?).join("sluice_v1.bin");
    fs::write(descriptors, compiler.encode_file_descriptor_set())?;

    tonic_prost_build::configure().compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

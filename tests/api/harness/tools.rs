use std::{env, path::PathBuf};

/// The path of a program that `make test` installs.
pub fn tool(path: &str) -> PathBuf {
    let tools = env::var("SLUICE_TEST_TOOLS")
        .expect("SLUICE_TEST_TOOLS names the folder of grpcurl and Python: run `make test`");
    PathBuf::from(tools).join(path)
}

//! Compiles `proto/` to Rust with protox, so that no `protoc` is needed.
//!
//! Also writes the descriptor set for server reflection and the tests, and what `sluice api`
//! prints: a descriptor set with all imports, and the texts of the proto files.

use std::{env, error::Error, fs, path::Path, path::PathBuf};

use protox::prost_reflect::{DescriptorPool, FieldDescriptor, MessageDescriptor};

/// The line of a field's comment that marks the field as secret. An option would need an import
/// that not every toolchain finds; `debug_redact` needs protoc 22.
const SECRET_MARK: &str = "Secret: never log it.";

const FILES: [&str; 9] = [
    "sluice/v1/auth.proto",
    "sluice/v1/error.proto",
    "sluice/v1/operator.proto",
    "sluice/v1/organization.proto",
    "sluice/v1/project.proto",
    "sluice/v1/relay.proto",
    "sluice/v1/stream.proto",
    "sluice/v1/usage.proto",
    "sluice/v1/webhook.proto",
];

/// The proto files of `sluice api` that the contract does not import: the details of errors, and
/// health checks.
const CLIENT_FILES: [&str; 3] = [
    "google/rpc/error_details.proto",
    "google/rpc/status.proto",
    "grpc/health/v1/health.proto",
];

/// The folder of `CLIENT_FILES`.
const CLIENT_FOLDER: &str = "src/commands/api/imports";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed={CLIENT_FOLDER}");
    println!("cargo:rerun-if-changed=migrations");

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler
        .include_source_info(true)
        .include_imports(true)
        .open_files(FILES)?;

    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(
        out.join("sluice_v1.bin"),
        compiler.encode_file_descriptor_set(),
    )?;

    let path = out.join("sluice.v1.debug.rs");
    // JSON output finds the descriptor of a message by its name.
    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    tonic_prost_build::configure()
        .skip_debug(write_redacted(&compiler.descriptor_pool(), &path)?)
        .compile_fds_with_config(compiler.file_descriptor_set(), config)?;
    write_client_contract(&out)
}

/// Writes the descriptor set and the list of proto files for `sluice api`. The list is a slice of
/// pairs: the path of a file in imports, and its text. Files of `google/protobuf` are not in it,
/// because every compiler has them.
fn write_client_contract(out: &Path) -> Result<(), Box<dyn Error>> {
    let mut compiler = protox::Compiler::new(["proto", CLIENT_FOLDER])?;
    compiler
        .include_source_info(true)
        .include_imports(true)
        .open_files(FILES.into_iter().chain(CLIENT_FILES))?;
    fs::write(
        out.join("sluice_api.bin"),
        compiler.encode_file_descriptor_set(),
    )?;

    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let mut list = String::from("&[\n");
    for file in compiler.files() {
        if let Some(path) = file.path() {
            let (name, path) = (file.name(), root.join(path));
            list.push_str(&format!("    ({name:?}, include_str!({path:?})),\n"));
        }
    }
    list.push_str("]\n");
    fs::write(out.join("sluice_api.files.rs"), list)?;
    Ok(())
}

/// Writes a redacting `Debug` for each message with secret fields, which prost would print, and
/// the table of these fields. Returns the names of the messages.
fn write_redacted(pool: &DescriptorPool, path: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let mut code = String::new();
    let mut names = Vec::new();
    let mut table = String::new();
    for message in pool.all_messages() {
        let secrets = message.fields().filter(is_secret);
        let secrets: Vec<_> = secrets.map(|field| field.full_name().to_owned()).collect();
        if message.package_name() == "sluice.v1" && !secrets.is_empty() {
            code.push_str(&redacting_debug(&message)?);
            names.push(format!(".{}", message.full_name()));
        }
        for secret in secrets {
            table.push_str(&format!("    \"{secret}\",\n"));
        }
    }
    code.push_str(&format!(
        "/// The fields that the contract marks as secret, such as `sluice.v1.Tokens.access_token`.\n\
         pub const SECRET_FIELDS: &[&str] = &[\n{table}];\n"
    ));
    fs::write(path, code)?;
    Ok(names)
}

/// Whether a line of the field's comment is the mark of secrets.
fn is_secret(field: &FieldDescriptor) -> bool {
    let message = field.parent_message();
    let info = message
        .parent_file_descriptor_proto()
        .source_code_info
        .as_ref();
    let mut locations = info.into_iter().flat_map(|info| &info.location);
    let own = locations.find(|one| one.path == field.path());
    own.is_some_and(|one| {
        let mut lines = one.leading_comments().lines();
        lines.any(|line| line.trim() == SECRET_MARK)
    })
}

fn redacting_debug(message: &MessageDescriptor) -> Result<String, Box<dyn Error>> {
    let name = message.name();
    let is_in_oneof = |field: FieldDescriptor| {
        let oneof = field.containing_oneof();
        oneof.is_some_and(|oneof| !oneof.is_synthetic())
    };
    if message.parent_message().is_some() || message.fields().any(is_in_oneof) {
        return Err(
            format!("{name}: secrets in oneofs and nested messages are not supported").into(),
        );
    }

    let mut fields = String::new();
    for field in message.fields() {
        let name = field.name();
        let value = match is_secret(&field) {
            true => r#"&"***""#.to_owned(),
            false => format!("&self.{name}"),
        };
        fields.push_str(&format!("            .field(\"{name}\", {value})\n"));
    }
    Ok(format!(
        "impl ::core::fmt::Debug for {name} {{
    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {{
        f.debug_struct(\"{name}\")
{fields}            .finish()
    }}
}}
"
    ))
}

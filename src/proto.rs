//! The code generated from `proto/sluice/v1`.

/// Messages, clients and servers of package `sluice.v1`.
#[allow(
    missing_docs,
    clippy::all,
    reason = "generated; the comments are in the proto files"
)]
pub mod v1 {
    tonic::include_proto!("sluice.v1");
    // `Debug` of messages with secrets, which redacts them.
    include!(concat!(env!("OUT_DIR"), "/sluice.v1.debug.rs"));
}

/// The descriptor set of all proto files with their comments, for server reflection.
pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("sluice_v1");

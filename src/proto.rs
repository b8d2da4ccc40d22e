//! The code generated from `proto/sluice/v1`.

use std::sync::LazyLock;

use anyhow::Context;
use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use prost_types::{FileDescriptorSet, MethodDescriptorProto};

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

/// The RPCs of a descriptor set, each with the full name of its service.
///
/// # Panics
///
/// If the descriptor set is malformed. Those of this program are generated with it.
pub fn methods(descriptors: &[u8]) -> impl Iterator<Item = (String, MethodDescriptorProto)> {
    let set = FileDescriptorSet::decode(descriptors).expect("descriptors are well-formed");
    set.file.into_iter().flat_map(|file| {
        let package = file.package().to_owned();
        file.service.into_iter().flat_map(move |service| {
            let name = format!("{package}.{}", service.name());
            let methods = service.method.into_iter();
            methods.map(move |method| (name.clone(), method))
        })
    })
}

/// The messages of the contract.
static CONTRACT: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).expect("descriptors are well-formed"));

/// A message as JSON in the standard mapping of Protocol Buffers: on one line, or with a line for
/// each field.
pub fn json<M: Name>(message: &M, is_pretty: bool) -> anyhow::Result<String> {
    let descriptor = CONTRACT.get_message_by_name(&M::full_name());
    let descriptor = descriptor.context("it is not in the contract")?;
    let message = DynamicMessage::decode(descriptor, &*message.encode_to_vec())?;

    let mut text = Vec::new();
    let options = SerializeOptions::new();
    match is_pretty {
        true => {
            message.serialize_with_options(&mut serde_json::Serializer::pretty(&mut text), &options)
        }
        false => {
            message.serialize_with_options(&mut serde_json::Serializer::new(&mut text), &options)
        }
    }?;
    Ok(String::from_utf8(text)?)
}

//! The messages, requests and secret fields of the contract, from its descriptor set.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorSet, field_descriptor_proto::Type,
};
use sluice::proto::{DESCRIPTORS, v1::SECRET_FIELDS};

/// The messages of `sluice.v1` by their full names, such as `.sluice.v1.User`.
pub fn messages() -> BTreeMap<String, DescriptorProto> {
    let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap().file;
    let ours = files
        .into_iter()
        .filter(|file| file.package() == "sluice.v1");
    ours.flat_map(|file| file.message_type)
        .map(|message| (format!(".sluice.v1.{}", message.name()), message))
        .collect()
}

/// The request of each RPC by the RPC's path.
pub fn requests() -> BTreeMap<String, DescriptorProto> {
    let messages = messages();
    let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap().file;
    let mut requests = BTreeMap::new();
    for file in files.iter().filter(|file| file.package() == "sluice.v1") {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/sluice.v1.{}/{}", service.name(), method.name());
                requests.insert(path, messages[method.input_type()].clone());
            }
        }
    }
    requests
}

/// Each RPC with each selected field of its request, nested ones too:
/// `/sluice.v1.StreamService/EndPublish publisher.node_id`.
pub fn request_fields(is_wanted: impl Fn(&FieldDescriptorProto) -> bool) -> Vec<String> {
    let messages = messages();
    let mut found = Vec::new();
    for (path, request) in requests() {
        fields(&messages, &request, "", &is_wanted, &mut |field| {
            found.push(format!("{path} {field}"));
        });
    }
    found
}

fn fields(
    messages: &BTreeMap<String, DescriptorProto>,
    message: &DescriptorProto,
    above: &str,
    is_wanted: &impl Fn(&FieldDescriptorProto) -> bool,
    found: &mut impl FnMut(String),
) {
    for field in &message.field {
        let name = format!("{above}{}", field.name());
        if is_wanted(field) {
            found(name.clone());
        }
        if field.r#type() == Type::Message
            && let Some(inner) = messages.get(field.type_name())
        {
            fields(messages, inner, &format!("{name}."), is_wanted, found);
        }
    }
}

/// The fields that are marked as secret, such as `.sluice.v1.Tokens.access_token`.
pub fn secret_fields() -> BTreeSet<String> {
    let fields = SECRET_FIELDS.iter();
    fields.map(|field| format!(".{field}")).collect()
}

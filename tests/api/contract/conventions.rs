//! The conventions of names and fields that every file, list and change of the contract follows.

use std::collections::BTreeMap;

use prost::Message;
use prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet};
use sluice::proto::DESCRIPTORS;

use super::descriptors::{messages, requests};

/// RPCs that change something and have no `request_id`: they are idempotent by themselves, or
/// their credential works once, so that a repetition has no second effect.
const IDEMPOTENT: [&str; 45] = [
    "AcceptInvitation",
    "AdoptApiKey",
    "BeginPasskeyAuthentication",
    "BeginPasskeyRegistration",
    "BeginPublish",
    "CancelEmailChange",
    "ChangePassword",
    "ClaimRelays",
    "ConfirmEmailChange",
    "ConfirmSecondFactor",
    "CreateSecondFactor",
    "DeleteMe",
    "DeletePasskey",
    "DeleteSecondFactor",
    "EndPublish",
    "ExchangeApiKey",
    "FinishPasskeyRegistration",
    "HeartbeatPublish",
    "LeaveOrganization",
    "Reauthenticate",
    // With the same `webhook-id`, by which an endpoint knows it.
    "RedeliverWebhook",
    "RefreshTokens",
    "RegenerateRecoveryCodes",
    "RemoveMember",
    "ReportRelays",
    "RequestEmailChange",
    "RequestEmailVerification",
    "RequestPasswordReset",
    "ResetPassword",
    "ResumeUser",
    "RevealStreamKey",
    "RevokeInvitation",
    "RevokeOperatorKey",
    "SetOrganizationQuota",
    "SignIn",
    "SignInWithIdToken",
    "SignInWithPasskey",
    "SignOut",
    "SuspendUser",
    "SyncNode",
    "TestWebhook",
    "TransferProject",
    "UpdateMember",
    "UpdatePasskey",
    "VerifyEmail",
];

/// The proto files of `sluice.v1`.
fn files() -> Vec<FileDescriptorProto> {
    let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap().file;
    let ours = files.into_iter();
    ours.filter(|file| file.package() == "sluice.v1").collect()
}

/// The request of each RPC by the RPC's name.
fn rpcs() -> BTreeMap<String, DescriptorProto> {
    let rpcs = requests().into_iter();
    rpcs.map(|(path, request)| (path.rsplit_once('/').unwrap().1.to_owned(), request))
        .collect()
}

fn has_field(message: &DescriptorProto, name: &str) -> bool {
    message.field.iter().any(|field| field.name() == name)
}

#[test]
fn every_file_names_its_package_in_each_language() {
    for file in files() {
        let options = file.options.clone().unwrap();
        let name = file.name();

        assert_eq!(options.go_package(), "sluice/v1;sluicev1", "{name}");
        assert_eq!(options.java_package(), "sluice.v1", "{name}");
        assert!(options.java_multiple_files(), "{name}");
        assert_ne!(options.java_outer_classname(), "", "{name}");
        assert_eq!(options.csharp_namespace(), "Sluice.V1", "{name}");
        assert_eq!(options.objc_class_prefix(), "SLC", "{name}");
        assert_eq!(options.php_namespace(), "Sluice\\V1", "{name}");
        let metadata = options.php_metadata_namespace();
        assert_eq!(metadata, "Sluice\\V1\\GPBMetadata", "{name}");
        assert_eq!(options.ruby_package(), "Sluice::V1", "{name}");
        assert_eq!(options.swift_prefix(), "Sluice", "{name}");
    }
}

/// A plain `protoc` finds only these.
#[test]
fn files_import_only_well_known_types_and_each_other() {
    for file in files() {
        for import in &file.dependency {
            let is_known = ["google/protobuf/", "sluice/v1/"]
                .iter()
                .any(|folder| import.starts_with(folder));
            assert!(is_known, "{}: {import}", file.name());
        }
    }
}

#[test]
fn every_list_has_pages() {
    let messages = messages();
    let lists: Vec<_> = rpcs()
        .into_iter()
        .filter(|(name, _)| name.starts_with("List"))
        .collect();
    assert!(lists.len() >= 9);
    for (name, request) in lists {
        let response = &messages[&format!(".sluice.v1.{name}Response")];
        assert!(has_field(&request, "page_size"), "{name}");
        assert!(has_field(&request, "page_token"), "{name}");
        assert!(has_field(response, "next_page_token"), "{name}");
    }
}

#[test]
fn every_update_and_deletion_of_a_resource_with_an_etag_takes_the_etag() {
    let mut found = 0;
    for (name, request) in rpcs() {
        let resource = ["Update", "Delete"]
            .iter()
            .find_map(|verb| name.strip_prefix(verb));
        let resource = resource.and_then(|noun| messages().remove(&format!(".sluice.v1.{noun}")));
        if resource.is_some_and(|resource| has_field(&resource, "etag")) {
            assert!(has_field(&request, "etag"), "{name}");
            found += 1;
        }
    }
    assert!(found >= 4);
}

#[test]
fn every_rpc_that_changes_something_has_a_request_id_unless_it_is_idempotent() {
    let mut idempotent = Vec::new();
    for (name, request) in rpcs() {
        let reads = ["Check", "Get", "List", "Watch"];
        let is_read = reads.iter().any(|verb| name.starts_with(verb));
        if !is_read && !has_field(&request, "request_id") {
            idempotent.push(name);
        }
    }
    assert_eq!(idempotent, IDEMPOTENT);
}

#[test]
fn one_word_is_used_for_one_thing() {
    for (name, message) in messages() {
        for field in &message.field {
            let path = format!("{name}.{}", field.name());
            let other_words = ["name", "status", "enabled", "desired"];
            assert!(!other_words.contains(&field.name()), "{path}");
            if field.type_name() == ".google.protobuf.Timestamp" {
                let is_bound = ["_after", "_before"]
                    .iter()
                    .any(|end| field.name().ends_with(end));
                let starts = [".sluice.v1.Issue.since", ".sluice.v1.MediaIssue.since"];
                let is_start = starts.contains(&&*path);
                let is_time = field.name().ends_with("_time");
                assert!(is_bound || is_start || is_time, "{path}");
            }
        }
    }
}

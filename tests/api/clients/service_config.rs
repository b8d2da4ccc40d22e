use std::collections::BTreeSet;

use serde_json::{Value, json};
use sluice::proto::{DESCRIPTORS, methods};

use super::example::api;

async fn method_configs() -> Vec<Value> {
    let config: Value = serde_json::from_str(&api(&["service-config"]).await).unwrap();
    config["methodConfig"].as_array().unwrap().clone()
}

/// The config of an RPC, by its name without the service.
fn config_of<'a>(configs: &'a [Value], method: &str) -> &'a Value {
    let has_method = |config: &&Value| {
        let mut names = config["name"].as_array().unwrap().iter();
        names.any(|name| name["method"] == method)
    };
    configs.iter().find(has_method).expect(method)
}

#[tokio::test]
async fn the_service_config_names_every_rpc_once_and_no_other() {
    let mut named = BTreeSet::new();
    for config in method_configs().await {
        for name in config["name"].as_array().unwrap() {
            let [service, method] = ["service", "method"].map(|key| name[key].as_str().unwrap());
            assert!(named.insert(format!("{service}/{method}")), "{name} twice");
        }
    }
    let in_contract = methods(DESCRIPTORS).chain(methods(tonic_health::pb::FILE_DESCRIPTOR_SET));
    let in_contract = in_contract.map(|(service, method)| format!("{service}/{}", method.name()));
    assert_eq!(named, in_contract.collect());
}

#[tokio::test]
async fn only_calls_that_can_be_repeated_are_retried_and_only_when_unavailable() {
    let configs = method_configs().await;
    for retried in [
        "GetProject",
        "ListStreams",
        "CreateProject",
        "BeginPublish",
        "WatchProject",
    ] {
        let policy = &config_of(&configs, retried)["retryPolicy"];
        assert_eq!(
            policy["retryableStatusCodes"],
            json!(["UNAVAILABLE"]),
            "{retried}"
        );
    }
    for unrepeatable in ["ChangePassword", "ResetPassword", "VerifyEmail"] {
        let config = config_of(&configs, unrepeatable);
        assert!(config.get("retryPolicy").is_none(), "{config}");
    }
}

#[tokio::test]
async fn calls_have_a_deadline_and_wait_for_a_server_but_streams_have_none() {
    let configs = method_configs().await;
    for (service, method) in methods(DESCRIPTORS) {
        let config = config_of(&configs, method.name());
        let is_unary = !method.server_streaming();
        let context = format!("{service} {config}");
        assert_eq!(config["timeout"].is_string(), is_unary, "{context}");
        assert_eq!(config["waitForReady"] == true, is_unary, "{context}");
    }
}

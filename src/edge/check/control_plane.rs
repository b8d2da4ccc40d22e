use tonic::{Code, Status};
use uuid::Uuid;

use super::edge_check::{CheckResult, EdgeCheck, Outcome};
use crate::{
    domain::Scope,
    edge::{control_plane::CALL_TIMEOUT, error_class},
    error::with_causes,
    proto::v1::{
        ErrorReason, HeartbeatPublishRequest, Publisher, stream_service_client::StreamServiceClient,
    },
};

impl EdgeCheck {
    /// Exchanges the API key, and makes a call that changes nothing.
    pub(super) async fn check_control_plane(&self) -> Vec<CheckResult> {
        let (reached, key) = match self.control.exchange_api_key().await {
            Ok(scopes) => (Ok(self.reached()), self.check_scopes(&scopes)),
            Err(status) if status.code() == Code::Unauthenticated => {
                (Ok(self.reached()), Err(self.key_refused(&status)))
            }
            Err(status) => {
                let unknown = "not tested: the control plane does not answer".to_owned();
                (Err(self.unreachable(&status)), Err(unknown))
            }
        };
        let node = match &key {
            Ok(_) => self.check_node().await,
            Err(_) => Err("not tested: it needs the API key".to_owned()),
        };
        [
            ("control plane", reached),
            ("API key", key),
            ("node id", node),
        ]
        .map(|(subject, outcome)| CheckResult { subject, outcome })
        .into()
    }

    fn reached(&self) -> String {
        format!("{} answers", self.config.control_plane)
    }

    fn unreachable(&self, status: &Status) -> String {
        let url = &self.config.control_plane;
        let cause = with_causes(status);
        let advice = match url.scheme_str() == Some("https") {
            true => {
                "compare address and port with SLUICE_LISTEN of the server; for a private \
                 certificate authority set SLUICE_CONTROL_PLANE_CA"
            }
            false => {
                "compare address and port with SLUICE_LISTEN of the server, which needs https:// \
                 here if it has a certificate"
            }
        };
        format!("{url} (SLUICE_CONTROL_PLANE) does not answer: {cause}: {advice}")
    }

    fn key_refused(&self, status: &Status) -> String {
        let node = &self.node_id;
        let reason = status.message();
        format!(
            "the control plane refuses SLUICE_API_KEY ({reason}): create one with `sluice admin \
             create-api-key --scope streams:publish --scope relays:work --name {node} --node-id \
             {node}`"
        )
    }

    fn check_scopes(&self, scopes: &[String]) -> Outcome {
        let relays = (self.config.relay_capacity > 0).then_some(Scope::RelaysWork);
        let needed = [Some(Scope::StreamsPublish), relays].into_iter().flatten();
        let missing: Vec<_> = needed
            .map(Scope::as_str)
            .filter(|needed| !scopes.iter().any(|scope| scope == needed))
            .collect();
        match missing.is_empty() {
            true => Ok(format!("it has the scopes {}", scopes.join(" and "))),
            false => Err(format!(
                "it lacks the scope {}: create another key with `sluice admin create-api-key`",
                missing.join(" and ")
            )),
        }
    }

    /// Reports a publish that does not exist: the control plane checks the node first.
    async fn check_node(&self) -> Outcome {
        let node_id = &self.node_id;
        let request = HeartbeatPublishRequest {
            stream_id: Uuid::now_v7().to_string(),
            epoch: 1,
            publisher: Some(Publisher {
                node_id: node_id.clone(),
                boot_id: "check".to_owned(),
                connection_id: "check".to_owned(),
                ..Publisher::default()
            }),
            stats: None,
        };
        let heartbeat = StreamServiceClient::heartbeat_publish;
        let answer = self
            .control
            .call(Some(CALL_TIMEOUT), request, heartbeat)
            .await;
        let Err(status) = answer else {
            return Ok(node_id.clone());
        };
        match error_class::reason(&status) {
            Some(ErrorReason::ResourceNotFound) => Ok(node_id.clone()),
            Some(ErrorReason::NodeMismatch) => Err(format!(
                "the API key is bound to another node than {node_id} (SLUICE_NODE_ID): use its \
                 node id, or create a key with --node-id {node_id}"
            )),
            _ => Err(format!(
                "the control plane does not accept reports of {node_id}: {}",
                with_causes(&status)
            )),
        }
    }
}

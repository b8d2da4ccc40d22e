use std::{collections::HashMap, sync::LazyLock};

use http::Extensions;
use prost::Message;
use prost_types::FileDescriptorSet;

use crate::{
    auth::access::{self, Access},
    domain::Scope,
    proto::DESCRIPTORS,
    telemetry::metrics::{CallMetrics, call_metrics},
};

/// What the layers need to know of an RPC of `sluice.v1`.
///
/// A call is looked up once, by the outermost layer that needs it; those within find it
/// in the extensions of the request.
#[derive(Debug)]
pub struct Rpc {
    is_stream: bool,
    is_vital: bool,
    access: Option<Access>,
    metrics: &'static CallMetrics,
}

/// All of them, by path.
static RPCS: LazyLock<HashMap<String, Rpc>> = LazyLock::new(|| {
    let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap_or_default();
    let services = files.file.iter().flat_map(|file| {
        let services = file.service.iter();
        services.map(move |service| (format!("{}.{}", file.package(), service.name()), service))
    });
    services
        .flat_map(|(name, service)| {
            let methods = service.method.iter();
            methods.map(move |method| {
                let path = format!("/{name}/{}", method.name());
                let access = access::needed_for(&path);
                let rpc = Rpc {
                    is_stream: method.server_streaming(),
                    is_vital: is_of_machines(access),
                    access,
                    metrics: call_metrics(&path),
                };
                (path, rpc)
            })
        })
        .collect()
});

impl Rpc {
    /// The RPC with this path; `None` if it is not one of ours.
    pub fn of(path: &str) -> Option<&'static Self> {
        RPCS.get(path)
    }

    /// The RPC of a request that [`Rpc::mark`] has seen.
    pub fn marked(extensions: &Extensions) -> Option<&'static Self> {
        extensions.get::<&'static Self>().copied()
    }

    /// Puts it, and what its caller needs, where layers and the interceptor find it.
    pub fn mark(&'static self, extensions: &mut Extensions) {
        extensions.insert(self);
        if let Some(access) = self.access {
            extensions.insert(access);
        }
    }

    /// What counts its calls.
    pub fn metrics(&self) -> &'static CallMetrics {
        self.metrics
    }

    /// Whether its answer goes on for long.
    pub fn is_stream(&self) -> bool {
        self.is_stream
    }

    /// Whether streams end if it is refused for long: what media servers and relay
    /// workers call.
    pub fn is_vital(&self) -> bool {
        self.is_vital
    }
}

fn is_of_machines(access: Option<Access>) -> bool {
    match access {
        Some(Access::Scopes(scopes)) => scopes
            .iter()
            .any(|scope| [Scope::StreamsPublish, Scope::RelaysWork].contains(scope)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{RPCS, Rpc};

    fn paths(chosen: impl Fn(&Rpc) -> bool) -> Vec<&'static str> {
        let chosen = RPCS.iter().filter(|(_, rpc)| chosen(rpc));
        let mut names: Vec<_> = chosen
            .filter_map(|(path, _)| path.rsplit('/').next())
            .collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn two_answers_go_on_for_long() {
        assert_eq!(
            paths(|rpc| rpc.is_stream()),
            ["ClaimRelays", "WatchProject"]
        );
    }

    #[test]
    fn what_media_servers_and_relay_workers_call_is_vital() {
        let vital = [
            "BeginPublish",
            "ClaimRelays",
            "EndPublish",
            "HeartbeatPublish",
            "ReportRelays",
            "SyncNode",
        ];
        assert_eq!(paths(|rpc| rpc.is_vital()), vital);
    }

    #[test]
    fn what_is_not_ours_is_not_known() {
        assert!(Rpc::of("/grpc.health.v1.Health/Check").is_none());
        assert!(Rpc::of("/sluice.v1.AuthService/Nothing").is_none());
    }
}

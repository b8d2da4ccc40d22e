use std::{collections::HashMap, sync::LazyLock};

use http::Extensions;

use crate::{
    auth::access::{self, RequiredAccess},
    domain::Scope,
    proto::{self, DESCRIPTORS},
    telemetry::metrics::{CallMetrics, call_metrics},
};

/// The maximum size of a request, in bytes.
const MAX_REQUEST_SIZE: usize = 64 * 1024;

/// Of the RPCs that create or update something of a project.
const MAX_EDIT_SIZE: usize = 256 * 1024;

/// Of the RPCs with which media servers and workers report everything that they run.
const MAX_REPORT_SIZE: usize = 2 * 1024 * 1024;

/// Of health checks and reflection.
const MAX_ANONYMOUS_SIZE: usize = 4 * 1024;

/// An RPC of `sluice.v1`, or of the health and reflection services, as the layers need it.
///
/// The outermost layer that needs it looks it up once; inner layers find it in the
/// extensions of the request.
#[derive(Debug)]
pub(super) struct MethodInfo {
    /// Whether it is of `sluice.v1`.
    pub is_sluice: bool,
    /// Whether its response is a stream.
    pub is_stream: bool,
    /// Whether its request is a stream, too.
    pub is_conversation: bool,
    /// Whether media servers or relay workers call it: streams end if it is refused for
    /// long.
    pub is_machine_method: bool,
    /// The maximum size of a message of its request, in bytes.
    pub max_request_size: usize,
    access: Option<RequiredAccess>,
    /// The metrics of its calls.
    pub metrics: &'static CallMetrics,
}

/// All RPCs by path.
static METHODS: LazyLock<HashMap<String, MethodInfo>> = LazyLock::new(|| {
    let sets = [
        DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let methods = sets.into_iter().flat_map(proto::methods);
    let methods = methods.map(|(service, method)| {
        let path = format!("/{service}/{}", method.name());
        let access = access::required_access(&path);
        let is_sluice = service.starts_with("sluice.v1.");
        let info = MethodInfo {
            is_sluice,
            is_stream: method.server_streaming(),
            is_conversation: method.client_streaming(),
            is_machine_method: is_machine_method(access),
            max_request_size: match is_sluice {
                true => max_request_size(method.name()),
                false => MAX_ANONYMOUS_SIZE,
            },
            access,
            metrics: call_metrics(&path),
        };
        (path, info)
    });
    methods.collect()
});

impl MethodInfo {
    /// The RPC with this path; `None` if it is unknown.
    pub fn by_path(path: &str) -> Option<&'static Self> {
        METHODS.get(path)
    }

    /// The RPC of a request, after [`attach`](Self::attach).
    pub fn attached(extensions: &Extensions) -> Option<&'static Self> {
        extensions.get::<&'static Self>().copied()
    }

    /// Attaches the RPC and its required access to a request, for the inner layers and
    /// the interceptor.
    pub fn attach(&'static self, extensions: &mut Extensions) {
        extensions.insert(self);
        if let Some(access) = self.access {
            extensions.insert(access);
        }
    }
}

/// The maximum size of a request of `sluice.v1`.
fn max_request_size(method: &str) -> usize {
    match method {
        "SyncNode" | "ReportRelays" => MAX_REPORT_SIZE,
        "CreateProject" | "UpdateProject" | "CreateDestination" | "UpdateDestination" => {
            MAX_EDIT_SIZE
        }
        _ => MAX_REQUEST_SIZE,
    }
}

fn is_machine_method(access: Option<RequiredAccess>) -> bool {
    let is_machine = |scope: &Scope| matches!(scope, Scope::StreamsPublish | Scope::RelaysWork);
    matches!(access, Some(RequiredAccess::Scopes(scopes)) if scopes.iter().any(is_machine))
}

#[cfg(test)]
mod tests {
    use super::{MAX_REQUEST_SIZE, METHODS, MethodInfo};

    fn names(filter: impl Fn(&MethodInfo) -> bool) -> Vec<&'static str> {
        let methods = METHODS.iter().filter(|(_, info)| filter(info));
        let mut names: Vec<_> = methods
            .filter_map(|(path, _)| path.rsplit('/').next())
            .collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn claims_and_watches_have_a_response_stream() {
        assert_eq!(
            names(|info| info.is_sluice && info.is_stream),
            ["ClaimRelays", "WatchProject", "WatchProjects"]
        );
    }

    #[test]
    fn methods_of_media_servers_and_relay_workers_have_priority() {
        let priority = [
            "BeginPublish",
            "ClaimRelays",
            "EndPublish",
            "HeartbeatPublish",
            "ReportRelays",
            "SyncNode",
        ];
        assert_eq!(names(|info| info.is_machine_method), priority);
    }

    #[test]
    fn requests_that_list_or_describe_things_may_be_larger() {
        let larger = names(|info| info.max_request_size > MAX_REQUEST_SIZE);
        let expected = [
            "CreateDestination",
            "CreateProject",
            "ReportRelays",
            "SyncNode",
            "UpdateDestination",
            "UpdateProject",
        ];
        assert_eq!(larger, expected);
        let anonymous = names(|info| info.max_request_size < MAX_REQUEST_SIZE);
        assert_eq!(
            anonymous,
            [
                "Check",
                "ServerReflectionInfo",
                "ServerReflectionInfo",
                "Watch"
            ]
        );
    }

    #[test]
    fn only_rpcs_of_sluice_health_and_reflection_are_known() {
        let check = MethodInfo::by_path("/grpc.health.v1.Health/Check").unwrap();
        assert!(!check.is_sluice && check.access.is_none());
        assert!(MethodInfo::by_path("/grpc.channelz.v1.Channelz/GetServers").is_none());
        assert!(MethodInfo::by_path("/sluice.v1.AuthService/Nothing").is_none());
    }
}

use std::{collections::HashMap, sync::LazyLock};

use http::Extensions;

use crate::{
    auth::access::{self, RequiredAccess},
    domain::Scope,
    proto::{self, DESCRIPTORS},
    telemetry::metrics::{CallMetrics, call_metrics},
};

/// An RPC of `sluice.v1`, as the layers need it.
///
/// The outermost layer that needs it looks it up once; inner layers find it in the
/// extensions of the request.
#[derive(Debug)]
pub(super) struct MethodInfo {
    /// Whether its response is a stream.
    pub is_stream: bool,
    /// Whether media servers or relay workers call it: streams end if it is refused for
    /// long.
    pub is_priority: bool,
    access: Option<RequiredAccess>,
    /// The metrics of its calls.
    pub metrics: &'static CallMetrics,
}

/// All RPCs by path.
static METHODS: LazyLock<HashMap<String, MethodInfo>> = LazyLock::new(|| {
    let methods = proto::methods(DESCRIPTORS).map(|(service, method)| {
        let path = format!("/{service}/{}", method.name());
        let access = access::required_access(&path);
        let info = MethodInfo {
            is_stream: method.server_streaming(),
            is_priority: is_machine_method(access),
            access,
            metrics: call_metrics(&path),
        };
        (path, info)
    });
    methods.collect()
});

impl MethodInfo {
    /// The RPC with this path; `None` if it is not of `sluice.v1`.
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

fn is_machine_method(access: Option<RequiredAccess>) -> bool {
    let is_machine = |scope: &Scope| matches!(scope, Scope::StreamsPublish | Scope::RelaysWork);
    matches!(access, Some(RequiredAccess::Scopes(scopes)) if scopes.iter().any(is_machine))
}

#[cfg(test)]
mod tests {
    use super::{METHODS, MethodInfo};

    fn names(filter: impl Fn(&MethodInfo) -> bool) -> Vec<&'static str> {
        let methods = METHODS.iter().filter(|(_, info)| filter(info));
        let mut names: Vec<_> = methods
            .filter_map(|(path, _)| path.rsplit('/').next())
            .collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn two_methods_have_a_response_stream() {
        assert_eq!(
            names(|info| info.is_stream),
            ["ClaimRelays", "WatchProject"]
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
        assert_eq!(names(|info| info.is_priority), priority);
    }

    #[test]
    fn paths_outside_of_sluice_v1_are_unknown() {
        assert!(MethodInfo::by_path("/grpc.health.v1.Health/Check").is_none());
        assert!(MethodInfo::by_path("/sluice.v1.AuthService/Nothing").is_none());
    }
}

//! What all RPCs share: how the generated trait calls a method, and whose request it is.

use tonic::Request;

use crate::{
    auth::{Caller, RequiredAccess},
    domain::{AuditContext, PeerAddress, RequestOrigin, Role, Tenant},
    error::Result,
};

/// The longest recorded user agent, in bytes.
const MAX_USER_AGENT_BYTES: usize = 256;

/// The client that sent a request.
pub(super) fn request_origin<T>(request: &Request<T>) -> RequestOrigin {
    let user_agent = request.metadata().get("user-agent");
    // `to_str` accepts only ASCII, so that a character is a byte.
    let user_agent = user_agent.and_then(|agent| agent.to_str().ok());
    let characters = user_agent.unwrap_or_default().chars();
    RequestOrigin {
        peer_address: request.extensions().get::<PeerAddress>().copied(),
        user_agent: characters.take(MAX_USER_AGENT_BYTES).collect(),
    }
}

/// The tenant of a request, with the role that its RPC requires.
pub(super) fn tenant<T>(request: &Request<T>) -> Result<Tenant> {
    Caller::of(request)?.tenant(required_role(request))
}

/// The lowest role that the RPC of a request requires.
fn required_role<T>(request: &Request<T>) -> Role {
    let access = request.extensions().get::<RequiredAccess>();
    access.map_or(Role::Owner, |access| access.role())
}

/// The tenant of a request that changes data, and the context of its audit event.
pub(super) fn tenant_and_audit<T>(
    request: &Request<T>,
    action: &'static str,
) -> Result<(Tenant, AuditContext)> {
    let caller = Caller::of(request)?;
    let audit = caller.audit_context(action, request_origin(request));
    Ok((caller.tenant(required_role(request))?, audit))
}

/// Implements the generated trait of a service: each RPC calls the method of the same name that
/// returns the service's own errors.
macro_rules! implement_service {
    ($service:ty as $trait:path {
        $(type $stream:ident = $messages:ty;)*
        $(rpc $method:ident($request:ty) -> $response:ty;)+
    }) => {
        #[tonic::async_trait]
        impl $trait for $service {
            $(type $stream = $messages;)*
            $(async fn $method(
                &self,
                request: tonic::Request<$request>,
            ) -> Result<tonic::Response<$response>, tonic::Status> {
                let result: $crate::error::Result<_> = <$service>::$method(self, request).await;
                Ok(result?)
            })+
        }
    };
}

pub(super) use implement_service;

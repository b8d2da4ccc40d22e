use tonic::Request;

use crate::{
    auth::Caller,
    domain::{Act, Origin, PeerAddress, Tenant},
    error::Result,
};

/// The longest user agent that is kept, in bytes.
const MAX_USER_AGENT: usize = 256;

/// Where a request comes from.
pub(super) fn origin_of<T>(request: &Request<T>) -> Origin {
    let user_agent = request
        .metadata()
        .get("user-agent")
        .and_then(|agent| agent.to_str().ok());
    Origin {
        peer_address: request.extensions().get::<PeerAddress>().copied(),
        // Metadata that reads as text is ASCII: it can be cut anywhere.
        user_agent: user_agent
            .unwrap_or_default()
            .chars()
            .take(MAX_USER_AGENT)
            .collect(),
    }
}

/// Whose data a request may change, and what it does there for the audit log.
pub(super) fn acting<T>(request: &Request<T>, action: &'static str) -> Result<(Tenant, Act)> {
    let caller = Caller::of(request)?;
    Ok((caller.tenant()?, caller.act(action, origin_of(request))))
}

use tonic::Request;

use crate::domain::{Origin, PeerAddress};

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
